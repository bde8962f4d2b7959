"""Commands that open a run whose config names code of somebody's own."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.own.project import TRUSTED
from tests.job_commands import Job
from tests.own.projects import RAN, make_project

OPENS = {
    "evaluate.py": ["--run", "theirs"],
    "explain.py": ["--run", "theirs"],
    "features.py": ["--sweep", "machines", "--from", "theirs"],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a part, which is the current folder, and a stranger's run that names it."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv(TRUSTED, "")
    config = TrainConfig.from_dict({"model": "nets:Net", "model.width": 2})
    run = Run.create(folder / "theirs", config)
    run.write_result({"outcome": "finished", "validation_accuracy": 0.5, "test_accuracy": 0.5})
    return folder


@pytest.mark.parametrize("name", OPENS)
def test_they_refuse_it_in_a_line_that_names_it(job: Job, project: Path, name: str) -> None:
    done = job(name, *OPENS[name])
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {project / 'theirs'}: its config names code of somebody's own (model = nets:Net);"
        " --trust runs it, with all that you may do\n"
    ).replace(f"{project}/", "")
    assert not (project / RAN).exists()
    assert not (project / "machines").exists()


def test_a_table_and_what_shows_a_folder_run_nothing(job: Job, project: Path) -> None:
    done = job("table.py", "theirs", "--rows", "model")
    assert done.returncode == 0, done.stderr
    assert "nets:Net" in done.stdout
    assert not (project / RAN).exists()
