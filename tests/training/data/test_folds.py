"""Folds: each image is tested once, its copies with it, as many of each class in all folds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.cuts.folds import fold_of_each
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.sets.registry import open_dataset
from tests.training.data.sets.test_image_folder import fill


def of_digits(fold: int, folds: int = 3, **values: Any) -> Data:
    return load(TrainConfig(folds=folds, fold=fold, **values), None)


@given(
    counts=st.lists(st.integers(7, 60), min_size=1, max_size=6),
    folds=st.integers(2, 7),
    seed=st.integers(0, 999),
)
def test_classes_are_spread_over_all_folds(counts: list[int], folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = random.random(len(labels))
    names = tuple(map(str, range(len(counts))))
    found = fold_of_each(labels, names, folds, numbers)
    table = np.array([np.bincount(found[labels == one], minlength=folds) for one in set(labels)])
    assert table.min() >= 1
    assert (table.max(1) - table.min(1)).max() <= 1
    # What is left over is shared out: no fold has the larger share of every class.
    assert np.ptp(table.sum(0)) <= len(counts)
    # An image has its fold wherever it stands.
    order = random.permutation(len(labels))
    np.testing.assert_array_equal(
        fold_of_each(labels[order], names, folds, numbers[order]), found[order]
    )


def test_many_classes_of_a_few_images_make_folds_of_a_size() -> None:
    labels = np.repeat(np.arange(100), 7)
    numbers = np.random.default_rng(0).random(700)
    sizes = np.bincount(fold_of_each(labels, tuple(map(str, range(100))), 5, numbers))
    assert np.ptp(sizes) == 0


def test_copies_stay_together() -> None:
    numbers = np.repeat(np.random.default_rng(1).random(12), 3)  # three copies of each image
    found = fold_of_each(np.zeros(36, np.int64), ("a",), 4, numbers)
    assert (np.ptp(found.reshape(12, 3), axis=1) == 0).all()
    assert np.bincount(found).tolist() == [9] * 4


def test_a_class_needs_a_different_image_for_each_fold() -> None:
    labels, numbers = np.array([0] * 5 + [1] * 4), np.array([0.1, 0.2, 0.3, 0.4, 0.5] + [0.6] * 4)
    message = r"^3 folds leave some without an image of 'dog' \(1 different images\)$"
    with pytest.raises(ValueError, match=message):
        fold_of_each(labels, ("cat", "dog"), 3, numbers)


def test_each_image_is_tested_once_and_never_where_it_was_seen() -> None:
    folds = [of_digits(fold, seed=fold) for fold in range(3)]
    tested = np.concatenate([data.test for data in folds])
    assert np.sort(tested).tolist() == list(range(1797))
    for data in folds:
        every = np.concatenate([data.train, data.validation, data.test])
        assert np.sort(every).tolist() == list(range(1797))
        share = data.count(data.test) / data.count(np.arange(1797))
        assert np.abs(share - 1 / 3).max() < 0.01
        assert len(data.validation) == pytest.approx(0.1 * 1198, abs=10)
    other = of_digits(1, seed=9)
    assert other.test.tolist() == folds[1].test.tolist()
    assert other.validation.tolist() != folds[1].validation.tolist()
    assert folds[0].digest == folds[1].digest == load(TrainConfig(), None).digest
    assert folds[2].remarks[-1] == (
        "fold 2 of 3, counted from 0: folds hold all 1,797 labelled images, those of a test set too"
    )


def test_chosen_classes_alone_are_in_folds() -> None:
    few = [of_digits(fold, classes="5-6") for fold in range(3)]
    tested = np.sort(np.concatenate([data.test for data in few]))
    assert tested.tolist() == np.flatnonzero(few[0].labels >= 0).tolist()


def test_a_folder_with_its_own_parts(tmp_path: Path) -> None:
    fill(tmp_path / "train", 6)
    fill(tmp_path / "test", 3)
    config = TrainConfig(
        dataset=f"folder:{tmp_path}", folds=3, fold=1, image_size=12,
        augmentation=("random_resized_crop",),
    )  # fmt: skip
    data = load(config, 12)
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 2, 6)
    # Crops of images that the folder would have tested are drawn from these images, too.
    assert data.originals is not None
    assert (data.originals.sizes[data.train] == (16, 16, 3)).all()
    assert open_dataset(config.dataset, tmp_path).test_fraction is None
    with pytest.raises(ConfigError, match=r"^folds = 12: .*12 folds leave some without an image"):
        load(TrainConfig(dataset=config.dataset, folds=12), 12)


def test_a_folder_with_its_own_validation_images_is_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        fill(tmp_path / part, 3)
    with pytest.raises(ConfigError, match=r"^folds = 3: .*validation images of its own \(val/\)"):
        load(TrainConfig(dataset=f"folder:{tmp_path}", folds=3), 12)
