"""A sweep made tiny, for --smoke: does every row run?"""

from dataclasses import replace

from fieldtrial.config import TrainConfig
from fieldtrial.effects import has_effect
from fieldtrial.fields.choices import TaskName
from fieldtrial.fields.row_names import LABEL
from fieldtrial.fields.values import format_value, is_numeric
from fieldtrial.own.names import kind_of
from fieldtrial.search_domains import Choice, Domain, choice, extremes
from fieldtrial.sweep import Sweep

# side in pixels: of most models, of models with these in their names, and of unpadded convolutions
IMAGE_SIZE = 32
LARGER = {"ception": 96, "alexnet": 64}
UNPADDED = 96
CLASSES = "2"
IMAGES_PER_CLASS = 8  # to train on
VALIDATION_FRACTION = 0.05  # of 288 images
# What takes the place of a task's data set.
SMALL: dict[TaskName, dict[str, object]] = {
    "classification": {
        "dataset": "digits", "image_size": IMAGE_SIZE, "classes": CLASSES, "train_fraction": 1.0,
        "images_per_class": IMAGES_PER_CLASS, "validation_fraction": VALIDATION_FRACTION,
    },
    "multilabel": {
        "dataset": "shapes", "image_size": IMAGE_SIZE, "classes": CLASSES, "train_fraction": 0.2,
        "validation_fraction": VALIDATION_FRACTION,
    },
    "regression": {
        "dataset": "shapes", "image_size": IMAGE_SIZE, "target": None, "train_fraction": 0.2,
        "validation_fraction": VALIDATION_FRACTION,
    },
    "detection": {
        "dataset": "shapes", "image_size": 64, "classes": CLASSES, "train_fraction": 0.1,
        "validation_fraction": VALIDATION_FRACTION,
    },
}  # fmt: skip


def smoke(sweep: Sweep) -> Sweep:
    """Return the sweep with every row, one trial, one seed or two folds, one epoch, a few images.

    A row has one search, whose only trial is the only finalist.

    Nothing is downloaded. A choice among numbers is cut to the smallest, so that large models and
    batches do not make the smoke slow.
    """
    folds = 0 if sweep.source else min(2, sweep.folds)  # a source would have seen the same images
    fixed: dict[str, object] = {"epochs": 1, "weights": "random", "folds": folds}
    larger: dict[int, dict[str, object]] = {}  # by the numbers of rows with larger images
    if not _is_on_digits(sweep):
        sizes = {row.number: _image_size(row.config) for row in sweep.planned}
        larger = {row: {"image_size": size} for row, size in sizes.items() if size > IMAGE_SIZE}
        fixed |= SMALL[sweep.base.task]
    names = (*(sweep.source or {}), *sweep.search)
    free = {name for name in names if kind_of(name) not in fixed}
    keep = {name: value for name, value in (sweep.source or {}).items() if name in free}
    search = {name: _smallest(one) for name, one in sweep.search.items() if name in free}
    left = {name: extremes(domain) for name, domain in search.items()}
    return replace(
        sweep,
        base=TrainConfig.from_dict(fixed, sweep.base),
        # A field may have no effect with the smallest value of another: such a field is left out.
        rows=[
            {
                name: fixed.get(name, value)
                for name, value in sweep.rows[row.number].items()
                if name == LABEL or has_effect(name, TrainConfig.from_dict(fixed, row.config), left)
            }
            | larger.get(row.number, {})
            for row in sweep.planned[: len(sweep.rows)]
        ],
        search={
            name: domain
            for name, domain in search.items()
            if all(has_effect(name, row.config, left) for row in sweep.planned)
        },
        trials=1,
        seeds=min(1, sweep.seeds),
        folds=folds,
        finalists=1,
        aa=False,
        searches=1,
        source=None if sweep.source is None else keep,
        max_failures=2 * len(sweep.rows),  # so that the problems of all rows are seen
    )


def stand_ins(sweep: Sweep, tiny: Sweep) -> str:
    """Return what stands in for the sweep's own data, weights and sizes of images in its smoke, in
    a line; "" where nothing does.
    """
    parts = []
    for name, what in (("dataset", ""), ("weights", "weights "), ("image_size", "image_size ")):
        own, here = (
            dict.fromkeys(format_value(getattr(row.config, name)) for row in one.planned)
            for one in (sweep, tiny)
        )
        if missing := [text for text in own if text not in here and text != "none"]:
            parts.append(f"{what}{', '.join(here)} for {', '.join(missing)}")
    if not parts:
        return ""
    return f"a smoke takes {'; '.join(parts)}: --dry-run checks the sweep's own data and weights"


def _is_on_digits(sweep: Sweep) -> bool:
    """Return whether every row trains on digits at a small size."""
    if {"dataset", "image_size"} & set(sweep.search):
        return False
    configs = [row.config for row in sweep.planned]
    return all(
        config.dataset == "digits" and (config.image_size or 0) <= IMAGE_SIZE for config in configs
    )


def _image_size(config: TrainConfig) -> int:
    """Return the side in pixels of the smallest images that the config's model takes."""
    larger = [size for part, size in LARGER.items() if part in config.model]
    is_unpadded = config.padding == "valid" and has_effect("padding", config)
    return max([IMAGE_SIZE, *larger, *([UNPADDED] if is_unpadded else [])])


def _smallest(domain: Domain) -> Domain:
    """Return a choice among numbers, or lists of them, cut to the smallest; others as they are."""
    if isinstance(domain, Choice) and all(map(is_numeric, domain.categories)):
        return choice([min(extremes(domain))])
    return domain
