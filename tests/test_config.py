"""TrainConfig: flags and dictionaries in and out, ids, and what is refused."""

import argparse
import typing
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fieldtrial.config import FIELDS, HINTS, ConfigError, TrainConfig
from fieldtrial.fields.rules import RULES
from fieldtrial.fields.task_metrics import criteria
from fieldtrial.fields.values import (
    UNIONS,
    Own,
    check_bounds,
    check_type,
    format_value,
    parse,
)
from fieldtrial.flags import add_flags

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,20}", fullmatch=True)
OWN = st.sampled_from(["nets:Net", "my.parts_2:of_mine", "_a.B:c"])
TEXT = {
    "dataset": (st.sampled_from(["digits", "mnist"]) | NAMES.map("folder:/data/{}".format) | OWN),
    "classes": (
        st.just("all")
        | st.integers(2, 999).map(str)
        | st.integers(0, 99).map(lambda low: f"{low}-{low + 3}")
    ),
    "model": NAMES | NAMES.map("timm:{}".format) | NAMES.map("torchvision:{}".format) | OWN,
    "weights": (
        st.text(min_size=1, max_size=30).filter(lambda text: text != "run:" and text[0] != "-")
    ),
    "folds": st.just(0) | st.integers(2, 1000),
    "fold": st.just(0),  # others need `folds`
    "target": st.none() | NAMES.map("column {}".format),
    "task": st.just("classification"),  # `select` and `classifier` must be of the task
    "select": st.sampled_from([*criteria("classification"), "last"]),
    "freeze": (
        OWN
        | st.sampled_from(["none", "all_but_head"])
        | st.integers(1, 99).map("first:{}".format)
        | st.integers(1, 99).map("all_but_last:{}".format)
        | st.integers(1, 99).map("gradual:{}".format)
        | st.sampled_from(
            [
                "pattern:fc",
                r"pattern:layer[1-3]\..*",
                "pattern:a|b, c",
                "only:layer3",
                "only:stages.3",
            ]
        )
    ),
}
ODD = st.integers(0, 10).map(lambda half: 2 * half + 1)


def per_block(blocks: int) -> dict[str, st.SearchStrategy[Any]]:
    """Return the values of the fields that have a number for each of `blocks` blocks, or one for
    all.
    """
    counts = st.sampled_from([1, blocks])
    return {
        "filters": counts.flatmap(lambda count: st.tuples(*[st.integers(1, 2048)] * count)),
        "kernel_size": counts.flatmap(lambda count: st.tuples(*[ODD] * count)),
    }


def values(name: str) -> st.SearchStrategy[Any]:
    """Return all values that the field `name` admits."""
    return _values(name, HINTS[name])


def _values(name: str, hint: Any) -> st.SearchStrategy[Any]:
    low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
    arguments = typing.get_args(hint)
    if name in TEXT:
        return TEXT[name]
    if name in (lists := per_block(TrainConfig().blocks)):
        return lists[name]
    if hint == Own:
        return OWN
    if Own in arguments and typing.get_origin(hint) in UNIONS:
        return OWN | _values(name, arguments[0])
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(arguments)
    if typing.get_origin(hint) is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*[_values(name, item) for item in arguments])
    if typing.get_origin(hint) is tuple:
        return st.lists(_values(name, arguments[0]), max_size=4, unique=True).map(tuple)
    if arguments:
        return st.none() | _values(name, arguments[0])
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(int(low), int(high or 10**6))
    assert hint is float
    return st.floats(low, high or 1e9, exclude_min=name == "lr")


CONFIGS = st.tuples(st.integers(1, 16), st.just(0) | st.integers(2, 1000)).flatmap(
    lambda given: st.builds(
        TrainConfig,
        **(
            {name: values(name) for name in FIELDS}
            # not beside every value of mixup, cutmix and ema_decay
            | {"loss": st.just("cross_entropy"), "strategy": st.just("ddp")}
            | {"blocks": st.just(given[0]), "folds": st.just(given[1])}
            | {"fold": st.integers(0, max(0, given[1] - 1))}
            | per_block(given[0])
        ),
    )
)


def read_flags(flags: list[str]) -> TrainConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return TrainConfig.from_flags(parser.parse_args(flags))


@given(config=CONFIGS)
def test_flags_out_and_in_are_inverse(config: TrainConfig) -> None:
    assert read_flags(config.to_flags()) == config


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_each_fields_text_out_and_in_are_inverse(name: str, data: st.DataObject) -> None:
    value = getattr(replace(TrainConfig(), **{name: data.draw(values(name))}), name)
    assert parse(format_value(value), HINTS[name]) == value
    config = TrainConfig.from_dict({name: value})
    assert read_flags(config.to_flags()) == config
    assert set(config.differences(TrainConfig())) <= {name}


@given(config=CONFIGS)
def test_dictionaries_out_and_in_are_inverse(config: TrainConfig) -> None:
    again = TrainConfig.from_dict(config.to_dict())
    assert again == config
    assert again.id == config.id
    assert list(config.to_dict()) == list(FIELDS)


@given(one=CONFIGS, other=CONFIGS)
@example(one=TrainConfig(momentum=-0.0), other=TrainConfig(momentum=0.0))
def test_ids_are_equal_exactly_where_configs_are(one: TrainConfig, other: TrainConfig) -> None:
    assert (one.id == other.id) == (one == other)
    assert len(one.id) == 8
    assert set(one.id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("config", "id_"),
    [  # a change here renames the directories of every run that anybody has
        (TrainConfig(), "44136fa3"),
        (TrainConfig(lr=0.01), "ef2e0e7b"),
        (TrainConfig(dropout=0.0, preprocessing="square"), "44136fa3"),
        (
            TrainConfig(model="timm:resnet18", freeze="all_but_head", filters=(8,), dropout=0.0),
            "36c7a948",  # before the library's own dropout was the default, 0.0 was
        ),
    ],
)
def test_ids_stay(config: TrainConfig, id_: str) -> None:
    assert config.id == id_


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "task"])  # it has one value
def test_the_id_depends_on_every_field(name: str) -> None:
    other: Any = {
        "task": "detection", "target": "age",
        "dataset": "mnist", "classes": "5-9", "image_size": 32, "preprocessing": "square",
        "augmentation": ("grayscale",), "cached_views": 4, "mixup": 0.2, "cutmix": 1.0,
        "test_flips": True, "validation_fraction": 0.2,
        "train_fraction": 0.5, "images_per_class": 20, "deduplicate": True,
        "folds": 5, "fold": 3,
        "model": "mlp", "weights": "imagenet", "freeze": "first:1", "blocks": 3,
        "convolutions": 2, "filters": (8,), "filter_growth": 2.0,
        "kernel_size": (5,), "padding": "valid", "activation": "gelu", "batch_norm": False,
        "batch_norm_after": "pool", "dense_width": (), "dropout": 0.5, "block_dropout": 0.2,
        "stochastic_depth": 0.1,
        "classifier": "svm", "svm_kernel": "rbf", "svm_scaling": "standard", "svm_penalty": 10.0,
        "optimizer": "sgd", "lr": 0.5, "momentum": 0.5, "nesterov": True, "betas": (0.5, 0.9),
        "layer_decay": 0.5, "epsilon": 1e-6, "weight_decay": 0.1, "decay_all": False,
        "schedule": "cosine", "warmup_fraction": 0.1, "step_epochs": 3, "gamma": 0.5,
        "plateau_patience": 2,
        "loss": "center", "loss_weight": 0.5, "center_lr": 0.1, "margin": 0.5, "shuffle": False,
        "label_smoothing": 0.1, "class_weights": "balanced", "gradient_clip": 1.0,
        "batch_size": 8, "sampling": "balanced", "ema_decay": 0.99,
        "epochs": 1, "select": "validation_loss", "patience": 2, "seed": 1, "precision": "bf16",
        "compile": "off", "strategy": "zero1", "metrics": ("nets:f1",),
    }[name]  # fmt: skip
    bases = {
        "preprocessing": TrainConfig(model="vgg11", weights="x.pt"),
        "task": TrainConfig(select="last"),
        "fold": TrainConfig(folds=5),
    }
    base = bases.get(name, TrainConfig())
    config = replace(base, **{name: other})
    assert config.id != base.id
    assert config.differences(base) == {name: (other, getattr(base, name))}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dataset", "a b", "must be a name, folder:PATH or boxes:PATH"),
        ("dataset", "folder:", "must be a name, folder:PATH or boxes:PATH"),
        ("classes", "9-5", "must be all, N (2 or more), A-B with A below B, or names like cat,dog"),
        ("classes", "1", "must be all, N (2 or more), A-B with A below B, or names like cat,dog"),
        ("image_size", 0, "must be at least 1"),
        ("image_size", 1.5, "must be a whole number"),
        ("preprocessing", "centre", "must be one of recipe, square"),
        ("augmentation", ("blur",), "must be one of horizontal_flip, vertical_flip"),
        ("augmentation", ("crop", "crop"), "must name each change once"),
        ("augmentation", {}, "must be a list"),
        ("cached_views", -1, "must be at least 0"),
        ("mixup", -0.1, "must be at least 0"),
        ("cutmix", 101.0, "must be at most 100"),
        ("test_flips", 1, "must be true or false"),
        ("validation_fraction", 0.0, "must be at least 0.001"),
        ("train_fraction", 0.0, "must be at least 1e-05"),
        ("train_fraction", 1.5, "must be at most 1"),
        ("images_per_class", 0, "must be at least 1"),
        ("deduplicate", 1, "must be true or false"),
        ("folds", 1, "must be 0, or 2 and more"),
        ("fold", 3, "must be 0 without folds"),
        ("model", "a/b", "must be a model's name"),
        ("weights", "", "must be random, imagenet, imagenet:TAG, run:NAME"),
        ("weights", "run:", "must be random, imagenet, imagenet:TAG, run:NAME"),
        ("weights", "-x", "must not start with -"),
        ("model", "-x", "must be a model's name"),
        ("freeze", "first:0", "must be none, all_but_head"),
        ("freeze", "pattern:[", "must be none, all_but_head"),
        ("freeze", "pattern:", "must be none, all_but_head"),
        ("freeze", "only:", "must be none, all_but_head"),
        ("blocks", 0, "must be at least 1"),
        ("blocks", 17, "must be at most 16"),
        ("convolutions", 0, "must be at least 1"),
        ("filters", (1, 2), "must be 1 or 5 numbers, because blocks = 5"),
        ("filters", (), "must be 1 or 5 numbers"),
        ("filters", (0,), "must be at least 1"),
        ("filter_growth", 0.0, "must be at least 0.01"),
        ("kernel_size", (2,), "must be odd"),
        ("kernel_size", (3, 3), "must be 1 or 5 numbers, because blocks = 5"),
        ("padding", "full", "must be one of same, valid"),
        ("activation", "swish", "must be one of relu, leaky_relu, tanh, gelu, silu, mish"),
        ("batch_norm", 1, "must be true or false"),
        ("batch_norm_after", "block", "must be one of convolution, pool"),
        ("dense_width", (0,), "must be at least 1"),
        ("dropout", 1.0, "must be at most 0.95"),
        ("block_dropout", 1.0, "must be at most 0.95"),
        ("stochastic_depth", 1.0, "must be at most 0.95"),
        ("classifier", "tree", "must be one of softmax, svm"),
        ("svm_kernel", "quartic", "must be one of linear, rbf, cubic"),
        ("svm_scaling", "robust", "must be one of none, standard, min_max"),
        ("svm_penalty", 0.0, "must be at least 1e-09"),
        ("task", "poetry", "must be one of classification"),
        ("target", "", "must be a column's name, or none"),
        ("target", "-x", "must not start with -"),
        ("optimizer", "lion", "must be one of sgd, adam, adamw, rmsprop"),
        ("optimizer", "timm:lion", "nadam, or package.module:name of your own code"),
        ("lr", 0.0, "must be above 0"),
        ("lr", float("nan"), "must be finite"),
        ("lr", float("inf"), "must be finite"),
        ("lr", 10**400, "must be finite"),
        ("lr", True, "must be a number"),
        ("layer_decay", 0.0, "must be at least 0.01"),
        ("momentum", 1.0, "must be at most 0.9999"),
        ("nesterov", 1, "must be true or false"),
        ("betas", (0.9,), "must have 2 values"),
        ("betas", (0.9, 1.0), "must be at most 0.99999"),
        ("epsilon", -1e-9, "must be at least 0"),
        ("decay_all", 1, "must be true or false"),
        ("weight_decay", -1.0, "must be at least 0"),
        ("schedule", "stairs", "must be one of constant, cosine, linear, step, one_cycle, plateau"),
        ("warmup_fraction", 1.1, "must be at most 1"),
        ("step_epochs", 0, "must be at least 1"),
        ("gamma", 0.0, "must be at least 1e-06"),
        ("gamma", 1.5, "must be at most 1"),
        ("plateau_patience", 0, "must be at least 1"),
        ("loss", "hinge", "must be one of cross_entropy, center, triplet"),
        ("loss_weight", -1.0, "must be at least 0"),
        ("center_lr", 1.1, "must be at most 1"),
        ("margin", -0.1, "must be at least 0"),
        ("shuffle", "no", "must be true or false"),
        ("label_smoothing", 1.0, "must be at most 0.99"),
        ("class_weights", "auto", "must be one of none, balanced"),
        ("gradient_clip", 0.0, "must be at least 1e-09"),
        ("batch_size", 0, "must be at least 1"),
        ("batch_size", "64", "must be a whole number"),
        ("sampling", "weighted", "must be one of all, balanced"),
        ("ema_decay", 1.0, "must be at most 0.999999"),
        ("epochs", 0, "must be at least 1"),
        ("select", "test_accuracy", "must be one of validation_accuracy, validation_loss"),
        ("patience", 0, "must be at least 1"),
        ("metrics", ("f1",), "must be package.module:name of your own code"),
        ("metrics", ("nets:f1", "nets:f1"), "must name each metric once"),
        ("seed", -1, "must be at least 0"),
        ("seed", True, "must be a whole number"),
        ("precision", "fp16", "must be one of fp32, bf16"),
        ("compile", "maybe", "must be one of auto, on, off"),
        ("strategy", "fsdp", "must be one of ddp, zero1, zero2, zero3"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bad_values_are_refused_with_field_value_and_rule(
    name: str, value: object, rule: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name} = {value!r}: ")
    assert rule in problem


def test_every_field_has_a_bad_value_in_the_test_above() -> None:
    (mark,) = test_bad_values_are_refused_with_field_value_and_rule.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == set(FIELDS)


def test_values_go_on_top_of_a_base() -> None:
    base = TrainConfig(lr=0.5, epochs=7)
    config = TrainConfig.from_dict({"lr": "0.25", "filters": [1, 2, 3, 4, 5]}, base)
    assert (config.lr, config.epochs, config.filters) == (0.25, 7, (1, 2, 3, 4, 5))


def test_whole_numbers_are_numbers() -> None:
    config = TrainConfig(lr=1)
    assert type(config.lr) is float
    assert config == TrainConfig(lr=1.0)


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainConfig().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", FIELDS)
def test_each_default_keeps_its_rules(name: str) -> None:
    default, metadata = FIELDS[name].default, FIELDS[name].metadata
    assert check_type(default, HINTS[name]) == default
    check_bounds(default, metadata["low"], metadata["high"])
    assert [rule for holds, rule in RULES.get(name, ()) if not holds(default)] == []
