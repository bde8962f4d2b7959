"""What every test gets: folders of its own for data, caches and keys, never the user's."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from fieldtrial.own.project import PROJECT

# How long an example takes depends on the machine.
hypothesis.settings.register_profile("no times", deadline=None, max_examples=50)
hypothesis.settings.load_profile("no times")

pytest_plugins = [
    "tests.schedule",
    "tests.job_commands",  # command, job
    "tests.slurm_cluster",  # the fixture slurm
    "tests.chromium",  # browser
    "tests.unreliable",  # unreliable
    "tests.wheel",  # wheel, installed
]


@pytest.fixture(autouse=True)
def _no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back the project that a command in this process has entered."""
    monkeypatch.setenv(PROJECT, "[]")


@pytest.fixture(autouse=True, scope="session")
def _machine_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set the variables that name the folders; processes that tests start inherit them."""
    root: Path = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDTRIAL_DATA", str(root / "data"))
        patch.setenv("FIELDTRIAL_CACHE", str(root / "stores"))
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        # On a machine that is busy with other tests all takes long.
        patch.setattr("fieldtrial.command_line.LONG_SECONDS", 3600.0)
        yield
