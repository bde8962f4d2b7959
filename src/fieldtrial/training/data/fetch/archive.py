"""A data set's folder, whole or not there: unpacked from an archive, given or downloaded."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from fieldtrial.training.data.dataset import problem
from fieldtrial.training.data.fetch.download import DownloadError, download
from fieldtrial.training.data.fetch.unpack import ArchiveError, unpack

DOWNLOADS = ".downloads"  # under the data root: downloads, until they are unpacked


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where the files of a data set come from.

    Attributes:
        dataset: the data set's name.
        folder: the files' folder under the data root.
        inside: the folder in the archive that holds them; empty: its top.
        names: the archive's possible names under the data root; the first that exists is taken.
        url, digest: of the first of `names`, where it can be downloaded without an account.
        wanted: whether a file of the archive is unpacked, by its name.
        nested: an archive inside the archive, which is unpacked too.
        required: files in `folder` without which it is not complete.
        hint: how to get the archive by hand.
    """

    dataset: str
    folder: str
    inside: str = ""
    names: tuple[str, ...]
    url: str | None = None
    digest: str | None = None
    wanted: Callable[[str], bool] = lambda _name: True
    nested: str | None = None
    required: tuple[str, ...] = ()
    hint: str = ""

    def is_there(self, root: Path) -> bool:
        """Return whether the folder or an archive is under `root`."""
        return (root / self.folder).is_dir() or self._given(root) is not None

    def obtain(self, root: Path) -> Path:
        """Return the folder with the files, which one process downloads and unpacks if need be.

        They are unpacked aside and renamed into place. An archive that was given stays; a
        downloaded one is removed.

        Raises:
            ConfigError: there is no archive and it cannot be downloaded; it is damaged; required
                files are missing; no room, or no right to write.
        """
        folder = root / self.folder
        if not folder.is_dir():
            self._obtain(root, folder)
        missing = [str(folder / name) for name in self.required if not (folder / name).is_file()]
        if missing:
            again = f"remove {folder} to have it unpacked again"
            raise problem(self.dataset, f"no {', '.join(missing)}; {again}")
        return folder

    def _obtain(self, root: Path, folder: Path) -> None:
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

    def _given(self, root: Path) -> Path | None:
        return next((root / name for name in self.names if (root / name).is_file()), None)

    def _make(self, root: Path, folder: Path) -> None:
        """Unpack the archive into `folder`; the caller holds the lock."""
        for left in root.glob(f".{self.dataset}.unpacking*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        # A new name: a stranger in a shared folder may have put a link in the place of a known one.
        aside = Path(tempfile.mkdtemp(prefix=f".{self.dataset}.unpacking-", dir=root))
        given, downloaded = self._given(root), root / DOWNLOADS / self.names[0]
        if given is None and self.url:
            download([self.url], downloaded, self.digest)
        files, inner = aside / "files", aside / "inner"
        try:
            files.mkdir()
            unpack(given or downloaded, files, self.wanted)
            if self.nested and (files / self.nested).is_file():
                (files / self.nested).rename(inner)
                unpack(inner, files, self.wanted)
            if not (files / self.inside).is_dir():
                raise ArchiveError(f"{given or downloaded} holds no folder {self.inside}/")
            (files / self.inside).rename(folder)
        except ArchiveError:
            downloaded.unlink(missing_ok=True)  # a later call downloads it again
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        downloaded.unlink(missing_ok=True)

    def _advice(self, root: Path) -> str:
        """Return how a user provides the files."""
        where = f"Get it from {self.url}" if self.url else self.hint
        return (
            f"{where}, and put {' or '.join(self.names)}, as it is, or the folder {self.folder}/"
            f" with its files, into {root}; --data-root or the environment variable FIELDTRIAL_DATA"
            " name another folder"
        )


def kaggle_hint(competition: str, archive: str) -> str:
    """Return how to get the archive of a Kaggle competition."""
    site = f"https://www.kaggle.com/c/{competition}"
    return (
        f"It needs a Kaggle account, and a click on its rules at {site}/rules: then download"
        f" {archive} from {site}/data, or with Kaggle's own command, kaggle competitions download"
        f" -c {competition}"
    )
