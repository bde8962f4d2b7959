"""Copies of a run's files for a library that opens files by name."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file


def copy_files(files: Sequence[Inside], folder: Path) -> list[Path]:
    """Copy the files into the folder, which is there, and return their paths in it.

    A library would follow a link that a stranger put in a file's place, and send what it leads to.
    """
    copies = []
    for file in files:
        target = folder / file.name
        with open_file(file) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        copies.append(target)
    return copies
