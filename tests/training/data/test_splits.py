"""Stratified splits are those of scikit-learn, drawn without its import."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from fieldtrial.training.data.splits import stratified_cut


@given(
    classes=st.integers(1, 12),
    images=st.integers(2, 200),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_cut_is_scikit_learns(classes: int, images: int, fraction: float, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, images)
    labels[:classes] = np.arange(classes)[:images]
    names = tuple(f"class {number}" for number in range(classes))
    # scikit-learn's own seeding stops at 32 bits.
    random = np.random.RandomState(np.random.MT19937(seed))
    try:
        sides = train_test_split(
            np.arange(images), test_size=fraction, stratify=labels, random_state=random
        )
    except ValueError:
        sides = [np.empty(0, np.int64)]
    if all(len(np.unique(labels[side])) == classes for side in sides):
        for found, expected in zip(
            stratified_cut(labels, names, fraction, seed), sides, strict=True
        ):
            assert found.tolist() == sorted(expected)
    else:
        with pytest.raises(ValueError, match="leaves one side without an image of 'class "):
            stratified_cut(labels, names, fraction, seed)
