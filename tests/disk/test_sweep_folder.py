"""The sweep's folder: its description, and a list of trials that outlives torn lines."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder

TINY = SweepDescription(
    name="digits",
    base=TrainConfig(epochs=3),
    rows=({"model": "mlp"}, {"filters": (8, 16, 32, 64, 128)}),
    search={"lr": SearchDomain("loguniform", 1e-4, 0.1)},
    trials=2,
    seeds=3,
    select="validation_loss",
    source={"classes": "0-4"},
    max_failures=10,
)


def test_the_list_of_trials_survives_a_torn_line(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.trials() == []
    folder.list_trial("aaaaaaaa", None, "source")
    folder.list_trial("bbbbbbbb", 0, "search")
    listing = tmp_path / "trials.jsonl"
    listing.write_bytes(listing.read_bytes()[:-9])  # the engine died in the middle of the line
    assert [entry["trial"] for entry in folder.trials()] == ["aaaaaaaa"]
    folder.list_trial("bbbbbbbb", 0, "search")  # the next one lists its trials again
    folder.list_trial("aaaaaaaa", None, "source")
    folder.list_trial("bbbbbbbb", 1, "search")  # shared with another row
    assert folder.trials() == [
        {"trial": "bbbbbbbb", "row": 0, "role": "search"},
        {"trial": "aaaaaaaa", "row": None, "role": "source"},
        {"trial": "bbbbbbbb", "row": 1, "role": "search"},
    ]


def test_a_further_search_is_listed_with_its_number(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for search in (0, 1, 0):
        folder.list_trial("bbbbbbbb", 0, "winner", search)
    assert folder.trials() == [
        {"trial": "bbbbbbbb", "row": 0, "role": "winner", "search": 1},
        {"trial": "bbbbbbbb", "row": 0, "role": "winner"},
    ]


def test_what_is_listed_again_is_listed_last(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for winner in ("aaaaaaaa", "bbbbbbbb", None, "aaaaaaaa"):
        folder.list_trial(winner, 0, "winner")
    assert [entry["trial"] for entry in folder.trials()] == ["bbbbbbbb", None, "aaaaaaaa"]


def test_a_sweeps_description(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "digits")
    assert folder.description() is None
    with pytest.raises(
        FileNotFoundError,
        match=r"digits/sweep\.json: no such file, so .*digits is not the folder of a",
    ):
        folder.require_description()
    folder.write_description(TINY)
    folder.require()
    assert folder.require_description() == folder.description() == TINY
    assert (folder.name, folder.run("aaaaaaaa").name) == ("digits", "aaaaaaaa")
