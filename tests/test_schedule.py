"""Tests of one SLURM cluster share a process, and the longest groups begin."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.schedule import CLUSTERS, group_of, pytest_collection_modifyitems


def test_all_tests_of_a_cluster_are_in_its_group(request: pytest.FixtureRequest) -> None:
    users = [
        item.nodeid
        for item in request.session.items
        if "slurm" in getattr(item, "fixturenames", ())
    ]
    assert [nodeid for nodeid in users if group_of(nodeid) not in CLUSTERS] == []


def test_other_groups_are_files() -> None:
    assert group_of("tests/test_git.py::test_one[a::b]") == "tests/test_git.py"
    assert group_of("tests/cluster_of.py::test_one") == "tests/cluster_of.py"
    assert group_of("tests/fuzz/test_a.py::test_b[c]") == "tests/fuzz/test_a.py::test_b[c]"


def test_the_groups_with_the_most_slow_tests_begin() -> None:
    def item(nodeid: str, slow: bool) -> Any:
        return SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda _: slow)

    items = [
        item("a.py::test", False),
        item("b.py::test", True),
        item("c.py::one", True),
        item("c.py::two", False),
        item("c.py::three", True),
        item(f"{CLUSTERS[0]}/d.py::test", False),
    ]
    pytest_collection_modifyitems(items)
    files = [item.nodeid.partition("::")[0] for item in items]
    assert files == [f"{CLUSTERS[0]}/d.py", "c.py", "c.py", "c.py", "b.py", "a.py"]
