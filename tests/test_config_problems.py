"""What is refused of a config's values together, and of its flags."""

import argparse

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.flags import add_flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "3.5"], "epochs = '3.5': must be a whole number"),
        (["--batch_norm", "yes"], "batch_norm = 'yes': must be true or false"),
        (["--filters", "8,x"], "filters = '8,x': must be a whole number"),
        (["--lr", "fast"], "lr = 'fast': must be a number"),
    ],
)
def test_bad_flags_are_refused(flags: list[str], message: str) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_flags(parser.parse_args(flags))
    assert str(caught.value) == message


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(
            {"optimiser": "sgd", "lr": "fast", "epochs": 0, "zzz": 1, "dropout": 0.1}, where="row 3"
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "row 3: unknown field 'optimiser'; did you mean 'optimizer'?"
    assert lines[1].startswith("row 3: unknown field 'zzz'; fields: dataset, classes")
    assert lines[2:] == [
        "row 3: lr = 'fast': must be a number",
        "row 3: epochs = 0: must be at least 1",
    ]


def test_as_many_filters_as_blocks() -> None:
    assert TrainConfig(blocks=3, filters=(16, 32, 64), kernel_size=(3,)).filters == (16, 32, 64)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(blocks=3, filters=(1, 2, 3, 4, 5), kernel_size=(3, 3), lr=0.0)
    assert caught.value.problems == [
        "lr = 0.0: must be above 0",
        "filters = (1, 2, 3, 4, 5): must be 1 or 3 numbers, because blocks = 3",
        "kernel_size = (3, 3): must be 1 or 3 numbers, because blocks = 3",
    ]


def test_values_that_cannot_be_together_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(mixup=0.2, loss="center", ema_decay=0.9, strategy="zero2")
    assert caught.value.problems == [
        "mixup = 0.2: a mixed image has no one class, which loss = center needs; set loss to"
        " cross_entropy, or mixup to 0",
        "ema_decay = 0.9: strategy = zero2 partitions the weights that are averaged; set strategy"
        " to ddp, or ema_decay to 0",
    ]
    assert TrainConfig(mixup=0.2, cutmix=1.0, ema_decay=0.9, label_smoothing=0.1).mixup == 0.2


def test_a_fold_is_one_of_the_folds() -> None:
    assert TrainConfig(folds=3, fold=2).fold == 2
    with pytest.raises(ConfigError, match=r"^fold = 3: must be below folds = 3$"):
        TrainConfig(folds=3, fold=3)
