"""A plugin of pytest: which tests share a process under pytest-xdist, and which begin."""

from collections import Counter

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders whose tests share a SLURM cluster, and so a process. The first takes longest, mostly in
# waiting for SLURM, so other processes can use the cores meanwhile.
CLUSTERS = ("tests/control/places/slurm", "tests/cluster")


def group_of(nodeid: str) -> str:
    """Return the folder of CLUSTERS that a test is in, and for other tests the file.

    Tests of make fuzz take a minute each: each is a group.
    """
    file = nodeid.partition("::")[0]
    if file.startswith("tests/fuzz/"):
        return nodeid
    return next((folder for folder in CLUSTERS if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(optionalhook=True)  # there without pytest-xdist, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out whole groups, in the order of collection."""
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: CLUSTERS[0], then the groups with the most slow tests."""
    slow = Counter(group_of(item.nodeid) for item in items if item.get_closest_marker("slow"))

    def order(item: pytest.Item) -> tuple[bool, int]:
        group = group_of(item.nodeid)
        return group != CLUSTERS[0], -slow[group]

    items.sort(key=order)
