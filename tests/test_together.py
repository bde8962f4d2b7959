"""Which trials may train together."""

import pytest

from fieldtrial import together
from fieldtrial.config import TrainConfig
from fieldtrial.together import group_of

PROBE = TrainConfig(model="resnet18", weights="imagenet", freeze="all_but_head")


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 0.1},
        {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1, "gradient_clip": 1.0},
        {"schedule": "step", "step_epochs": 3, "warmup_fraction": 0.1},
        {"label_smoothing": 0.1, "patience": 2, "select": "last"},
        {"seed": 7},
    ],
)
def test_probes_that_differ_in_how_the_head_is_trained_train_together(
    fields: dict[str, object],
) -> None:
    assert group_of(TrainConfig.from_dict(fields, PROBE)) == group_of(PROBE) != ""


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "sgd"},
        {"batch_size": 32},
        {"epochs": 11},
        {"model": "resnet34"},
        {"train_fraction": 0.5},
        {"image_size": 128},
    ],
)
def test_other_features_batches_or_epochs_are_another_group(fields: dict[str, object]) -> None:
    assert group_of(TrainConfig.from_dict(fields, PROBE)) not in ("", group_of(PROBE))


@pytest.mark.parametrize(
    "fields",
    [
        {"freeze": "none"},
        {"freeze": "all_but_last:2"},
        {"augmentation": ["horizontal_flip"]},
        {"mixup": 0.2},
        {"cutmix": 1.0},
        {"test_flips": True},
        {"sampling": "balanced"},
        {"class_weights": "balanced"},
        {"ema_decay": 0.9},
        {"loss": "center"},
        {"precision": "bf16"},
        {"dropout": 0.2},
        {"classifier": "svm"},
        {"task": "detection", "model": "darknet:yolov3", "select": "validation_map"},
        {"task": "multilabel", "select": "validation_map"},
        {"task": "regression", "select": "validation_mae"},
    ],
)
def test_what_is_more_than_a_head_on_fixed_features_trains_alone(
    fields: dict[str, object],
) -> None:
    assert group_of(TrainConfig.from_dict(fields, PROBE)) == ""


def test_an_optimiser_without_a_rule_for_many_heads_trains_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "OPTIMIZERS", ("sgd",))
    assert group_of(TrainConfig.from_dict({"optimizer": "adamw"}, PROBE)) == ""
    assert group_of(TrainConfig.from_dict({"optimizer": "sgd"}, PROBE)) != ""


def test_the_seed_that_draws_the_frozen_layers_tells_groups_apart() -> None:
    one, other = (
        TrainConfig(freeze="all_but_head", seed=seed, lr=lr) for seed, lr in ((1, 0.1), (2, 0.2))
    )
    assert group_of(one) != group_of(other)
    assert group_of(one) == group_of(TrainConfig(freeze="all_but_head", seed=1))
