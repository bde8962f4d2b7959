"""A command that is refused changes nothing, whatever refuses it."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.control.driver import drive as driver
from fieldtrial.control.running.ownership import Ownership, only_driver
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.driver.test_changed_sweeps import contents
from tests.control.driver.test_drive import SIGNALS, Checked, IdlePlace

SWEEP = Sweep(
    base=TrainConfig(epochs=1),
    rows=[{"optimizer": "sgd"}],
    search={"lr": tune.uniform(0.01, 0.1)},
)


class Refusing:
    """Stands in for a check of the rows that finds a problem; it takes seconds."""

    def result(self) -> None:
        raise ConfigError(["planted"], "sweep")


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cluster").mkdir()
    for name, cores in (("local", 1), ("bad", 4096)):
        text = f'kind = "local"\ncpus_per_trial = {cores}\n'
        (tmp_path / "cluster" / f"{name}.toml").write_text(text)
    (tmp_path / "cluster" / "site.toml").write_text('kind = "slurm"\n')
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sweeps" / "small.py")])
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(project: Path) -> None:
    """Leave a folder of the sweep, with a trial."""
    folder = SweepFolder(project / "runs" / "small")
    folder.write_description(SWEEP.describe("small"))
    folder.list_trial("3fa91b2c", 0, "search")
    folder.lock_path.touch()


@pytest.mark.parametrize("is_begun", [True, False])
@pytest.mark.parametrize("why", ["place", "rows", "rows on a site", "state"])
def test_the_folder_stays_as_it_was(
    why: str, is_begun: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--seeds", "0", "--trials", "50"]
    if is_begun:
        begin(project)
    if why == "place":
        flags += ["--cluster", "bad"]
    elif why == "state":
        monkeypatch.setattr(driver, "open_place", lambda *_: IdlePlace())
        if is_begun:
            (project / "runs" / "small" / "engine.state").write_bytes(b"a stranger's")
        else:
            monkeypatch.setattr(driver, "claim_folder", _refuse)
    else:
        monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Refusing()))
        flags += ["--cluster", "site"] if why == "rows on a site" else []
        if why == "rows":
            monkeypatch.setattr(driver, "open_place", lambda *_: IdlePlace())
    before = contents(project)
    with pytest.raises(SystemExit) as caught:
        main(lambda: SWEEP, flags)
    assert caught.value.code == (1 if why == "state" and is_begun else 2)
    assert contents(project) == before


def _refuse(*_: object) -> None:
    raise ConfigError(["planted"], "sweep")


def test_another_sweep_does_not_end_the_driver_that_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(project)
    monkeypatch.setattr(Ownership, "take", lambda _: pytest.fail("the driver was to be ended"))
    with pytest.raises(SystemExit) as caught:
        main(lambda: SWEEP, ["--takeover", "--set", "epochs=3"])
    assert caught.value.code == 2


@pytest.mark.parametrize("why", ["rows", "state"])
def test_what_cannot_run_does_not_end_the_driver_that_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    begin(project)
    if why == "rows":
        monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Refusing()))
    else:
        Path(SweepFolder(project / "runs" / "small").state_path).write_bytes(b"another's")
    monkeypatch.setattr(Ownership, "take", lambda _: pytest.fail("the driver was to be ended"))
    with pytest.raises(SystemExit) as caught:
        main(lambda: SWEEP, ["--takeover"])
    assert caught.value.code in (1, 2)


def test_too_many_rows_are_refused_by_a_dry_run_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"weight_decay": number / 1e4} for number in range(1001)]

    def build() -> Sweep:
        return Sweep(base=TrainConfig(), rows=rows)

    with pytest.raises(SystemExit) as caught:
        main(build, ["--dry-run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "sweep: rows: 1,001; there must be at most 1,000\n"
    with pytest.raises(ConfigError, match="rows: 1,001"):  # the first row again is one more
        Sweep(base=TrainConfig(), rows=rows[1:], aa=True)
    assert os.listdir(project) == ["cluster"]  # noqa: PTH208 (names)


def test_a_folder_that_others_have_filled_meanwhile_stays(tmp_path: Path) -> None:
    with only_driver(SweepFolder(tmp_path / "runs" / "x")):
        (tmp_path / "runs" / "y").mkdir()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["y"]
    with only_driver(SweepFolder(tmp_path / "runs" / "x")):
        (tmp_path / "runs" / "x" / "sweep.json").touch()
    assert sorted(path.name for path in (tmp_path / "runs" / "x").iterdir()) == [
        "driver.lock",
        "sweep.json",
    ]
