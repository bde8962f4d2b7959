"""A network as darknet describes it: sections of a text file, one for each layer."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fieldtrial.config import ConfigError
from fieldtrial.disk.reading import read_bytes
from fieldtrial.processes import data_root

MOST_BYTES = 4 << 20  # of a description; YOLOv3's has eight thousand
MOST_LAYERS = 2000

# Keys that say what a layer computes.
KEYS = {
    "convolutional": (
        *("batch_normalize", "filters", "size", "stride", "pad", "padding", "groups"),
        "activation",
    ),
    "shortcut": ("from", "activation"),
    "route": ("layers", "groups", "group_id"),
    "upsample": ("stride",),
    "maxpool": ("size", "stride", "padding"),
    "dropout": ("probability",),
    "yolo": ("mask", "anchors", "classes", "num", "scale_x_y", "ignore_thresh"),
}
# Keys of [yolo] that only matter to darknet's own training and its suppression of double boxes.
TRAINING_KEYS = (
    *("jitter", "random", "resize", "max", "map", "focal_loss", "label_smooth_eps", "iou_loss"),
    *("objectness_smooth", "cls_normalizer", "obj_normalizer", "iou_normalizer", "nms_kind"),
    *("delta_normalizer", "iou_thresh_kind", "beta_nms", "max_delta", "counters_per_class"),
    *("truth_thresh", "iou_thresh"),
)
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool"}


@dataclass(frozen=True)
class Section:
    """A section: `[net]`, or a layer.

    Attributes:
        kind: convolutional, shortcut, …; net: what is said of the whole network.
        options: its values by key, as they are written.
        where: the file and the section's line, for messages; "" for a section made by a program.
        lines: the lines of the keys.
    """

    kind: str
    options: Mapping[str, str]
    where: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def text(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Return a value that is one of `choices`. Raises ValueError."""
        value = self.options.get(key, default)
        if value not in choices:
            raise self.problem(key, f"must be one of {', '.join(choices)}")
        return value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number; `default` None: the key must be there. Raises ValueError."""
        found = self.wholes(key, None if default is None else (default,))
        if len(found) != 1 or found[0] < least:
            raise self.problem(key, f"must be a whole number of at least {least}")
        return found[0]

    def wholes(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return whole numbers, separated by commas. Raises ValueError."""
        if key not in self.options and default is not None:
            return default
        parts = self._parts(key)
        if not all(re.fullmatch(r"[+-]?[0-9]{1,9}", part) for part in parts):
            raise self.problem(key, "must be whole numbers with commas between them")
        return tuple(map(int, parts))

    def real(self, key: str, default: float) -> float:
        """Return a number. Raises ValueError."""
        found = self.reals(key) if key in self.options else (default,)
        if len(found) != 1:
            raise self.problem(key, "must be a number")
        return found[0]

    def reals(self, key: str) -> tuple[float, ...]:
        """Return numbers, separated by commas. Raises ValueError."""
        try:
            numbers = tuple(map(float, self._parts(key)))
        except ValueError:
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)):
            raise self.problem(key, "must be numbers with commas between them")
        return numbers

    def problem(self, key: str, rule: str) -> ValueError:
        """Return an error that says where `key` is, its value, and the rule."""
        where, _, line = self.where.rpartition(", line ")
        if where and key in self.lines:
            line = str(self.lines[key])
        place = f"{where}, line {line}: " if where else ""
        value = f" = {self.options[key]}" if key in self.options else ""
        return ValueError(f"{place}[{self.kind}] {key}{value}: {rule}")

    def _parts(self, key: str) -> list[str]:
        if key not in self.options:
            raise self.problem(key, "is missing")
        # Darknet itself takes a comma at the end.
        return [part.strip() for part in self.options[key].strip().rstrip(",").split(",")]


def find_description(name: str) -> Path:
    """Return the file `name`, looked for in the working directory, then in the data root.

    Raises:
        ValueError: there is none; the message has the places that were searched.
    """
    path = Path(name).expanduser()
    places = list(dict.fromkeys((Path.cwd() / path, data_root() / path)))
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(map(str, places))
    raise ValueError(f"model = 'darknet:{name}': no such file; looked for {looked}")


def read_sections(path: Path) -> tuple[Section, ...]:
    """Return the sections of a file that describes a network.

    Raises:
        ConfigError: `parse_sections` finds problems.
        OSError, UnreadableError: it cannot be read, or is no file of at most 4 MiB.
    """
    # Comments are in any encoding, and what counts is ASCII.
    return parse_sections(read_bytes(path, MOST_BYTES).decode("utf-8", "replace"), str(path))


def parse_sections(text: str, where: str) -> tuple[Section, ...]:
    """Return the sections of a description; the first is `[net]`.

    where: the file's name, for messages.

    Raises:
        ConfigError: a line is neither `[section]` nor `key=value`, a section or a key is not
            known, a key is there twice, or there is no layer; all problems, each with its line.
    """
    problems, sections = list[str](), list[Section]()
    options, lines = dict[str, str](), dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{where}, line {number}"
        content = re.split("[#;]", line, maxsplit=1)[0].strip()
        if not content:
            continue
        if match := re.fullmatch(r"\[\s*([^\[\]]*?)\s*\]", content):
            kind = ALIASES.get(match[1], match[1])
            options, lines = {}, {}
            sections.append(Section(kind, options, place, lines))
            if kind not in KEYS and kind != "net":
                problems.append(f"{place}: [{kind}]: no such layer; there are {', '.join(KEYS)}")
            elif (kind == "net") != (len(sections) == 1):
                problems.append(
                    f"{place}: [{kind}]: the first section, and no other, must be [net]"
                )
            continue
        key, sign, value = (part.strip() for part in content.partition("="))
        if not sign or not key or not sections:
            problems.append(
                f"{place}: {content[:80]}: must be [section], or key=value in a section"
            )
            continue
        section = sections[-1]
        if section.kind in KEYS:
            known = KEYS[section.kind]
            if key not in known and not (section.kind == "yolo" and key in TRAINING_KEYS):
                choices = ", ".join(known)
                problems.append(
                    f"{place}: [{section.kind}] {key}: no such key, or one that is not supported;"
                    f" there are {choices}"
                )
        if key in options:
            problems.append(f"{place}: [{section.kind}] {key}: is there twice")
        # A value can have spaces in it: anchors = 10,13,  16,30
        options[key], lines[key] = value, number
    if not problems and not 2 <= len(sections) <= MOST_LAYERS + 1:
        problems.append(
            f"{where}: has {len(sections)} sections; must be [net] and 1 to 2000 layers"
        )
    if problems:
        raise ConfigError(problems)
    return tuple(sections)
