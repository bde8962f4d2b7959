"""The images below a folder: which files count, and what is passed over, with counts.

A file is an image if Pillow can read its format, whatever it is called. Hidden files and folders,
and those that tools leave behind, are none. Links are followed once: a folder that was reached
before, or that leads upwards, is not entered again.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fieldtrial.fields.printable import counted
from fieldtrial.training.data.splits import first_of

# Folders of thumbnails, waste and metadata, beside those whose names begin with a dot.
OF_TOOLS = {
    "__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "desktop.ini",
}  # fmt: skip
# Pillow also knows formats of printing and science, whose files it can name but not draw.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI",
    "TGA", "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip
HIDDEN = "hidden file"

Identity = tuple[int, int]  # of a file, by whatever name it is reached


@dataclass
class PassedOver:
    """What is below a folder and does not count, with how often.

    unreadable: files of no format that Pillow reads, by their suffix. hidden: files and folders
    that are hidden or left by tools, by their names. linked: links that lead nowhere, or to what
    was there before. beside: images that lie beside the class folders. others: the files that
    `unreadable` counts.
    """

    unreadable: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    linked: int = 0
    beside: int = 0
    others: list[Path] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """Return a line for each kind that there was."""
        lines = []
        if count := self.unreadable.total():
            kinds = first_of([f"{number} {kind}" for kind, number in self.unreadable.most_common()])
            lines.append(f"passed over {counted(count, 'file')} other than images: {kinds}")
        if count := self.hidden.total():
            kinds = first_of(
                [
                    counted(number, kind) if kind == HIDDEN else f"{number} {kind}"
                    for kind, number in self.hidden.most_common()
                ]
            )
            lines.append(f"passed over {counted(count, 'name')} hidden or of tools: {kinds}")
        if self.linked:
            links = counted(self.linked, "link")
            lines.append(f"passed over {links} to nothing, or to what was there before")
        if self.beside:
            beside = counted(self.beside, "image")
            lines.append(f"passed over {beside} beside the class folders")
        return lines


def is_hidden(name: str) -> bool:
    """Return whether files and folders of this name are hidden, or left by a tool."""
    return name.startswith(".") or name.casefold() in OF_TOOLS


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in `folder`, by name, without hidden ones and those of tools."""
    with os.scandir(folder) as entries:
        return sorted(
            folder / one.name for one in entries if one.is_dir() and not is_hidden(one.name)
        )


def images_in(folder: Path) -> int:
    """Return how many images lie in `folder` itself."""
    with os.scandir(folder) as entries:
        return sum(
            one.is_file() and not is_hidden(one.name) and is_image(folder / one.name)
            for one in entries
        )


def images_below(folder: Path, passed: PassedOver) -> Iterator[Path]:
    """Yield the images below `folder`, by name; what is passed over is counted in `passed`."""
    above = (folder.resolve(), *folder.resolve().parents)
    yield from _walk(folder, passed, {_identity(one.stat()) for one in above})


def _walk(folder: Path, passed: PassedOver, seen: set[Identity]) -> Iterator[Path]:
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda one: (one.is_dir(), one.name))  # files come first
    for entry in entries:
        path = folder / entry.name
        if is_hidden(entry.name):
            passed.hidden[entry.name if entry.is_dir() else HIDDEN] += 1
            continue
        try:
            identity = _identity(entry.stat())
        except OSError:  # a link to nothing, or in a circle
            identity = None
        if identity is None or identity in seen:
            passed.linked += 1
            continue
        seen.add(identity)
        if entry.is_dir():
            yield from _walk(path, passed, seen)
        elif entry.is_file() and is_image(path):
            yield path
        else:
            passed.unreadable[path.suffix.lower() or "without a suffix"] += 1
            passed.others.append(path)


def _identity(known: os.stat_result) -> Identity:
    return known.st_dev, known.st_ino


def is_image(path: Path) -> bool:
    """Return whether a file is an image: by its suffix, else by how it begins."""
    if Image.registered_extensions().get(path.suffix.lower()) in (*FORMATS, "MPO"):
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True  # which decoding it will refuse, with the file's name
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
