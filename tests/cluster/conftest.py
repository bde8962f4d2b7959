"""A project on a real SLURM, for the tests of sweeps and of the files in slurm/."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the files in slurm/ expect around them, and a sweep of its own."""
    for name in ("slurm", "jobs", "cluster"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("devslurm"))
    (tmp_path / "sweeps").mkdir()
    return tmp_path
