"""TrainConfig: what one trial is. Flags in, flags out, an eight-digit id; every value is checked
when it is built.
"""

import argparse
import difflib
import hashlib
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from fieldtrial import freezing_schemes
from fieldtrial.fields import check_bounds, check_type, choices, format_value, parse

T = TypeVar("T")

Optimizer = Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"]
Schedule = Literal["constant", "cosine", "linear", "step", "one_cycle", "plateau"]
Loss = Literal["cross_entropy", "center", "triplet"]
Activation = Literal["relu", "leaky_relu", "tanh", "gelu", "silu", "mish"]
Augmentation = Literal[
    "horizontal_flip", "vertical_flip", "crop", "random_resized_crop", "rotation", "affine",
    "color_jitter",
    "sharpness", "grayscale", "randaugment",
]  # fmt: skip
Padding = Literal["same", "valid"]
NormPlace = Literal["convolution", "pool"]
Classifier = Literal["softmax", "svm"]
Kernel = Literal["linear", "rbf", "cubic"]
Scaling = Literal["none", "standard", "min_max"]
Precision = Literal["fp32", "bf16"]
Strategy = Literal["ddp", "zero1", "zero2", "zero3"]
Select = Literal["validation_accuracy", "validation_loss"]

RUN_PREFIX = "run:"  # of weights that come from a run beside this one
GROUPS = ("data", "model", "optimisation", "run")


class ConfigError(ValueError):
    """One or more values that no trial can have; the message has a line for each problem."""

    def __init__(self, problems: list[str], where: str = "") -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"{where}: {problem}" if where else problem for problem in problems)
        )


def _option(
    default: T, group: str, text: str, low: float | None = None, high: float | None = None
) -> T:
    """Return a dataclass field with its help text and its bounds (both inclusive)."""
    metadata = {"group": group, "help": text, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One trial of an experiment: what is learned from what, and how. Nothing in it names a
    machine.

    Raises:
        ConfigError: a value of the wrong type, out of bounds or not among the choices; all problems
        at once.
    """

    dataset: str = _option(
        "digits",
        "data",
        "digits, mnist, cifar10, stl10, tinyimagenet, inat10, dogs_vs_cats, flowers104, or"
        " folder:PATH (class folders)",
    )
    classes: str = _option(
        "all", "data", "all, N (the first N classes) or A-B (class numbers A to B)"
    )
    image_size: int | None = _option(
        None,
        "data",
        "side of the square image in pixels; none: what the weights expect, else the data's"
        " (folders: 224)",
        1,
    )
    augmentation: tuple[Augmentation, ...] = _option(
        (), "data", "random changes of the training images, in order"
    )
    validation_fraction: float = _option(
        0.1, "data", "share of train that selects, stratified by class", 0.001, 0.9
    )
    train_fraction: float = _option(
        1.0, "data", "share of each class that is trained on, of what validation left", 1e-5, 1.0
    )
    images_per_class: int | None = _option(
        None,
        "data",
        "training images of each class, of what validation and train_fraction left; none: all",
        1,
    )

    model: str = _option(
        "cnn",
        "model",
        "cnn, mlp, or a timm or torchvision classifier (timm:NAME, torchvision:NAME)",
    )
    weights: str = _option(
        "random",
        "model",
        "initial weights: random, imagenet, run:NAME (a run beside this one), a run directory or"
        " file",
    )
    freeze: str = _option("none", "model", freezing_schemes.HELP)
    blocks: int = _option(5, "model", "cnn: how many, each of convolutions and a pooling", 1, 16)
    convolutions: int = _option(1, "model", "cnn: convolutions in each block", 1, 8)
    filters: tuple[int, ...] = _option(
        (32,), "model", "cnn: filters of each block, or of the first (then growing)", 1
    )
    filter_growth: float = _option(
        1.0, "model", "cnn: from block to block, where one number of filters is given", 0.01
    )
    kernel_size: tuple[int, ...] = _option(
        (3,), "model", "cnn: kernel side of each block, or of all; odd", 1
    )
    padding: Padding = _option(
        "same", "model", "cnn: same keeps the image's size up to the pooling, valid has none"
    )
    activation: Activation = _option("relu", "model", "cnn and mlp: the non-linearity")
    batch_norm: bool = _option(True, "model", "cnn: batch normalisation")
    batch_norm_after: NormPlace = _option(
        "convolution", "model", "cnn: after each convolution, or each block's pooling"
    )
    dense_width: tuple[int, ...] = _option(
        (256,), "model", "cnn and mlp: widths of the dense layers before the last", 1
    )
    dropout: float = _option(0.0, "model", "probability, before the last layer", 0.0, 0.95)
    block_dropout: float = _option(
        0.0,
        "model",
        "cnn: after each block; mlp: between dense layers; torchvision's ResNets: after each ReLU"
        " in a block",
        0.0,
        0.95,
    )
    classifier: Classifier = _option(
        "softmax",
        "model",
        "the network's last layer, trained with it; or svm, fitted on the features before that"
        " layer",
    )
    svm_kernel: Kernel = _option("linear", "model", "svm: cubic is a polynomial of degree 3")
    svm_scaling: Scaling = _option(
        "none", "model", "svm: of each feature, as the training images have it"
    )
    svm_penalty: float = _option(
        1.0, "model", "svm: of training images on the wrong side (C)", 1e-9
    )

    optimizer: Optimizer = _option("adamw", "optimisation", "the update rule")
    lr: float = _option(1e-3, "optimisation", "peak learning rate", 0.0)
    momentum: float = _option(0.9, "optimisation", "sgd and rmsprop", 0.0, 0.9999)
    nesterov: bool = _option(
        False, "optimisation", "sgd: Nesterov's momentum; nothing changes where momentum is 0"
    )
    betas: tuple[float, float] = _option(
        (0.9, 0.999), "optimisation", "adam, adamw and nadam", 0.0, 0.99999
    )
    epsilon: float = _option(1e-8, "optimisation", "all but sgd: added to the denominator", 0.0)
    weight_decay: float = _option(
        0.0, "optimisation", "decoupled for adamw, an L2 penalty otherwise", 0.0
    )
    schedule: Schedule = _option(
        "constant", "optimisation", "of the learning rate after the warm-up"
    )
    warmup_fraction: float = _option(
        0.0,
        "optimisation",
        "share of all steps with a rising learning rate; one_cycle: 0 means 0.3",
        0.0,
        1.0,
    )
    step_epochs: int = _option(
        7, "optimisation", "step: epochs from one fall of the learning rate to the next", 1
    )
    gamma: float = _option(
        0.1, "optimisation", "step and plateau: what the learning rate is multiplied by", 1e-6, 1.0
    )
    plateau_patience: int = _option(
        3,
        "optimisation",
        "plateau: epochs without a better `select` before the learning rate falls",
        1,
    )
    loss: Loss = _option(
        "cross_entropy", "optimisation", "center and triplet: of features, beside cross-entropy"
    )
    loss_weight: float | None = _option(
        None,
        "optimisation",
        "of center or triplet beside cross-entropy; none: 0.003 for center, 0.1 for triplet",
        0.0,
    )
    center_lr: float = _option(
        0.5, "optimisation", "center: how fast a class's center follows its images", 0.0, 1.0
    )
    margin: float = _option(
        0.3, "optimisation", "triplet: how much nearer an image's own class must be", 0.0
    )
    label_smoothing: float = _option(
        0.0, "optimisation", "share of each label spread over all classes", 0.0, 0.99
    )
    gradient_clip: float | None = _option(
        None, "optimisation", "largest gradient norm; none: no clipping", 1e-9
    )
    batch_size: int = _option(64, "optimisation", "images per step, over all devices together", 1)
    shuffle: bool = _option(
        True,
        "optimisation",
        "a new order of the training images each epoch; false: as stored, folders class by class",
    )
    epochs: int = _option(10, "optimisation", "passes over the training images", 1)
    select: Select = _option(
        "validation_accuracy",
        "optimisation",
        "what the kept epoch is best at, and what patience watches",
    )
    patience: int | None = _option(
        None, "optimisation", "epochs without a better `select` before stopping; none: never", 1
    )

    seed: int = _option(
        0, "run", "of the validation split, initial weights, order, augmentation and dropout", 0
    )
    precision: Precision = _option("fp32", "run", "bf16: autocast, with fp32 weights")
    strategy: Strategy = _option(
        "ddp", "run", "of several processes: data parallel, or DeepSpeed ZeRO stage 1 to 3"
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        refused: set[str] = set()
        for name, hint in HINTS.items():
            if getattr(self, name) is FIELDS[name].default:
                # a test checks these once; tables build thousands of configs that differ in a few
                # fields
                continue
            try:
                value = check_type(getattr(self, name), hint)
                check_bounds(value, FIELDS[name].metadata["low"], FIELDS[name].metadata["high"])
                for holds, rule in RULES.get(name, ()):
                    if not holds(value):
                        raise ValueError(rule)
                object.__setattr__(self, name, value)
            except ValueError as error:
                problems.append(f"{name} = {getattr(self, name)!r}: {error}")
                refused.add(name)
        problems += [
            f"{name} = {getattr(self, name)!r}: must be 1 or {self.blocks} numbers, because blocks"
            f" = {self.blocks}"
            for name in ("filters", "kernel_size")
            if refused.isdisjoint((name, "blocks"))
            and len(getattr(self, name)) not in (1, self.blocks)
        ]
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, object], base: "TrainConfig | None" = None, where: str = ""
    ) -> "TrainConfig":
        """Return `base` (by default the defaults) with `values` in place.

        Lists become tuples and texts are read as flags are, so JSON, a sweep row and a command line
        all pass here.

        Raises:
            ConfigError: unknown fields and impossible values, all at once, each line starting with
            `where`.
        """
        problems = [unknown_field(name) for name in values if name not in HINTS]
        known: dict[str, Any] = {}
        for name in (name for name in HINTS if name in values):
            value, there = values[name], getattr(base or DEFAULTS, name)
            if type(value) is type(there) and value == there:
                continue
            try:
                known[name] = (
                    parse(value, HINTS[name])
                    if isinstance(value, str)
                    else check_type(value, HINTS[name])
                )
            except ValueError as error:
                problems.append(f"{name} = {value!r}: {error}")
        try:
            config = replace(base or DEFAULTS, **known)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems, where)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, tuples as lists: what config.json holds."""
        return {
            name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in HINTS
        }

    def differences(self, other: "TrainConfig") -> dict[str, tuple[Any, Any]]:
        """Return {field: (own value, other's value)} for the fields that differ."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in HINTS}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def require(self, other: "TrainConfig", where: str) -> None:
        """Raise ConfigError, with the fields that differ, unless `other` is equal; each line starts
        with `where`.
        """
        differing = self.differences(other)
        if differing:
            problems = [
                f"{name} is {own!r} there and {new!r} now" for name, (own, new) in differing.items()
            ]
            raise ConfigError(problems, where)

    @property
    def id(self) -> str:
        """Eight hexadecimal digits of what differs from the defaults; a new field with a default
        changes no id.
        """
        return self._digest(self.differences(DEFAULTS))

    @property
    def configuration(self) -> str:
        """The id with the default seed: equal for all repetitions of a trial with other seeds."""
        return self._digest(self.differences(DEFAULTS).keys() - {"seed"})

    def _digest(self, names: Iterable[str]) -> str:
        mine = self.to_dict()
        return hashlib.sha256(
            json.dumps({name: mine[name] for name in sorted(names)}).encode()
        ).hexdigest()[:8]

    def to_flags(self) -> list[str]:
        """Return the command-line flags of what differs from the defaults, such as ['--lr',
        '0.01'].
        """
        return [
            part
            for name in self.differences(DEFAULTS)
            for part in (f"--{name}", format_value(getattr(self, name)))
        ]

    @classmethod
    def from_flags(cls, flags: argparse.Namespace) -> "TrainConfig":
        """Return the config of parsed flags (see `add_flags`). Raises ConfigError with every
        problem.
        """
        return cls.from_dict({name: text for name, text in vars(flags).items() if name in HINTS})


FIELDS = {item.name: item for item in fields(TrainConfig)}
HINTS: dict[str, Any] = {name: typing.get_type_hints(TrainConfig)[name] for name in FIELDS}


def add_flags(parser: argparse.ArgumentParser, names: Iterable[str] = FIELDS) -> None:
    """Add a flag for each field in `names` to `parser`, grouped; flags not given stay out of the
    namespace.
    """
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for name in names:
        item = FIELDS[name]
        allowed = choices(HINTS[name])
        text = item.metadata["help"] + (f" ({', '.join(allowed)})" if allowed else "")
        groups[item.metadata["group"]].add_argument(
            f"--{name}",
            metavar=name.upper(),
            default=argparse.SUPPRESS,
            help=f"{text} [{format_value(item.default)}]".replace("%", "%%"),
        )


def _is_class_choice(text: str) -> bool:
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        return int(match[1]) < int(match[2])
    return text == "all" or (text.isdecimal() and int(text) >= 2)


RULES: dict[str, list[tuple[Callable[[Any], bool], str]]] = {
    "dataset": [
        (lambda text: bool(re.fullmatch(r"\w+|folder:.+", text)), "must be a name or folder:PATH")
    ],
    "classes": [(_is_class_choice, "must be all, N (2 or more) or A-B with A below B")],
    "augmentation": [(lambda names: len(set(names)) == len(names), "must name each change once")],
    "model": [
        (
            lambda text: bool(re.fullmatch(r"(timm:|torchvision:)?\w[\w.\-]*", text)),
            "must be a model's name",
        ),
    ],
    "weights": [
        (lambda text: text not in ("", RUN_PREFIX), "must be random, imagenet, run:NAME or a path"),
        (
            lambda text: not text.startswith("-"),
            "must not start with -, which a command line takes for a flag",
        ),
    ],
    "freeze": [(freezing_schemes.is_scheme, freezing_schemes.RULE)],
    "kernel_size": [
        (
            lambda sizes: all(size % 2 for size in sizes),
            "must be odd, so that a block keeps the image's size",
        ),
    ],
    "lr": [(lambda rate: rate > 0, "must be above 0")],
}


def unknown_field(name: str) -> str:
    """Return what to say of a field that does not exist: the nearest one, or all."""
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f"unknown field {name!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; fields: {', '.join(FIELDS)}"
    )


DEFAULTS = TrainConfig()
