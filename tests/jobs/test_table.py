"""jobs/table.py, as a command."""

from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.job_commands import Job


def test_rebuilds_the_table_from_the_files_alone(command: Job, tmp_path: Path) -> None:
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
    for role, seed, validation, test in (
        ("search", 0, 0.8, {}),
        ("final", 1, 0.7, {"test_accuracy": 0.6}),
    ):
        config = TrainConfig(model="mlp", seed=seed)
        folder.list_trial(config.id, 0, role)
        run = Run.create(folder.path / config.id, config)
        run.write_result(
            {"outcome": "finished", "validation_accuracy": validation, "minutes": 1.0, **test}
        )
    outcome = command("table.py", folder.path)
    assert outcome.returncode == 0, outcome.stderr
    assert "60.00 (n=1)" in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == f"tensorboard --logdir {folder.path}"
    assert "| mlp" in (folder.path / "table.md").read_text()
    assert "80.0" in (folder.path / "table.md").read_text()
    assert (
        (folder.path / "table.csv")
        .read_text()
        .startswith("row,model,validation_accuracy,test_accuracy_mean,")
    )


def test_a_folder_that_is_no_sweep(job: Job, tmp_path: Path) -> None:
    outcome = job("table.py", tmp_path / "nothing")
    assert outcome.returncode == 2
    assert "nothing/sweep.json: no such file" in outcome.stderr
    assert "Traceback" not in outcome.stderr
