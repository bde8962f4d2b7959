"""A sweep whose runs are in shards gives the table, records and report of one without."""

import json
from pathlib import Path

import pytest

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.work.shards import MOST_BESIDE
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.trials import load
from fieldtrial.results.report.build import render_report
from fieldtrial.results.table.render import render_markdown
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep
from tests.results.cells import own_table
from tests.results.report.test_build import data


@pytest.fixture
def pair(tmp_path: Path) -> tuple[SweepFolder, SweepFolder]:
    """The same sweep, once in shards."""
    folders = SweepFolder(tmp_path / "flat" / "x"), SweepFolder(tmp_path / "sharded" / "x")
    folders[1].make_room(MOST_BESIDE + 1)
    for folder in folders:
        scripts = [Script(quality=quality) for quality in range(len(RATES))]
        place = VirtualPlace(folder, scripts, slots=1, is_cluster=True, kills=[40])
        run_sweep(make_sweep(trials=6, seeds=2, epochs=3, source={"lr": RATES[-1]}), place)
    return folders


def test_tables_and_records_are_the_same(pair: tuple[SweepFolder, SweepFolder]) -> None:
    flat, sharded = pair
    names = {entry["trial"] for entry in flat.trials()}
    assert names == {path.name for path in sharded.path.glob("trials/??/*")}
    assert not any((sharded.path / name).exists() for name in names)
    for read in (load, load_records):
        one, other = (read(SweepFolder(folder.path)) for folder in pair)
        told = [name for name in one.columns if name not in ("time", "started", "ended")]
        assert one[told].to_csv() == other[told].to_csv()
    tables = {render_markdown(own_table(folder).grid) for folder in pair}
    assert len(tables) == 1


def test_a_run_that_nobody_listed_is_found(pair: tuple[SweepFolder, SweepFolder]) -> None:
    for folder in pair:
        entry = next(one for one in folder.trials() if one["role"] == "final")
        listed = folder.path / "trials.jsonl"
        lines = [line for line in listed.read_text().splitlines() if entry["trial"] not in line]
        listed.write_text("\n".join(lines))
        found = load(folder.path).set_index("trial")["role"]
        assert found[entry["trial"]] == "unlisted"


def test_the_report_links_to_the_files(pair: tuple[SweepFolder, SweepFolder]) -> None:
    flat, sharded = (data(render_report(SweepFolder(folder.path))) for folder in pair)
    assert flat["places"] is None
    trials = next(column for column in sharded["columns"] if column["name"] == "trial")
    names = [trials["levels"][value] for value in trials["values"]]
    assert sharded["places"] == [f"trials/{name[:2]}/{name}" for name in names]
    assert json.dumps(sharded["curves"]) == json.dumps(flat["curves"])
    assert all((pair[1].path / place).is_dir() for place in sharded["places"])
