"""The searched fields as points of a unit cube, and back."""

import math
from typing import Any

import numpy as np
import pytest

from fieldtrial.control.engine.proposals.space import MOST_LISTED, Space
from fieldtrial.search_domains import (
    Domain,
    choice,
    contains,
    lograndint,
    loguniform,
    qrandint,
    quniform,
    randint,
    uniform,
)

DOMAINS: dict[str, Domain] = {
    "lr": loguniform(1e-4, 1e-1),
    "momentum": uniform(0.5, 0.99),
    "epochs": randint(2, 6),
    "batch_size": lograndint(16, 513),
    "dense_width": qrandint(8, 64, 8),
    "weight_decay": quniform(0.1, 0.5, 0.1),
    "optimizer": choice(["sgd", "adam", "adamw"]),
    "filters": choice([(8,), (16, 32)]),
    "gradient_clip": choice([None, 1.0]),
    "image_size": choice([64, 32, 128]),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_every_value_is_in_its_domain_and_has_a_place_that_gives_it_again(name: str) -> None:
    space = Space({name: DOMAINS[name]})
    for unit in np.linspace(0, 1, 200):
        value = space.values([unit])[name]
        assert contains(DOMAINS[name], value)
        assert space.values(space.point({name: value}).tolist())[name] == pytest.approx(value)


@pytest.mark.parametrize("name", DOMAINS)
def test_places_of_one_value_are_one_for_a_kernel_and_others_are_not(name: str) -> None:
    space = Space({name: DOMAINS[name]})
    units = np.linspace(0, 1, 300)[:, None]
    columns = {tuple(row) for row in space.columns(units).tolist()}
    values = {repr(space.values(unit.tolist())[name]) for unit in units}
    assert len(columns) == len(values)


def test_steps_have_equal_shares_of_the_cube_those_at_the_ends_too() -> None:
    units = (np.arange(1000) + 0.5) / 1000
    for domain in (randint(2, 6), qrandint(0, 6, 2), choice([1, 2, 5, 9])):
        drawn = [Space({"n": domain}).values([unit])["n"] for unit in units]
        counts = {value: drawn.count(value) for value in drawn}
        assert sorted(counts.values()) == [250] * 4


def test_a_logarithmic_field_has_equal_shares_of_each_factor() -> None:
    space = Space({"lr": loguniform(1e-4, 1e-1)})
    assert [space.values([unit])["lr"] for unit in (0, 1 / 3, 2 / 3, 1)] == pytest.approx(
        [1e-4, 1e-3, 1e-2, 1e-1]
    )


def test_numbers_are_written_as_a_person_would() -> None:
    assert Space({"lr": loguniform(1e-4, 1e-1)}).values([0.0]) == {"lr": 0.0001}
    assert Space({"x": quniform(0.1, 0.5, 0.1)}).values([0.5]) == {"x": 0.3}


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ([64, 32, 128], 1),
        ([None, 1.0], 2),
        ([0.0, 0.1], 2),
        (["a", "b", "c"], 3),
    ],
)
def test_three_numbers_are_a_scale_and_other_choices_have_a_column_each(
    values: list[Any], columns: int
) -> None:
    space = Space({"x": choice(values)})
    assert len(space.field_of_column) == columns
    if columns == 3:
        places = space.columns(np.array([[0.1], [0.5], [0.9]]))
        apart = [math.dist(places[i], places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert apart == pytest.approx([1, 1, 1])


def test_a_small_space_lists_all_its_points_and_a_large_one_none() -> None:
    small = {name: DOMAINS[name] for name in ("epochs", "optimizer", "filters")}
    points = Space(small).all_points
    assert points is not None
    found = {repr(Space(small).values(point)) for point in points.tolist()}
    assert len(found) == len(points) == 4 * 3 * 2
    assert Space(small | {"lr": DOMAINS["lr"]}).all_points is None
    assert Space({"n": randint(0, MOST_LISTED + 1)}).all_points is None


def test_the_sequence_fills_the_cube_evenly_and_another_seed_moves_it() -> None:
    space = Space({name: uniform(0, 1) for name in "ab"})
    points = np.concatenate([space.sequence(3, number) for number in range(100)])
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=5, range=[[0, 1]] * 2)[0]
    assert cells.min() >= 2, "4 on average; at random, one of 25 cells has 0 or 1"
    other = np.concatenate([space.sequence(4, number) for number in range(100)])
    assert not np.isclose(points, other).any()


def test_near_points_stay_near_and_a_choice_may_become_any_other() -> None:
    space = Space({"lr": loguniform(1e-4, 1e-1), "optimizer": choice(["sgd", "adam", "adamw"])})
    generator = np.random.default_rng(0)
    near = space.near(np.array([[0.5, 0.1]]), 400, 0.1, generator)
    assert np.abs(near[:, 0] - 0.5).max() < 0.3
    assert len(np.unique(near[:, 0])) > 100
    chosen = [space.values(point)["optimizer"] for point in near.tolist()]
    assert min(chosen.count(one) for one in ("adam", "adamw")) > 20
    assert chosen.count("sgd") > 150
