"""Downloads from a local web server that breaks off, lies, or does not support ranges."""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.training.data.fetch import download as downloads
from fieldtrial.training.data.fetch.download import DownloadError, download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
CLOSED = "http://127.0.0.1:9/file"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAIT", 0.0)


@pytest.fixture
def server(web: Any) -> Any:
    web.files["file"] = CONTENT
    return web


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("digest", [MD5, SHA256, None])
def test_a_file_comes_whole_and_once(server: Any, tmp_path: Path, digest: str | None) -> None:
    path = tmp_path / "new" / "file"
    for _ in range(2):
        download([server.url("file")], path, digest)
        assert path.read_bytes() == CONTENT
    assert (files(path.parent), server.requests) == ({"file"}, [None])


def test_a_broken_connection_is_gone_on_with_where_it_broke(server: Any, tmp_path: Path) -> None:
    server.breaks, server.piece = 3, 800_000
    download([server.url("file")], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=800000-", "bytes=1600000-", "bytes=2400000-"]


def test_a_server_without_ranges_starts_again(server: Any, tmp_path: Path) -> None:
    server.breaks, server.piece, server.ranges = 2, 1_000_000, False
    download([server.url("file")], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_one_that_always_breaks_off_is_given_up_and_what_came_is_kept(
    server: Any, tmp_path: Path
) -> None:
    server.breaks, server.piece, server.ranges = 100, 1_000_000, False
    with pytest.raises(
        DownloadError, match=r"/file: the connection broke off after 1,000,000 of 3,000,000 bytes"
    ):
        download([server.url("file")], tmp_path / "file", MD5)
    assert len(server.requests) == 1 + downloads.TRIES
    assert files(tmp_path) == {"file.part", "file.part.json"}
    server.breaks, server.ranges = 0, True
    download([server.url("file")], tmp_path / "file", MD5)
    assert server.requests[-1] == "bytes=1000000-"
    assert ((tmp_path / "file").read_bytes(), files(tmp_path)) == (CONTENT, {"file"})


def test_pieces_of_two_versions_are_not_put_together(server: Any, tmp_path: Path) -> None:
    server.files["file"], server.version, server.breaks, server.piece = (
        CONTENT[::-1],
        '"v0"',
        1,
        1_000_000,
    )
    with pytest.raises(DownloadError):
        one_connection(server.url("file"), tmp_path / "file")
    server.files["file"], server.version = CONTENT, '"v1"'
    download([server.url("file")], tmp_path / "file", None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def one_connection(url: str, path: Path) -> None:
    """Take what one connection brings, as a process would that is killed then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "TRIES", 0)
        download([url], path, None)


def test_a_damaged_piece_is_fetched_again_from_the_start(server: Any, tmp_path: Path) -> None:
    server.breaks, server.piece = 1, 1_000_000
    with pytest.raises(DownloadError):
        one_connection(server.url("file"), tmp_path / "file")
    part = tmp_path / "file.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    download([server.url("file")], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-", None]


def test_a_part_that_was_whole_is_only_checked(server: Any, tmp_path: Path) -> None:
    server.breaks, server.piece = 1, 1_000_000
    with pytest.raises(DownloadError):
        one_connection(server.url("file"), tmp_path / "file")
    (tmp_path / "file.part").write_bytes(CONTENT)
    download([server.url("file")], tmp_path / "file", MD5)
    assert server.requests == [None, "bytes=3000000-"]
    (tmp_path / "file").rename(tmp_path / "file.part")
    (tmp_path / "file.part.json").write_text('{"version": "\\"v1\\""}')
    (tmp_path / "file.part").write_bytes(CONTENT + b"and more")
    download([server.url("file")], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_another_file_than_the_one_meant_is_an_error_and_goes(server: Any, tmp_path: Path) -> None:
    server.files["file"] = b"a login page"
    with pytest.raises(
        DownloadError, match=rf"/file: the downloaded file has md5:\w+, and {MD5} was expected"
    ):
        download([server.url("file")], tmp_path / "file", MD5)
    assert files(tmp_path) == set()


def test_without_a_published_digest_the_servers_own_is_checked(server: Any, tmp_path: Path) -> None:
    encoded = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    server.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={encoded}"}
    server.breaks, server.piece = 1, 1_000_000
    download([server.url("file")], tmp_path / "file", None)
    server.headers = {"x-goog-hash": f"md5={base64.b64encode(bytes(16)).decode()}"}
    with pytest.raises(DownloadError, match=f"has {MD5}, and md5:0{{32}} was expected"):
        download([server.url("file")], tmp_path / "other", None)
    server.headers = {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    with pytest.raises(DownloadError, match=r"md5:0{32} was expected"):
        download([server.url("file")], tmp_path / "other", None)


def test_a_mirror_serves_where_the_first_does_not(server: Any, tmp_path: Path) -> None:
    download([CLOSED, server.url("none"), server.url("file")], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_all_servers_are_named_where_none_serves(server: Any, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r":9/file: .*refused; .*/none: HTTP Error 404"):
        download([CLOSED, server.url("none")], tmp_path / "file", MD5)
    assert server.requests == [None]  # neither is asked again
    assert files(tmp_path) == set()


def test_a_server_that_is_busy_is_asked_again(server: Any, tmp_path: Path) -> None:
    server.refuses = downloads.TRIES - 1
    download([server.url("file")], tmp_path / "file", MD5)
    assert len(server.requests) == downloads.TRIES
    server.refuses = 100
    with pytest.raises(DownloadError, match="HTTP Error 503"):
        download([server.url("file")], tmp_path / "other", MD5)


def test_a_file_larger_than_the_disk_is_not_begun(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(DownloadError, match=rf"3 MB are missing, and {tmp_path} has room for 1 MB"):
        download([server.url("file")], tmp_path / "file", MD5)


CHILD = """
import sys, pathlib
from fieldtrial.training.data.fetch.download import download
download([sys.argv[1]], pathlib.Path(sys.argv[2]), None)
"""


def child(url: str, path: Path, *limit: str) -> "subprocess.Popen[str]":
    command = [*limit, sys.executable, "-c", CHILD, url, str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_a_full_disk_is_an_error_and_what_came_is_gone_on_with(server: Any, tmp_path: Path) -> None:
    process = child(server.url("file"), tmp_path / "file", "prlimit", "--fsize=1000000")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "DownloadError" in errors
    assert "the unfinished download is kept" in errors.splitlines()[-1]
    kept = (tmp_path / "file.part").stat().st_size
    assert 0 < kept <= 1_000_000
    download([server.url("file")], tmp_path / "file", MD5)
    assert server.requests == [None, f"bytes={kept}-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_killed_process_is_gone_on_after(server: Any, tmp_path: Path) -> None:
    server.files["file"] = CONTENT * 20
    server.pause = 0.02
    process = child(server.url("file"), tmp_path / "file")
    while (
        not (tmp_path / "file.part").exists() or (tmp_path / "file.part").stat().st_size < 500_000
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    kept = (tmp_path / "file.part").stat().st_size
    assert kept < 60_000_000
    server.pause = 0.0
    download(
        [server.url("file")], tmp_path / "file", f"md5:{hashlib.md5(CONTENT * 20).hexdigest()}"
    )
    assert server.requests == [None, f"bytes={kept}-"]
