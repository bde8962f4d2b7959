"""The names of a network's classes."""

from pathlib import Path

from fieldtrial.config import ConfigError
from fieldtrial.disk.reading import read_bytes

MOST_BYTES = 1 << 20
# The classes of COCO (Lin et al. 2014, arXiv:1405.0312), as darknet calls and numbers them.
COCO = (
    *("person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog"),
    *("horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella"),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
    *("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"),
    *("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa"),
    *("pottedplant", "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
VEHICLES = ("bicycle", "car", "motorbike", "bus", "truck")


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names in a file with a line for each class, in the order of the classes' numbers.

    Empty lines at the end do not count.

    Raises:
        ConfigError: a line has no name, a name that cannot be printed, or one of another line; all
            problems, each with its line.
        OSError, UnreadableError: the file cannot be read.
    """
    lines = read_bytes(path, MOST_BYTES).decode("utf-8-sig", "replace").rstrip().splitlines()
    names = [line.strip() for line in lines]
    problems, seen = list[str](), dict[str, int]()
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable():
            problems.append(f"{path}, line {number}: {name!r}: must be a class's name")
        elif seen.setdefault(name, number) != number:
            problems.append(f"{path}, line {number}: {name!r}: is also in line {seen[name]}")
    if not names:
        problems.append(f"{path}: has no names; must have a line for each class of the network")
    if problems:
        raise ConfigError(problems)
    return tuple(names)
