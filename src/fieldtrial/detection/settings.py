"""What a detector is made of, and where its files are."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fieldtrial.config import ConfigError
from fieldtrial.detection.names import VEHICLES
from fieldtrial.processes import data_root

Precision = Literal["fp32", "bf16"]
# The built-in networks' files, with their sizes in bytes, as their authors publish them.
PUBLISHED = {"yolov3": 248_007_048, "yolov3-tiny": 35_434_956, "yolov3-spp": 252_209_544}
ADDRESS = "https://pjreddie.com/media/files"
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class DetectorSettings:
    """A detector's network and thresholds.

    Attributes:
        weights: a file of darknet's weights, or the directory of a run that was trained to detect,
            which has its own network and names; None: the file of the built-in network, such as
            yolov3.weights. A relative path is looked up in the working directory, then in the
            folder weights of $FIELDTRIAL_DATA.
        config: a file in which darknet describes a network, or yolov3, yolov3-tiny or yolov3-spp,
            which are built in; None: yolov3.
        names: a file with the names of the network's classes, a line each; None: COCO's.
        classes: names of what is looked for; (): every class. Of a run all of its own classes are
            looked for, unless others than VEHICLES are asked for here.
        confidence: the least score of a detection: the probability of an object times that of
            its class. Tracks begin with higher ones; see `TrackingSettings.start_confidence`.
        overlap: of two boxes whose intersection over union is above it, the one with the lower
            score goes.
        image_size: the longer side of the network's input, in pixels; None: as `config` says.
        batch_size: how many images the network gets at once.
        precision: that of convolutions; bf16 with fp32 boxes and scores.

    Raises:
        ConfigError: values out of bounds, all at once.
    """

    weights: str | None = None
    config: str | None = None
    names: str | None = None
    classes: tuple[str, ...] = VEHICLES
    confidence: float = 0.15
    overlap: float = 0.45
    image_size: int | None = None
    batch_size: int = 8
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        problems = list[str]()
        for name in ("confidence", "overlap"):
            if not 0 < getattr(self, name) < 1:
                problems.append(f"{name} = {getattr(self, name)}: must be between 0 and 1")
        if self.image_size is not None and not 32 <= self.image_size <= LARGEST_SIDE:
            problems.append(f"image_size = {self.image_size}: must be from 32 to {LARGEST_SIDE}")
        if not 1 <= self.batch_size <= 1024:
            problems.append(f"batch_size = {self.batch_size}: must be from 1 to 1024")
        if self.precision not in get_args(Precision):
            choices = ", ".join(get_args(Precision))
            problems.append(f"precision = {self.precision!r}: must be one of {choices}")
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            rule = "must be names of classes, each once"
            problems.append(f"classes = {','.join(self.classes)}: {rule}")
        if problems:
            raise ConfigError(problems)

    @property
    def architecture(self) -> str | None:
        """The built-in network that `config` names, or None where it is a file."""
        name = self.config or "yolov3"
        return name if name in PUBLISHED else None


def located(settings: DetectorSettings) -> DetectorSettings:
    """Return `settings` with the absolute paths of its files, which are there.

    Raises:
        ConfigError: files are missing, all at once. Of weights the message says where they are to
            be had, and where they were looked for.
    """
    problems = list[str]()
    paths = dict[str, str]()
    for field in ("config", "names"):
        value = getattr(settings, field)
        if value is None or (field == "config" and settings.architecture):
            continue
        path = Path(value).expanduser().absolute()
        paths[field] = str(path)
        if not path.is_file():
            choices = f"; built in are {', '.join(PUBLISHED)}" if field == "config" else ""
            problems.append(f"{field} = {value!r}: there is no file at {path}{choices}")
    try:
        paths["weights"] = str(require_weights(settings))
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return dataclasses.replace(settings, **paths)  # type: ignore[arg-type]


def require_weights(settings: DetectorSettings) -> Path:
    """Return the absolute path of the weights.

    Raises:
        ConfigError: they are not there; the message says where a built-in network's are to be had,
            and which places were searched. Nothing is downloaded.
    """
    architecture = settings.architecture
    given = settings.weights
    if given is None and architecture is None:
        rule = "must be the file of darknet's weights that belongs to the config"
        raise ConfigError([f"weights: none given with config = {settings.config!r}; {rule}"])
    name = given or f"{architecture}.weights"
    path = Path(name).expanduser()
    places = list(dict.fromkeys((path.absolute(), data_root() / "weights" / path)))
    for place in places:
        if place.is_file() or (given is not None and place.is_dir()):
            return place
    searched = f"looked for {' and '.join(map(str, places))}"
    if given is not None and not re.fullmatch(r"(.*/)?yolov3(-tiny|-spp)?\.weights", given):
        raise ConfigError([f"weights = {given!r}: no such file; {searched}"])
    wanted = Path(name).stem
    what = "weights: none given, and" if given is None else f"weights = {given!r}:"
    raise ConfigError(
        [
            f"{what} there is no {wanted}.weights; {searched}. Fetch"
            f" {ADDRESS}/{wanted}.weights ({PUBLISHED[wanted]:,} bytes), and put it at"
            f" {places[-1]}, or give its path as weights"
        ]
    )
