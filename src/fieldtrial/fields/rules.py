"""Rules for single fields of TrainConfig that neither a type nor bounds can state."""

import re
from collections.abc import Callable
from typing import Any

from fieldtrial.fields import freezing_schemes
from fieldtrial.fields.choices import Augmentation
from fieldtrial.own.names import RULE as OWN_RULE
from fieldtrial.own.names import is_own

# Augmentations that choose a part of the image.
CROPS: tuple[Augmentation, ...] = ("crop", "random_resized_crop")
RUN_PREFIX = "run:"  # weights that come from another run in the same folder
MODEL = re.compile(r"(timm:|torchvision:)?\w[\w.\-]*|darknet:.+")
LIBRARY = re.compile(r"imagenet(:\w[\w.\-]*)?")


def is_library(weights: str) -> bool:
    """Return whether the field `weights` asks for a library's: imagenet, or imagenet:TAG."""
    return LIBRARY.fullmatch(weights) is not None


def has_crops(config: Any) -> bool:
    """Return whether a part of each image is chosen at random in training."""
    return any(name in CROPS for name in config.augmentation)


def is_mixed(config: Any) -> bool:
    """Return whether training images are mixed with others."""
    return bool(config.mixup or config.cutmix)


def keeps_images(config: Any) -> bool:
    """Return whether the network sees each image as it is stored, in training and in evaluation.

    Then the output of frozen layers is the same in each epoch.
    """
    return not (config.augmentation or is_mixed(config) or config.test_flips)


# Fields of which no two values can be together with some of another's; see `conflicts`.
CONFLICTING = ("mixup", "cutmix", "loss", "ema_decay", "strategy", "folds", "fold")


def conflicts(config: Any) -> list[str]:
    """Return what is wrong with values that are right by themselves, a line each."""
    problems = [
        f"{name} = {getattr(config, name)!r}: a mixed image has no one class, which loss ="
        f" {config.loss} needs; set loss to cross_entropy, or {name} to 0"
        for name in ("mixup", "cutmix")
        if getattr(config, name) and config.loss != "cross_entropy"
    ]
    if config.ema_decay and config.strategy != "ddp":
        problems.append(
            f"ema_decay = {config.ema_decay!r}: strategy = {config.strategy} partitions the weights"
            " that are averaged; set strategy to ddp, or ema_decay to 0"
        )
    if config.fold >= max(1, config.folds):
        rule = f"below folds = {config.folds}" if config.folds else "0 without folds"
        problems.append(f"fold = {config.fold}: must be {rule}")
    return problems


def _is_class_choice(text: str) -> bool:
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        return int(match[1]) < int(match[2])
    if "," in text:
        names = [name.strip() for name in text.split(",")]
        return all(names) and len(set(names)) == len(names)
    return text == "all" or (text.isdecimal() and int(text) >= 2)


# field -> conditions on its value, each with the rule that a violation is refused with
RULES: dict[str, list[tuple[Callable[[Any], bool], str]]] = {
    "dataset": [
        (
            lambda text: bool(re.fullmatch(r"\w+|(folder|boxes):.+", text)) or is_own(text),
            f"must be a name, folder:PATH or boxes:PATH, or {OWN_RULE}",
        )
    ],
    "classes": [
        (
            _is_class_choice,
            "must be all, N (2 or more), A-B with A below B, or names like cat,dog",
        )
    ],
    "folds": [(lambda folds: folds != 1, "must be 0, or 2 and more")],
    "augmentation": [(lambda names: len(set(names)) == len(names), "must name each change once")],
    "target": [
        (lambda text: text not in ("", "none"), "must be a column's name, or none"),
        (
            lambda text: not (text or "").startswith("-"),
            "must not start with -, because a command line takes that for a flag",
        ),
    ],
    "model": [
        (
            lambda text: MODEL.fullmatch(text) is not None or is_own(text),
            f"must be a model's name, or {OWN_RULE}",
        ),
    ],
    "weights": [
        (
            lambda text: text not in ("", RUN_PREFIX),
            "must be random, imagenet, imagenet:TAG, run:NAME or a path",
        ),
        (
            lambda text: not text.startswith("-"),
            "must not start with -, because a command line takes that for a flag",
        ),
    ],
    "freeze": [
        (lambda text: freezing_schemes.is_scheme(text) or is_own(text), freezing_schemes.RULE)
    ],
    "metrics": [(lambda names: len(set(names)) == len(names), "must name each metric once")],
    "kernel_size": [
        (
            lambda sizes: all(size % 2 for size in sizes),
            "must be odd, so that padding can keep the image's size",
        ),
    ],
    "lr": [(lambda rate: rate > 0, "must be above 0")],
}
