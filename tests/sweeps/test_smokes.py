"""The smokes of the sweep files, one after another on the same warm workers.

The largest models of every sweep are built as shapes. Six sweeps train, which have nearly all that
the others have between them; make chaos trains the others too. The commands themselves are tested
in test_sweeps.py.
"""

import csv
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fieldtrial.control import cli
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.report.build import write_report
from fieldtrial.results.table import command as table
from fieldtrial.sweep import Sweep
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.loop.attempt import Attempt
from tests.job_commands import complaints

SWEEPS = Path(__file__).parents[2] / "sweeps"
# Of the others, final runs would repeat what these show, on models that take long.
FINAL_RUNS = ("cifar10_tiny.py", "digits_transfer.py", "mnist_dropout.py", "stl10_svm.py")
# Source models, architectures searched, losses, dropout, support vector machines, detection.
TRAINED = (
    *FINAL_RUNS[1:], "inat_bayes.py", "tinyimagenet_losses.py", "vehicles_finetune.py",
)  # fmt: skip
ROOM = 8 * 2**30  # bytes: more than the weights of any smoke take
FILES = sorted(path.name for path in SWEEPS.glob("*.py"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for gigabytes of weights: in memory, where there is room."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def place() -> Iterator[LocalPlace]:
    """Return a place whose workers keep torch loaded from one sweep to the next."""
    made = LocalPlace(LocalSettings())
    yield made
    made.close()


def smoke_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Return the sweep that a file gives to the command line when it is run, made tiny."""
    given: list[Callable[[], Sweep]] = []
    monkeypatch.setattr(cli, "main", given.append)
    runpy.run_path(str(SWEEPS / name), run_name="__main__")
    (build,) = given
    return smoke(build())


def problems(sweep: Sweep, run: Run) -> list[str]:
    """Return what the check before the start finds in the largest models that the search allows."""
    largest = {replace(row.largest, weights="random", freeze="none") for row in sweep.planned}
    answers = [check(Attempt(run, config), shapes_only=True) for config in largest]
    return [problem for answer in answers for problem in answer["problems"]]


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_smoke_can_be_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(smoke_of(name, monkeypatch), Run(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in TRAINED else pytest.mark.chaos) for name in FILES],
)
def test_a_smoke_run_trains_every_row(
    place: LocalPlace,
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    sweep = replace(smoke_of(name, monkeypatch), seeds=int(name in FINAL_RUNS))
    made = SweepFolder(folder / f"{Path(name).stem}-smoke")
    claim_folder(sweep, made).write()
    engine = Engine(sweep, made, place)
    engine.run()
    assert all(row.winner() for row in engine.rows)
    assert table.main([str(made.path)]) == 0
    write_report(made)
    assert made.report_path.exists()
    assert complaints(capfd.readouterr().err) == ""

    with Path(made.table_path("csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(sweep.rows)
    for row in rows:
        assert 0 <= float(row[sweep.select]) <= 1
        if sweep.seeds:
            assert 0 < float(row["test_accuracy_mean"]) <= 1
        expected = ("1", "") if sweep.seeds else ("0", "no final runs asked for")
        assert (row["n"], row["note"]) == expected
    trials = [made.run(one["trial"]) for one in made.trials()]
    assert {run.config().dataset for run in trials} <= {"digits", "shapes"}
    assert all(run.config().epochs == 1 for run in trials)
    assert all(run.weights_path.exists() or run.config().classifier == "svm" for run in trials)
