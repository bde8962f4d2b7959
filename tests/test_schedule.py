"""The tests of one SLURM cluster share a process, and what takes longest begins."""

from pathlib import Path

import pytest

from tests.schedule import FIRST, group_of

ROOT = Path(__file__).parents[1]


def test_all_tests_of_the_cluster_are_in_its_group(request: pytest.FixtureRequest) -> None:
    users = [item.nodeid for item in request.session.items if "slurm" in item.fixturenames]
    assert [nodeid for nodeid in users if group_of(nodeid) != "slurm"] == []


def test_other_groups_are_files() -> None:
    assert group_of("tests/test_git.py::test_one[a::b]") == "tests/test_git.py"
    assert [group for group in FIRST if group != "slurm" and not (ROOT / group).is_file()] == []
