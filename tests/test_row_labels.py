"""Rows with names of their own: they are shown everywhere, and decide nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.sweep import Sweep

ROWS: list[dict[str, Any]] = [
    {"model": "cnn", "freeze": "none", "label": "from scratch"},
    {"model": "cnn", "freeze": "first:1"},
]


def test_a_label_is_a_rows_name_and_no_field() -> None:
    labelled = Sweep(base=TrainConfig(), rows=ROWS, aa=True)
    plain = replace(labelled, rows=[{k: v for k, v in row.items() if k != "label"} for row in ROWS])
    names = ["from scratch", "first:1", "from scratch again"]
    assert [row.label for row in labelled.planned] == names
    assert [row.label for row in plain.planned] == ["none", "first:1", "none again"]
    ids = [[row.config.id for row in sweep.planned] for sweep in (labelled, plain)]
    assert ids[0] == ids[1]
    assert labelled.compared == plain.compared == ["model", "freeze"]
    assert [row.label for row in smoke(labelled).planned] == names[:2]


def test_a_label_is_kept_in_the_sweeps_folder_and_may_change() -> None:
    sweep = Sweep(base=TrainConfig(), rows=ROWS)
    described = sweep.describe("x")
    found = SweepDescription.from_json(json.loads(json.dumps(described.to_json())), "it")
    assert found == described
    assert (found.labels, found.labels_head) == (["from scratch", "first:1"], "row")
    other = replace(sweep, rows=[ROWS[0] | {"label": "our own"}, ROWS[1]]).describe("x")
    assert other.digest == described.digest, "another name makes no other sweep"
    with pytest.raises(ConfigError, match="row_labels: must be names of rows"):
        SweepDescription.from_json(described.to_json() | {"row_labels": ["a", "b", "c"]}, "it")


def test_labels_that_no_table_can_show_are_refused() -> None:
    rows = [ROWS[0] | {"label": "a\nb"}, ROWS[1]]
    with pytest.raises(ConfigError) as caught:
        Sweep(base=TrainConfig(), rows=rows)
    assert str(caught.value) == (
        "sweep: row 0: label = 'a\\nb': must be a text in one line, of 1 to 60 letters"
    )
