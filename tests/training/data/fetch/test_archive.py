"""A data set's folder: from an archive or a web server, once and whole, also after kills."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.training.data.fetch import download as downloads
from fieldtrial.training.data.fetch.archive import Archive

PLAIN = Archive(
    dataset="toys",
    folder="toys",
    inside="top",
    names=("toys.zip", "other.zip"),
    hint="Ask a friend",
)


def write_archive(path: Path, count: int = 3) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"top/{number}.txt", str(number) * 10_000)
    return path.read_bytes()


@pytest.fixture
def served(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(downloads, "WAIT", 0.0)
    web.files["toys.zip"] = write_archive(tmp_path / "made.zip")
    digest = f"md5:{hashlib.md5(web.files['toys.zip']).hexdigest()}"
    return replace(PLAIN, url=web.url("toys.zip"), digest=digest)


def names(root: Path) -> set[str]:
    """Return what is in `root`, without what is hidden: locks."""
    return {path.name for path in root.iterdir() if not path.name.startswith(".")}


def test_what_is_there_is_taken_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    before = list(tmp_path.iterdir())
    assert PLAIN.obtain(tmp_path) == tmp_path / "toys"
    assert list(tmp_path.iterdir()) == before


def test_an_archive_that_was_given_is_unpacked_and_stays(tmp_path: Path) -> None:
    write_archive(tmp_path / "other.zip")
    assert {path.name for path in PLAIN.obtain(tmp_path).iterdir()} == {"0.txt", "1.txt", "2.txt"}
    assert names(tmp_path) == {"toys", "other.zip"}


def test_a_download_is_unpacked_and_goes(served: Archive, web: Any, tmp_path: Path) -> None:
    root = tmp_path / "new"
    for _ in range(2):
        assert (served.obtain(root) / "2.txt").read_text() == "2" * 10_000
    assert web.requests == [None]
    assert names(root) == {"toys"}
    assert list((root / ".downloads").iterdir()) == []


def test_neither_folder_nor_archive_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset = 'toys': is not in ") as error:
        PLAIN.obtain(tmp_path)
    for part in (
        str(tmp_path),
        "Ask a friend",
        "toys.zip or other.zip",
        "toys/",
        "--data-root",
        "FIELDTRIAL_DATA",
    ):
        assert part in str(error.value)


def test_no_network_says_what_to_get_by_hand(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/toys.zip"
    with pytest.raises(
        ConfigError,
        match=rf"the download failed: {url}: .*refused\. Get it from {url}, and put toys.zip",
    ):
        replace(PLAIN, url=url).obtain(tmp_path)
    assert names(tmp_path) == set()


def test_a_damaged_archive_leaves_nothing_half_made(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "toys.zip")
    (tmp_path / "toys.zip").write_bytes(whole.replace(b"2222", b"2223", 1))
    with pytest.raises(
        ConfigError,
        match=r"dataset = 'toys': .*toys.zip is damaged.*Bad CRC-32 for file 'top/2.txt'",
    ):
        PLAIN.obtain(tmp_path)
    assert names(tmp_path) == {"toys.zip"}
    (tmp_path / "toys.zip").write_bytes(whole)
    assert len(list(PLAIN.obtain(tmp_path).iterdir())) == 3


def test_a_damaged_download_is_fetched_anew(served: Archive, web: Any, tmp_path: Path) -> None:
    whole = web.files["toys.zip"]
    web.files["toys.zip"] = whole.replace(b"2222", b"2223", 1)
    for _ in range(2):
        with pytest.raises(ConfigError, match="is damaged"):
            replace(served, digest=None).obtain(tmp_path / "new")
    assert web.requests == [None, None]
    web.files["toys.zip"] = whole
    assert len(list(served.obtain(tmp_path / "new").iterdir())) == 3


def test_an_archive_with_another_folder_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "toys.zip")
    with pytest.raises(ConfigError, match=r"toys\.zip holds no folder bottom/"):
        replace(PLAIN, inside="bottom").obtain(tmp_path)
    assert names(tmp_path) == {"toys.zip"}


def test_an_archive_in_the_archive_is_unpacked_too(tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "toys.zip", "w") as archive:
        archive.writestr("inner.zip", inner)
    folder = replace(PLAIN, inside="", nested="inner.zip").obtain(tmp_path)
    assert [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))] == [
        "top",
        *(f"top/{i}.txt" for i in (0, 1, 2)),
    ]


CHILD = """
import pathlib, sys
from fieldtrial.training.data.fetch.archive import Archive
archive = Archive(dataset="toys", folder="toys", inside="top", names=("toys.zip",), url=sys.argv[2])
print(len(list(archive.obtain(pathlib.Path(sys.argv[1])).iterdir())))
"""


def child(root: Path, url: str, *limit: str) -> "subprocess.Popen[str]":
    command = [*limit, sys.executable, "-c", CHILD, str(root), url]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_processes_that_want_it_together_fetch_it_once(
    served: Archive, web: Any, tmp_path: Path
) -> None:
    web.pause = 0.2
    processes = [child(tmp_path / "new", str(served.url)) for _ in range(3)]
    assert [process.communicate(timeout=300)[0] for process in processes] == ["3\n"] * 3
    assert web.requests == [None]


def test_a_process_killed_while_it_unpacks_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    roots = (tmp_path / str(number) for number in range(9))
    root = next(root for root in roots if kill_an_unpacker(root))
    assert names(root) == {"toys.zip"}
    assert list(root.glob(".toys.unpacking*"))
    assert len(list(PLAIN.obtain(root).iterdir())) == 5000
    assert not list(root.glob(".toys.unpacking*"))


def kill_an_unpacker(root: Path) -> bool:
    """Kill a process that unpacks 5000 files into `root`; return False if it ended before."""
    root.mkdir()
    write_archive(root / "toys.zip", count=5000)
    process = child(root, "http://127.0.0.1:9/")
    while not list(root.glob(".toys.unpacking*/files/top/*")) and process.poll() is None:
        pass
    process.kill()
    process.communicate()
    return not (root / "toys").exists()


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path) -> None:
    write_archive(tmp_path / "toys.zip")
    process = child(tmp_path, "http://127.0.0.1:9/", "prlimit", "--fsize=5000")
    _, errors = process.communicate(timeout=300)
    assert re.search(
        r"ConfigError: dataset = 'toys': cannot be unpacked in .* \(File too large: ", errors
    )
    assert names(tmp_path) == {"toys.zip"}
    assert not (tmp_path / ".toys.unpacking").exists()


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/sys").is_dir(),
    reason="needs a folder that is not writable",
)
def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"dataset = 'toys': cannot be unpacked in /proc/toys \(No such file"
    ):
        replace(PLAIN, url="http://127.0.0.1:9/").obtain(Path("/proc/toys"))
