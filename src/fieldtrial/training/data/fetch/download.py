"""Downloads: resumed after a broken connection, checked, and whole or not there."""

import base64
import errno
import hashlib
import http.client
import io
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import cast

from fieldtrial.disk.files import read_json, write_json
from fieldtrial.disk.inside import Inside
from fieldtrial.training.data.progress_bar import progress

CHUNK = 1 << 18  # bytes written at once
TIMEOUT = 60  # seconds without a byte after which a connection counts as broken
TRIES = 4  # connections in a row without a byte
WAIT = 1.0  # seconds before the second of them; it doubles with each further one
# errors of this machine, not of a server
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.ELOOP)

log = logging.getLogger(__name__)


class DownloadError(OSError):
    """A file that cannot be downloaded; the message says from where and why."""


def download(urls: Sequence[str], path: Path, digest: str | None) -> None:
    """Download a file to `path`, unless it exists, from the first of `urls` that has it.

    `digest` is the published one, "md5:..." or "sha256:...". Without one, the file is checked
    against the MD5 sum that the server announces, if it does. That detects a damaged transfer, but
    not a wrong file.

    The unfinished download is `path` with .part added. A later call resumes it, if the server can
    and still has the same file. The caller makes sure that no two processes download one file.

    Raises:
        DownloadError: no server has it, or its digest differs; no room, or no right to write.
    """
    reasons = []
    for url in urls:
        try:
            if not path.exists():
                log.info("downloading %s to %s", url, path)
                _Download(url, path, digest).run()
            return
        except urllib.error.URLError as error:
            reasons.append(
                f"{url}: {error.reason if not isinstance(error, urllib.error.HTTPError) else error}"
            )
        except (http.client.HTTPException, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in LOCAL:
                raise DownloadError(f"{url}: {error}; the unfinished download is kept") from None
            reasons.append(f"{url}: {error}")
    raise DownloadError("; ".join(reasons))


class _Download:
    """One file from one server. `facts` are the server's version and digest of the .part file."""

    def __init__(self, url: str, path: Path, digest: str | None) -> None:
        self.url, self.path, self.digest = url, path, digest
        folder = Inside(path.parent)  # in a shared one, a stranger's link may have these names
        self.part, self._whole = folder / f"{path.name}.part", folder / path.name
        self.facts_path = folder / f"{path.name}.part.json"

    def run(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pieces = self._fetch_all()
        problem = self._problem()
        if problem and pieces > 1:  # of two versions, or a damaged one: start once more
            self._forget()
            self._fetch_all()
            problem = self._problem()
        if problem:
            self._forget()
            raise DownloadError(problem)
        self.part.replace(self._whole)
        self.facts_path.unlink(missing_ok=True)

    def _fetch_all(self) -> int:
        """Fetch until the file is whole; return its number of pieces, an earlier call's as one."""
        pieces, failures, connected = int(self._size() > 0), 0, False
        while True:
            before = self._size()
            failure: Exception
            try:
                self._fetch()
                return pieces + 1
            except urllib.error.HTTPError as error:
                if (
                    error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                    and error.headers.get("Content-Range") == f"bytes */{before}"
                ):
                    return pieces  # it was whole already, but not yet checked
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    self._forget()
                elif error.code < http.client.INTERNAL_SERVER_ERROR:
                    raise
                failure, connected = error, True
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, OSError) and error.errno in LOCAL:
                    raise
                failure = error
            received = self._size() > before
            connected, pieces = connected or received, pieces + received
            failures = 0 if received else failures + 1
            # A server that was never reached is not waited for: there may be no network.
            if failures >= TRIES or not connected:
                raise failure
            time.sleep(0 if received else WAIT * 2 ** (failures - 1))

    def _fetch(self) -> None:
        """Append the bytes of one connection. Raises OSError if it ends too early."""
        here, facts = self._size(), read_json(self.facts_path, dict[str, str | None]) or {}
        headers = {"User-Agent": "fieldtrial", "Accept-Encoding": "identity"}
        if here and (version := facts.get("version")):
            headers |= {"Range": f"bytes={here}-", "If-Range": version}
        request = urllib.request.Request(self.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                here = 0
                self.part.unlink(missing_ok=True)
                write_json(self.facts_path, _facts(response.headers))
            elif not str(response.headers.get("Content-Range")).startswith(f"bytes {here}-"):
                raise ConnectionError(
                    f"asked for bytes {here}-, and received {response.headers.get('Content-Range')}"
                )
            length = response.headers.get("Content-Length")
            total = here + int(length) if length else None
            self._require_room(int(length or 0))
            with self.part.open("ab") as file, progress(self.path.name, here, total) as advance:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
        if total is not None and self._size() < total:
            raise ConnectionError(
                f"the connection broke off after {self._size():,} of {total:,} bytes"
            )

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if size > free:
            text = (
                f"{size / 1e6:,.0f} MB are missing, and {self.path.parent} has room for"
                f" {free / 1e6:,.0f} MB"
            )
            raise OSError(errno.ENOSPC, text)

    def _problem(self) -> str:
        """Return how the downloaded file's digest differs from the expected one; empty if equal."""
        known = read_json(self.facts_path, dict[str, str | None]) or {}
        expected = self.digest or known.get("digest")
        if not expected:
            return ""
        found = _digest_of(self.part, expected.partition(":")[0])
        differs = f"the downloaded file has {found}, and {expected} was expected"
        return "" if found == expected else differs

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.facts_path.unlink(missing_ok=True)


def _facts(headers: Message) -> dict[str, str | None]:
    """Return the server's version of the file, and the digest that it announces, or None each."""
    tag = headers.get("ETag")
    version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    announced = re.search(r"\bmd5=([\w+/]{22}==)", ",".join(headers.get_all("x-goog-hash", [])))
    encoded = announced[1] if announced else headers.get("Content-MD5")
    return {
        "version": version,
        "digest": f"md5:{base64.b64decode(encoded).hex()}" if encoded else None,
    }


def _digest_of(path: Inside, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(cast(io.BufferedReader, file), algorithm)
    return f"{algorithm}:{digest.hexdigest()}"
