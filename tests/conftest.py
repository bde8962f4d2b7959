"""What every test gets: its own data and store folders, so that no test reads or fills the user's."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _machine_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point FIELDTRIAL_DATA and FIELDTRIAL_CACHE at folders of this test run; sub-processes inherit them."""
    root: Path = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDTRIAL_DATA", str(root / "data"))
        patch.setenv("FIELDTRIAL_CACHE", str(root / "stores"))
        yield
