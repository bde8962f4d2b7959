"""The folder of a data set: there already, out of an archive that was given, or downloaded; whole
or not there.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from fieldtrial.training.data.fetch.download import DownloadError, download
from fieldtrial.training.data.fetch.unpack import ArchiveError, unpack
from fieldtrial.training.data.source import problem

DOWNLOADS = (  # under the data root: what is on its way, and archives until they are unpacked
    ".downloads"
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where the files of a data set come from.

    folder: where they are under the data root.
    inside: the folder of the archive that holds them; empty: they stand at its top.
    names: what the archive is called, under the data root; the first that is there is taken.
    url, digest: of the first of `names`, as far as it can be had without an account (see
    `downloads`).
    wanted: which of the archive's files are unpacked.
    nested: an archive inside the archive, that is unpacked too.
    hint: how the archive is to be had by hand.
    """

    dataset: str
    folder: str
    inside: str = ""
    names: tuple[str, ...]
    url: str | None = None
    digest: str | None = None
    wanted: Callable[[str], bool] = lambda _name: True
    nested: str | None = None
    hint: str = ""

    def is_there(self, root: Path) -> bool:
        """Return whether the files, or an archive of them, are under `root`."""
        return (root / self.folder).is_dir() or self._given(root) is not None

    def obtain(self, root: Path) -> Path:
        """Return the folder with the files; unpack or download them now if need be, once for all
        processes.

        They are unpacked aside and renamed into place. An archive that was given stays, a
        downloaded one goes.

        Raises:
            ConfigError: there is no archive and it cannot be downloaded, or it is damaged; no room,
            no right to write.
        """
        folder = root / self.folder
        if folder.is_dir():
            return folder
        if self._given(root) is None and self.url is None:
            raise problem(self.dataset, f"is not in {root}. {self._advice(root)}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.dataset}.lock"):
                if not folder.is_dir():
                    self._make(root, folder)
        except DownloadError as error:
            raise problem(
                self.dataset, f"the download failed: {error}. {self._advice(root)}"
            ) from None
        except ArchiveError as error:
            raise problem(self.dataset, str(error)) from None
        except OSError as error:
            text = f"{error.strerror}: {error.filename or root}"
            raise problem(self.dataset, f"cannot be unpacked in {root} ({text})") from None
        return folder

    def _given(self, root: Path) -> Path | None:
        return next((root / name for name in self.names if (root / name).is_file()), None)

    def _make(self, root: Path, folder: Path) -> None:
        """Unpack the archive into `folder`; the caller holds the lock."""
        aside = root / f".{self.dataset}.unpacking"
        shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
        given, downloaded = self._given(root), root / DOWNLOADS / self.names[0]
        if given is None and self.url:
            download([self.url], downloaded, self.digest)
        files, inner = aside / "files", aside / "inner"
        try:
            files.mkdir(parents=True)
            unpack(given or downloaded, files, self.wanted)
            if self.nested and (files / self.nested).is_file():
                (files / self.nested).rename(inner)
                unpack(inner, files, self.wanted)
            if not (files / self.inside).is_dir():
                raise ArchiveError(f"{given or downloaded} holds no folder {self.inside}/")
            (files / self.inside).rename(folder)
        except ArchiveError:
            downloaded.unlink(missing_ok=True)  # or it would stand in the way of a better one
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        downloaded.unlink(missing_ok=True)

    def _advice(self, root: Path) -> str:
        """Return what a user can do who has the archive, or can get it."""
        where = f"Get it from {self.url}" if self.url else self.hint
        return (
            f"{where}, and put {' or '.join(self.names)}, as it is, or the folder {self.folder}/"
            f" with its files, into {root}; --data-root or the environment variable FIELDTRIAL_DATA"
            " name another folder"
        )
