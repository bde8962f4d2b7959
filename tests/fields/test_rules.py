"""Rules that two fields of a config keep together."""

import pytest

from fieldtrial.config import ConfigError, TrainConfig


def test_as_many_filters_as_blocks() -> None:
    assert TrainConfig(blocks=3, filters=(16, 32, 64), kernel_size=(3,)).filters == (16, 32, 64)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(blocks=3, filters=(1, 2, 3, 4, 5), kernel_size=(3, 3), lr=0.0)
    assert caught.value.problems == [
        "lr = 0.0: must be above 0",
        "filters = (1, 2, 3, 4, 5): must be 1 or 3 numbers, because blocks = 3",
        "kernel_size = (3, 3): must be 1 or 3 numbers, because blocks = 3",
    ]


def test_a_fold_is_one_of_the_folds() -> None:
    assert TrainConfig(folds=3, fold=2).fold == 2
    with pytest.raises(ConfigError, match=r"^fold = 3: must be below folds = 3$"):
        TrainConfig(folds=3, fold=3)
