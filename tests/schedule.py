"""A plugin of pytest: which tests share a process under pytest-xdist, and which begin."""

import pytest
from xdist.scheduler import LoadScopeScheduling

# The tests on the session's SLURM cluster. They mostly wait, while other processes compute.
SLURM = ("tests/cluster/", "tests/control/places/slurm/")
# The longest groups begin, so that all processes end at about the same time.
FIRST = ("slurm", "tests/sweeps/test_sweeps.py")


def group_of(nodeid: str) -> str:
    """Return "slurm" for a test that uses the cluster, and the test's file for others."""
    return "slurm" if nodeid.startswith(SLURM) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out whole groups, in the order of collection."""
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first."""

    def place(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        return FIRST.index(group) if group in FIRST else len(FIRST)

    items.sort(key=place)
