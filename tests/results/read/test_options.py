"""Options of own parts in results: columns like those of fields, without any code being there."""

from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.read.trials import load
from fieldtrial.results.report.data import columns, hyperparameters
from fieldtrial.results.table.command import main

if TYPE_CHECKING:
    from tests.results.conftest import Written

ROWS: list[dict[str, Any]] = [{"model": "nets:Net", "model.width": 2}, {"model": "cnn"}]


@pytest.fixture
def own(written: "Written") -> "Written":
    """A row with an own part, and one without; the search of the first varies another option."""
    written.rows = ROWS
    written.describe(rows=ROWS, search={"model.rate": "choice(1, 2.5)"})
    for validation, rate in ((0.7, 1), (0.8, 2.5)):
        fields: dict[str, Any] = {"model.rate": rate}
        written.ended(0, validation=validation, **fields)
    written.ended(1, validation=0.6)
    for seed, code in enumerate("aab"):
        result = {"own_digest": code * 64}
        written.ended(0, "final", 0.5, 0.5, result, seed=100 + seed, **fields)
        written.ended(1, "final", 0.4, 0.4, seed=100 + seed)
    return written


def test_a_trial_has_its_options_as_columns(own: "Written") -> None:
    frame = load(own.folder.path)
    search = frame[frame["role"] == "search"]
    assert list(search["model.width"]) == [2, 2, None]
    assert list(search["model.rate"]) == [1, 2.5, None]
    assert "options" not in frame
    description = own.folder.require_description()
    assert hyperparameters(frame, description) == ["model", "model.rate"]
    known = {one["name"]: one for one in columns(frame, description, {})}
    assert known["model.rate"]["kind"] == "category"  # the row without it has none
    assert set(known["model.rate"]["levels"]) == {"1", "2.5", "none"}


def test_a_table_groups_and_chooses_by_options(
    own: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(own.folder.path)
    assert main([path]) == 0
    printed = capsys.readouterr().out
    assert "model.width" in printed
    assert (
        "1 final run left out: of other data, initial weights or code than the winner's." in printed
    )
    csv = own.folder.table_path("csv").path.read_text().splitlines()
    assert csv[0].startswith("row,model,model.width,")
    assert "nets:Net,2," in csv[1]
    assert "cnn,none," in csv[2]
    assert main([path, "--rows", "model.width", "--where", "model.width=2"]) == 0
    chosen = capsys.readouterr().out
    assert "cnn" not in chosen
    assert main([path, "--rows", "model", "--show", "model.rate"]) == 0
    assert "2.5" in capsys.readouterr().out
    assert main([path, "--rows", "modle.width"]) == 2
    assert "unknown field 'modle.width'" in capsys.readouterr().err


def test_runs_of_no_sweep_are_rows_by_their_options(own: "Written") -> None:
    (own.folder.path / "sweep.json").unlink()
    sweeps = read_sweeps([own.folder.path])
    assert {"model", "model.width", "model.rate"} <= set(sweeps.compared)
    assert {config.options.get("model.rate") for config in sweeps.only.row_configs} == {
        *(None, 1, 2.5)
    }
