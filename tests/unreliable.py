"""A plugin of pytest: a folder on a FUSE file system, which goes away when its server is killed."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need, need_root


class UnreliableFolder:
    """`path` is there while its server runs; without the server every access fails (ENOTCONN)."""

    def __init__(self, folder: Path) -> None:
        self.path, self._behind = folder / "there", folder / "behind"
        self.path.mkdir()
        self._behind.mkdir()
        self._server: subprocess.Popen[bytes] | None = None
        self.come_back()

    def go_away(self) -> None:
        """Kill the server: open files are lost, and new ones cannot be opened."""
        assert self._server
        self._server.kill()
        self._server.wait()

    def come_back(self) -> None:
        """Start the server, which finds all files as they were."""
        if self._server:
            self._unmount()
        self._server = subprocess.Popen(["bindfs", "-f", str(self._behind), str(self.path)])
        deadline = time.monotonic() + 20
        while not os.path.ismount(self.path):
            assert time.monotonic() < deadline
            assert self._server.poll() is None, "bindfs has ended"
            time.sleep(0.01)

    def end(self) -> None:
        """Leave nothing mounted."""
        self.go_away()
        self._unmount()

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def unreliable(tmp_path: Path) -> Iterator[UnreliableFolder]:
    """Return an empty folder that can go away."""
    need_fuse()
    folder = tmp_path / "unreliable"
    folder.mkdir()
    made = UnreliableFolder(folder)
    yield made
    made.end()


def need_fuse() -> None:
    """Skip the test where no file system can be mounted."""
    need_root("mounts a file system")
    need(Path("/dev/fuse").exists(), "FUSE: /dev/fuse")
    need(
        shutil.which("bindfs"),
        "bindfs: as root, make test installs it; else apt-get install bindfs",
    )
