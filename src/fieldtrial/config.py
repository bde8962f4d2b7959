"""TrainConfig: the configuration of one trial, checked when it is built."""

import argparse
import difflib
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fieldtrial.fields import freezing_schemes
from fieldtrial.fields.choices import (
    Activation,
    Augmentation,
    Classifier,
    Compile,
    Kernel,
    Loss,
    NormPlace,
    Optimizer,
    Padding,
    Precision,
    Preprocessing,
    Scaling,
    Schedule,
    Select,
    Strategy,
    TaskName,
)
from fieldtrial.fields.former import FORMER
from fieldtrial.fields.groups import GROUPS, Group
from fieldtrial.fields.identity import Identity
from fieldtrial.fields.rules import RULES
from fieldtrial.fields.task_metrics import classes_problem, select_problems
from fieldtrial.fields.values import check_bounds, check_type, format_value, is_same, parse


class ConfigError(ValueError):
    """One or more values that are not allowed; the message has a line for each problem."""

    def __init__(self, problems: list[str], where: str = "") -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"{where}: {problem}" if where else problem for problem in problems)
        )


_data, _model, _optimisation, _run = map(Group, GROUPS)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainConfig(Identity):
    """The configuration of one trial: data, model and training, and nothing about the machine.

    `fieldtrial.effects` says which values of other fields a field needs to have an effect.

    Raises:
        ConfigError: values of the wrong type, out of bounds or not among the choices, all at once.
    """

    dataset: str = _data(
        "digits",
        "digits, mnist, cifar10, stl10, tinyimagenet, inat10, dogs_vs_cats, flowers104, or"
        " folder:PATH (one folder per class); of task detection: shapes (made-up), or boxes:PATH"
        " (COCO's JSON or YOLO's texts)",
    )
    classes: str = _data(
        "all", "all, N (the first N), A-B (numbers, or names that are) or names: cat,dog"
    )
    image_size: int | None = _data(
        None,
        "side of the square images in pixels; none: what the weights expect, else the data set's"
        " own (folders: 224)",
        1,
    )
    preprocessing: Preprocessing = _data(
        "recipe",
        "recipe: images are resized and cropped as the initial weights' library evaluates them, and"
        " random crops are drawn from the original; square: the largest centre square, bicubic",
    )
    augmentation: tuple[Augmentation, ...] = _data(
        (), "random changes of the training images, applied in this order"
    )
    cached_views: int = _data(
        0, "so many augmented views of each image, kept for all epochs; 0: new ones", 0, 64
    )
    validation_fraction: float = _data(
        0.1,
        "share of each class's training images held out for validation; a folder with its own val/"
        " ignores it",
        0.001,
        0.9,
    )
    train_fraction: float = _data(
        1.0, "share of each class that is trained on, of what validation leaves", 1e-5, 1.0
    )
    images_per_class: int | None = _data(
        None, "training images per class, of what the two fractions leave; none: all", 1
    )
    deduplicate: bool = _data(False, "leave out training images that look like one held out")

    task: TaskName = _data(
        "classification",
        "what is learned of an image: classification: its class; detection: where its objects are,"
        " and which",
    )
    model: str = _model(
        "cnn",
        "cnn, mlp, or a classifier of timm or torchvision (timm:NAME, torchvision:NAME); of task"
        " detection: darknet:yolov3, darknet:yolov3-tiny, darknet:yolov3-spp or darknet:PATH.cfg",
    )
    weights: str = _model(
        "random",
        "initial weights: random, imagenet (the library's default), imagenet:TAG (the library's of"
        " that name), run:NAME (a run in the same folder), a run directory or a file, also of"
        " darknet's weights",
    )
    freeze: str = _model("none", freezing_schemes.HELP)
    blocks: int = _model(5, "number of blocks, each of convolutions and one pooling layer", 1, 16)
    convolutions: int = _model(1, "convolutions per block", 1, 8)
    filters: tuple[int, ...] = _model(
        (32,), "filters of each block, or of the first, which filter_growth multiplies", 1
    )
    filter_growth: float = _model(1.0, "factor of the filters from block to block", 0.01)
    kernel_size: tuple[int, ...] = _model(
        (3,), "side of the kernels in each block, or in all blocks; odd", 1
    )
    padding: Padding = _model(
        "same", "same: convolutions keep the image's size; valid: they lose its border"
    )
    activation: Activation = _model("relu", "non-linearity after convolutions and dense layers")
    batch_norm: bool = _model(True, "batch normalisation")
    batch_norm_after: NormPlace = _model(
        "convolution", "place of batch normalisation: each convolution, or each block's pooling"
    )
    dense_width: tuple[int, ...] = _model(
        (256,), "widths of the dense layers before the last layer", 1
    )
    dropout: float | None = _model(
        None,
        "dropout before the last layer, or what a library calls its dropout; none: the library's"
        " default (cnn, mlp: 0)",
        0.0,
        0.95,
    )
    block_dropout: float = _model(
        0.0,
        "dropout after each block (cnn), between dense layers (mlp) or after each ReLU in a block"
        " (torchvision's ResNets)",
        0.0,
        0.95,
    )
    classifier: Classifier = _model(
        "softmax",
        "softmax: the network's last layer; svm: a support vector machine, fitted on the features"
        " that the last layer gets",
    )
    svm_kernel: Kernel = _model("linear", "kernel; cubic is a polynomial of degree 3")
    svm_scaling: Scaling = _model("none", "scaling of the features, fitted on training images")
    svm_penalty: float = _model(
        1.0, "penalty on training images on the wrong side of the margin (C)", 1e-9
    )

    optimizer: Optimizer = _optimisation("adamw", "update rule")
    lr: float = _optimisation(1e-3, "peak learning rate, above 0", 0.0)
    momentum: float = _optimisation(0.9, "momentum coefficient", 0.0, 0.9999)
    nesterov: bool = _optimisation(False, "Nesterov's form of momentum")
    betas: tuple[float, float] = _optimisation(
        (0.9, 0.999), "decay of the means of the gradient and of its square", 0.0, 0.99999
    )
    epsilon: float = _optimisation(1e-8, "added to the denominator of the update", 0.0)
    weight_decay: float = _optimisation(
        0.0, "decoupled for adamw, an L2 penalty for other optimizers", 0.0
    )
    decay_all: bool = _optimisation(
        True, "false: no weight decay on biases and on the parameters of normalisation layers"
    )
    schedule: Schedule = _optimisation("constant", "learning rate after the warm-up")
    warmup_fraction: float = _optimisation(
        0.0, "share of all steps with a rising learning rate; one_cycle: 0 means 0.3", 0.0, 1.0
    )
    step_epochs: int = _optimisation(7, "epochs between two falls of the learning rate", 1)
    gamma: float = _optimisation(0.1, "factor of the learning rate at each fall", 1e-6, 1.0)
    plateau_patience: int = _optimisation(
        3, "epochs without a better `select` before the learning rate falls", 1
    )
    loss: Loss = _optimisation(
        "cross_entropy", "center and triplet add a loss of the features to cross-entropy"
    )
    loss_weight: float | None = _optimisation(
        None, "weight of the added loss; none: 0.003 for center, 0.1 for triplet", 0.0
    )
    center_lr: float = _optimisation(
        0.5, "rate at which a class's center follows its images", 0.0, 1.0
    )
    margin: float = _optimisation(0.3, "how much nearer an image's own class must be", 0.0)
    label_smoothing: float = _optimisation(
        0.0, "share of each label spread over all classes", 0.0, 0.99
    )
    gradient_clip: float | None = _optimisation(
        None, "largest gradient norm; none: no clipping", 1e-9
    )
    batch_size: int = _optimisation(64, "images per step, over all processes together", 1)
    shuffle: bool = _optimisation(
        True, "new image order each epoch; false: the stored order, in folders class by class"
    )
    epochs: int = _optimisation(10, "passes over the training images", 1)
    select: Select = _optimisation(
        "validation_accuracy",
        "metric that chooses the best epoch, and that patience watches; last: the last epoch is"
        " kept, and patience watches validation_loss",
    )
    patience: int | None = _optimisation(
        None, "epochs without a better `select` before training stops; none: never", 1
    )

    seed: int = _run(
        0, "seed of validation split, initial weights, order, augmentation and dropout", 0
    )
    precision: Precision = _run("fp32", "bf16: autocast, with fp32 weights")
    compile: Compile = _run("auto", "torch.compile; auto: on GPUs, if the steps are many enough")
    strategy: Strategy = _run(
        "ddp", "for several processes: data parallel, or DeepSpeed ZeRO stage 1 to 3"
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        refused: set[str] = set()
        for name, hint in HINTS.items():
            if vars(self)[name] is FIELDS[name].default:
                continue  # a test checks the defaults; tables build thousands of configs
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
        if refused.isdisjoint(("task", "select")):
            problems += select_problems(self.task, self.select)
        if refused.isdisjoint(("task", "classifier")) and self.classifier == "svm":
            why = classes_problem(self.task, "a support vector machine")
            problems += [f"classifier = 'svm': {why}"] if why else []
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, object], base: "TrainConfig | None" = None, where: str = ""
    ) -> "TrainConfig":
        """Return `base` (None: the defaults) with `values` in place.

        Values come from JSON, a sweep's row or a command line: lists become tuples, and texts are
        parsed as flags are.

        Raises:
            ConfigError: unknown fields and bad values, all at once; each line starts with `where`.
        """
        problems = [unknown_field(name) for name in values if name not in HINTS]
        known: dict[str, Any] = {}
        start = vars(base or DEFAULTS)
        for name in (name for name in HINTS if name in values):
            value, there = values[name], start[name]
            if value == there and type(value) is type(there):
                continue
            if isinstance(value, list) and is_same(value, there):
                continue
            read: Callable[[Any, Any], Any] = parse if isinstance(value, str) else check_type
            try:
                known[name] = read(value, HINTS[name])
            except ValueError as error:
                problems.append(f"{name} = {value!r}: {error}")
        try:
            config = cls(**{name: start[name] for name in HINTS} | known)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems, where)
        return config

    def as_begun(self, earlier: "TrainConfig", given: Collection[str] = ()) -> "TrainConfig":
        """Return the config with `earlier`'s former defaults in the place of the present ones.

        given: fields that somebody has set, which stay.
        """
        former = self.former_defaults(earlier).items()
        return replace(self, **{name: value for name, value in former if name not in given})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, tuples as lists; config.json holds this."""
        return {
            name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in HINTS
        }

    def require(self, other: "TrainConfig", where: str) -> None:
        """Raise ConfigError unless `other` is equal: a line for each difference, after `where`."""
        if differing := self.differences(other).items():
            problems = [
                f"{name} is {own!r} there and {new!r} now" for name, (own, new) in differing
            ]
            raise ConfigError(problems, where)

    def to_flags(self) -> list[str]:
        """Return flags for the fields that differ from their defaults: ['--lr', '0.01']."""
        return [
            part
            for name in self.differences(DEFAULTS)
            for part in (f"--{name}", format_value(getattr(self, name)))
        ]

    @classmethod
    def from_flags(
        cls, flags: argparse.Namespace, base: "TrainConfig | None" = None
    ) -> "TrainConfig":
        """Return `base` with the flags that `add_flags` declared in place. Raises ConfigError."""
        return cls.from_dict({name: v for name, v in vars(flags).items() if name in HINTS}, base)


FIELDS = {item.name: item for item in fields(TrainConfig)}


HINTS: dict[str, Any] = {name: typing.get_type_hints(TrainConfig)[name] for name in FIELDS}


def unknown_field(name: str) -> str:
    """Return the message about a field that does not exist, with the nearest name, or all."""
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f"unknown field {name!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; fields: {', '.join(FIELDS)}"
    )


DEFAULTS = TrainConfig()
# What a file of an earlier version means where it lacks a field.
EARLIER = TrainConfig(**FORMER)
