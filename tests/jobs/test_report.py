"""jobs/report.py, as a command."""

import subprocess
import sys
from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder

JOB = Path(__file__).parents[2] / "jobs" / "report.py"


def report(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(JOB), *arguments], capture_output=True, text=True, check=False
    )


def test_writes_the_report_from_the_files_alone(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs" / "tiny")
    folder.describe(
        SweepDescription(
            name="tiny",
            base=TrainConfig(),
            rows=({"model": "mlp"},),
            search={},
            trials=1,
            seeds=1,
            select="validation_accuracy",
        )
    )
    config = TrainConfig(model="mlp")
    folder.list_trial(config.id, 0, "search")
    Run.create(folder.path / config.id, config).write_result(
        {"outcome": "finished", "validation_accuracy": 0.8}
    )
    outcome = report(str(folder.path))
    assert (outcome.returncode, outcome.stdout) == (0, f"{folder.path}/report.html\n"), (
        outcome.stderr
    )
    assert folder.report_path.stat().st_size < 6_000_000


def test_a_folder_that_is_no_sweep(tmp_path: Path) -> None:
    outcome = report(str(tmp_path / "nothing"))
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert "nothing/sweep.json: no such file" in outcome.stderr
