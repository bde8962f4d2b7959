"""What every test gets: its own folders for data, stores and the key of states; no test reads or
fills the user's.
"""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "no times", deadline=None
)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("no times")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file, so that two processes are done at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_sweeps.py")


pytest_plugins = [
    "tests.slurm_cluster",
    "tests.chromium",
    "tests.unreliable",
]  # slurm, browser, unreliable


@pytest.fixture(autouse=True, scope="session")
def _machine_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point data, stores and the states' key at folders of this test run, which sub-processes
    inherit.
    """
    root: Path = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDTRIAL_DATA", str(root / "data"))
        patch.setenv("FIELDTRIAL_CACHE", str(root / "stores"))
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        yield
