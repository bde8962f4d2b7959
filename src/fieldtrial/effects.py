"""Which fields of a config have an effect, given the values of its other fields."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.fields import freezing_schemes
from fieldtrial.fields.former import OWN_MODELS, has_recipe
from fieldtrial.fields.rules import has_crops, is_mixed
from fieldtrial.fields.values import format_value
from fieldtrial.own.names import is_option, kind_of, own_of


@dataclass(frozen=True)
class Condition:
    """A condition on one or two fields: `text` states it, `holds` decides it for a config."""

    text: str
    fields: tuple[str, ...]
    holds: Callable[[TrainConfig], bool]


def _is(name: str, *values: object) -> Condition:
    """Return the condition that the field `name` has one of the values."""
    text = f"{name} = {' or '.join(map(format_value, values))}"
    return Condition(text, (name,), lambda config: getattr(config, name) in values)


TRAINED = _is("classifier", "softmax")
MACHINE = _is("classifier", "svm")
CLASSIFIED = _is("task", "classification")
OF_IMAGES = _is("task", "classification", "multilabel", "regression")  # answers are of whole images
OFFERED = Condition(
    "a model that is not your own", ("model",), lambda config: not own_of(config.model)
)
CROSS_ENTROPY = Condition(
    "a loss that is not your own", ("loss",), lambda config: not own_of(config.loss)
)
# Detection minimises its own alone.
WITH_LOSSES = Condition(
    "task = classification, or a loss of your own and task = multilabel or regression",
    ("task", "loss"),
    lambda config: (
        CLASSIFIED.holds(config) or (OF_IMAGES.holds(config) and bool(own_of(config.loss)))
    ),
)
CNN = _is("model", "cnn")
DENSE = Condition(
    "model = cnn, or mlp with a dense layer",
    ("model", "dense_width"),
    lambda config: config.model == "cnn" or (config.model == "mlp" and bool(config.dense_width)),
)
GROWING = Condition(
    "one number of filters, blocks above 1",
    ("filters", "blocks"),
    lambda config: len(config.filters) < config.blocks,
)
BETWEEN_LAYERS = Condition(
    "two or more dense layers if model = mlp",
    ("model", "dense_width"),
    lambda config: config.model != "mlp" or len(config.dense_width) > 1,
)
FALLING = Condition("gamma below 1", ("gamma",), lambda config: config.gamma < 1)
WEIGHED = Condition(
    "loss_weight none or above 0", ("loss_weight",), lambda config: config.loss_weight != 0
)
DECAYED = Condition(
    "weight_decay above 0", ("weight_decay",), lambda config: config.weight_decay > 0
)
MOVING = Condition("momentum above 0", ("momentum",), lambda config: config.momentum > 0)

FRAMED = Condition(
    "weights of a library's model, or a crop among augmentation",
    ("model", "weights", "augmentation"),
    lambda config: has_recipe(config) or has_crops(config),
)
FIXED = Condition(
    f"freeze other than {', '.join(freezing_schemes.NOT_FIXED)}",
    ("freeze",),
    lambda config: freezing_schemes.is_fixed(config.freeze),
)
DEEP = Condition(
    "freeze other than all_but_head", ("freeze",), lambda config: config.freeze != "all_but_head"
)
FROM_LIBRARY = Condition(
    "a model of timm or torchvision",
    ("model",),
    lambda config: (
        config.model.partition(":")[0] in ("timm", "torchvision")
        or (":" not in config.model and config.model not in OWN_MODELS)
    ),
)
UNMIXED = Condition(
    "mixup = 0, cutmix = 0", ("mixup", "cutmix"), lambda config: not is_mixed(config)
)
EACH_ONCE = Condition(
    "sampling = all if task = classification",
    ("sampling", "task"),
    lambda config: config.sampling == "all" or config.task != "classification",
)
AUGMENTED = Condition(
    "a change among augmentation", ("augmentation",), lambda config: bool(config.augmentation)
)

# field -> the conditions that must all hold for it to have an effect; other fields always have one.
# A support vector machine gets the features of unchanged images from an untrained network.
CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "classes": (_is("task", "classification", "multilabel", "detection"),),
    "target": (_is("task", "regression"),),
    "images_per_class": (CLASSIFIED,),
    "preprocessing": (FRAMED, OF_IMAGES),
    "augmentation": (TRAINED,),
    "cached_views": (AUGMENTED, UNMIXED, FIXED, TRAINED, OF_IMAGES),
    "mixup": (TRAINED, CLASSIFIED),
    "cutmix": (TRAINED, CLASSIFIED),
    "test_flips": (TRAINED, CLASSIFIED),
    "freeze": (TRAINED,),
    "blocks": (CNN,),
    "convolutions": (CNN,),
    "filters": (CNN,),
    "filter_growth": (CNN, GROWING),
    "kernel_size": (CNN,),
    "padding": (CNN,),
    "activation": (DENSE,),
    "batch_norm": (CNN,),
    "batch_norm_after": (CNN, _is("batch_norm", True)),
    "dense_width": (_is("model", "cnn", "mlp"),),
    "dropout": (OFFERED, TRAINED, OF_IMAGES),
    "block_dropout": (OFFERED, BETWEEN_LAYERS, TRAINED, OF_IMAGES),
    "stochastic_depth": (OFFERED, FROM_LIBRARY, DEEP, TRAINED, OF_IMAGES),
    "svm_kernel": (MACHINE,),
    "svm_scaling": (MACHINE,),
    "svm_penalty": (MACHINE,),
    "optimizer": (TRAINED,),
    "lr": (TRAINED,),
    "layer_decay": (DEEP, TRAINED),
    "momentum": (_is("optimizer", "sgd", "rmsprop"), TRAINED),
    "nesterov": (_is("optimizer", "sgd"), MOVING, TRAINED),
    "betas": (_is("optimizer", "adam", "adamw", "nadam"), TRAINED),
    "epsilon": (_is("optimizer", "adam", "adamw", "rmsprop", "adagrad", "nadam"), TRAINED),
    "weight_decay": (TRAINED,),
    "decay_all": (DECAYED, TRAINED),
    "schedule": (TRAINED,),
    "warmup_fraction": (TRAINED,),
    "step_epochs": (_is("schedule", "step"), FALLING, TRAINED),
    "gamma": (_is("schedule", "step", "plateau"), TRAINED),
    "plateau_patience": (_is("schedule", "plateau"), FALLING, TRAINED),
    "loss": (TRAINED, WITH_LOSSES),
    "loss_weight": (_is("loss", "center", "triplet"), TRAINED, CLASSIFIED),
    "center_lr": (_is("loss", "center"), WEIGHED, TRAINED, CLASSIFIED),
    "margin": (_is("loss", "triplet"), WEIGHED, TRAINED, CLASSIFIED),
    "label_smoothing": (CROSS_ENTROPY, TRAINED, CLASSIFIED),
    "class_weights": (CROSS_ENTROPY, TRAINED, CLASSIFIED),
    "gradient_clip": (TRAINED,),
    "batch_size": (TRAINED,),
    "shuffle": (EACH_ONCE, TRAINED),
    "sampling": (TRAINED, CLASSIFIED),
    "ema_decay": (TRAINED,),
    "epochs": (TRAINED,),
    "select": (TRAINED,),
    "patience": (TRAINED,),
    "strategy": (TRAINED,),
    "compile": (TRAINED,),
}


def conditions_of(name: str) -> tuple[Condition, ...]:
    """Return the conditions for the field `name` to have an effect.

    An option has one where its kind of part is own, and has an effect. Which options an own part
    takes is read from its source where a sweep is built; a config has no others.
    """
    if not is_option(name):
        return CONDITIONS.get(name, ())
    kind = kind_of(name)
    is_own = Condition(
        f"{kind} = package.module:name",
        (kind,),
        lambda config: bool(own_of(getattr(config, kind))),
    )
    return (is_own, *CONDITIONS.get(kind, ()))


def condition_text(name: str) -> str:
    """Return the conditions for the field `name` to have an effect; "" if it always has one."""
    return ", ".join(condition.text for condition in conditions_of(name))


def has_effect(
    name: str, config: TrainConfig, searched: Mapping[str, Sequence[Any]] | None = None
) -> bool:
    """Return whether the field `name` has an effect in `config`.

    `searched` are the values that a search may give to other fields: one with an effect suffices.
    """
    conditions, searched = conditions_of(name), searched or {}
    free = {field for condition in conditions for field in condition.fields} & searched.keys()
    choices = [[(field, value) for value in searched[field]] for field in sorted(free)]
    possible = _possible(config, itertools.product(*choices)) if free else [config]
    return any(all(condition.holds(one) for condition in conditions) for one in possible)


def _possible(
    config: TrainConfig, changes: Iterable[tuple[tuple[str, Any], ...]]
) -> Iterable[TrainConfig]:
    """Yield `config` with each of the changes that make a valid config."""
    for change in changes:
        try:
            yield TrainConfig.from_dict(dict(change), config)
        except ConfigError:
            continue


def without_effect(config: TrainConfig, names: Iterable[str] = CONDITIONS) -> list[str]:
    """Return a line for each field of `names` that differs from its default and has no effect."""
    return [
        f"{name} = {format_value(getattr(config, name))} has no effect: it needs"
        f" {condition_text(name)}"
        for name in names
        if is_set(name, config) and not has_effect(name, config)
    ]


def is_set(name: str, config: TrainConfig) -> bool:
    """Return whether a field has another value than its default; an option has one if it is set."""
    if name in FIELDS:
        return bool(getattr(config, name) != FIELDS[name].default)
    return name in config.options


def effective(
    config: TrainConfig, searched: Mapping[str, Sequence[Any]] | None = None
) -> TrainConfig:
    """Return `config` with the fields that have no effect at their defaults.

    Configs for which this is equal are one model. `searched` is as in `has_effect`.
    """
    idle = {
        name: FIELDS[name].default for name in CONDITIONS if not has_effect(name, config, searched)
    }
    return TrainConfig.from_dict(idle, config)
