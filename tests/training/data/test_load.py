"""What `load` gives a trial, on the embedded digits."""

import os

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.load import Data, load


def config(**values: object) -> TrainConfig:
    return TrainConfig.from_dict({"dataset": "digits", **values})


def counts(data: Data, part: np.ndarray) -> np.ndarray:
    return np.bincount(data.labels[part], minlength=len(data.class_names))


def test_digits_are_scikit_learns_images_in_256_shades() -> None:
    data = load(config(), None)
    original = load_digits()
    assert data.images.shape == (1797, 8, 8, 1)
    assert data.images.dtype == np.uint8
    assert (data.channels, data.image_size) == (1, 8)
    assert np.abs(data.images[..., 0] / 255 - original.images / 16).max() <= 0.5 / 255
    assert data.labels.tolist() == original.target.tolist()
    assert data.class_names == tuple("0123456789")


def test_splits_are_disjoint_complete_and_stratified() -> None:
    data = load(config(validation_fraction=0.25), None)
    everything = np.concatenate([data.train, data.validation, data.test])
    assert np.sort(everything).tolist() == list(range(1797))
    assert (len(data.train), len(data.validation), len(data.test)) == (1077, 360, 360)
    of_train, of_validation = counts(data, data.train), counts(data, data.validation)
    assert np.abs(of_validation / (of_train + of_validation) - 0.25).max() < 0.005
    assert np.abs(counts(data, data.test) / np.bincount(data.labels) - 0.2).max() < 0.005


def test_the_seed_moves_validation_and_nothing_else() -> None:
    first, again, other = (
        load(config(seed=1), None),
        load(config(seed=1, lr=0.5), None),
        load(config(seed=2), None),
    )
    huge = load(config(seed=2**40), None)
    assert again is first  # another trial of the same data gets the same arrays
    assert other.images is first.images
    assert other.test.tolist() == first.test.tolist() == huge.test.tolist()
    assert other.validation.tolist() != first.validation.tolist()
    assert huge.validation.tolist() not in (first.validation.tolist(), other.validation.tolist())


def test_a_second_trial_waits_for_no_data() -> None:
    first = load(config(), None)
    assert all(load(config(lr=1 + number), None) is first for number in range(3))


@pytest.mark.parametrize(
    ("classes", "names"),
    [("5", "01234"), ("5-9", "56789"), ("3-4", "34"), ("10", "0123456789"), ("7, 2", "72")],
)
def test_chosen_classes_are_renumbered_from_zero(classes: str, names: str) -> None:
    data, whole = load(config(classes=classes), None), load(config(), None)
    assert data.class_names == tuple(names)
    for part, whole_part in (
        (data.train, whole.train),
        (data.validation, whole.validation),
        (data.test, whole.test),
    ):
        assert {names[label] for label in data.labels[part]} == set(names)
        assert all(names[data.labels[i]] == str(whole.labels[i]) for i in part)
        assert abs(len(part) - sum(str(label) in names for label in whole.labels[whole_part])) <= 1
    unused = np.setdiff1d(
        np.arange(len(data.labels)), np.concatenate([data.train, data.validation, data.test])
    )
    assert set(data.labels[unused].tolist()) <= {-1}


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ("11", "digits has 10 classes$"),
        ("5-10", "digits has 10 classes, named 0 to 9; there is no 10"),
        ("3,x,1", "digits has no x; it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ],
)
def test_classes_that_are_not_there_are_an_error(classes: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"classes = '{classes}': {reason}"):
        load(config(classes=classes), None)


@pytest.mark.parametrize("fraction", [0.001, 0.005])
def test_a_class_without_validation_images_is_named(fraction: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"validation_fraction = {fraction}: digits: .* '\d' \(\d+ images\)"
    ):
        load(config(validation_fraction=fraction), None)


@pytest.mark.parametrize(
    ("fields", "per_class"),
    [
        ({"images_per_class": 7}, 7),
        ({"images_per_class": 7, "classes": "3-5"}, 7),
        ({"images_per_class": 3, "train_fraction": 0.1}, 3),
    ],
)
def test_a_number_of_training_images_of_each_class(
    fields: dict[str, object], per_class: int
) -> None:
    whole, part = (
        load(config(classes=fields.get("classes", "all")), None),
        load(config(**fields), None),
    )
    assert counts(part, part.train).tolist() == [per_class] * len(part.class_names)
    assert set(part.train) < set(whole.train)
    assert (part.validation.tolist(), part.test.tolist()) == (
        whole.validation.tolist(),
        whole.test.tolist(),
    )
    assert (part.mean, part.std) == (whole.mean, whole.std)
    assert np.all(np.diff(part.train) > 0)


def test_a_fraction_of_the_training_images_keeps_the_proportions() -> None:
    whole = load(config(), None)
    part = load(config(train_fraction=0.25), None)
    assert np.abs(counts(part, part.train) - counts(whole, whole.train) * 0.25).max() <= 0.5
    assert set(part.train) < set(whole.train)
    assert load(config(train_fraction=1.0), None) is whole


def test_smaller_samples_are_part_of_larger_ones_and_drawn_by_the_seed() -> None:
    samples = [set(load(config(images_per_class=count), None).train) for count in (5, 6, 50)]
    assert samples[0] < samples[1] < samples[2]
    shares = [set(load(config(train_fraction=fraction), None).train) for fraction in (0.1, 0.3)]
    assert shares[0] < shares[1]
    first, other = (load(config(images_per_class=5, seed=seed), None) for seed in (0, 2**40))
    assert first.labels[first.train].tolist() != other.labels[other.train].tolist()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"images_per_class": 200},
            r"images_per_class = 200: digits: too few .* '0' \(128 of 128 images\), '1'",
        ),
        (
            {"images_per_class": 20, "train_fraction": 0.1},
            r"train_fraction = 0.1, .* '0' \(13 of 128 images\)",
        ),
        ({"train_fraction": 0.001}, r"train_fraction = 0.001, .* '0' \(0 of 128 images\)"),
    ],
)
def test_classes_with_too_few_training_images_are_named_with_their_counts(
    fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(config(**fields), None)


def test_images_are_resized_on_request_and_facts_describe_the_training_images() -> None:
    data = load(config(), 16)
    assert data.images.shape == (1797, 16, 16, 1)
    training = data.images[np.concatenate([data.train, data.validation])] / 255
    assert data.mean == pytest.approx([training.mean()])
    assert data.std == pytest.approx([training.std()])
    assert load(config(), 8).images is not data.images
    assert load(config(), 8).images.tolist() == load(config(), None).images.tolist()


def test_trials_cannot_change_what_they_share() -> None:
    data = load(config(), None)
    for array in (data.images, data.labels, data.train, data.validation, data.test):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_images_are_mapped_from_the_store() -> None:
    load(config(), None)
    with open("/proc/self/maps") as maps:  # noqa: PTH123
        assert any(os.environ["FIELDTRIAL_CACHE"] in line and "images.npy" in line for line in maps)
