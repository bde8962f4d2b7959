"""jobs/report.py, as a command."""

from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.job_commands import Job


def test_writes_the_report_from_the_files_alone(command: Job, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs" / "tiny")
    folder.write_description(
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
    outcome = command("report.py", folder.path)
    assert (outcome.returncode, outcome.stdout) == (0, f"{folder.path}/report.html\n"), (
        outcome.stderr
    )
    assert folder.report_path.stat().st_size < 6_000_000


def test_a_folder_that_is_no_sweep(job: Job, tmp_path: Path) -> None:
    outcome = job("report.py", tmp_path / "nothing")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert "nothing/sweep.json: no such file" in outcome.stderr
