"""Arrays in a file of a run's answers, read without running any code of the run's."""

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file

# Array -> numpy's letter for its kind of numbers, and how many dimensions it has.
Kinds = Mapping[str, tuple[str, int]]
MOST_BYTES = 2 << 30  # of the arrays of a file, unpacked: 500,000 images of 1,000 classes
MOST_MEMBERS, MOST_DIRECTORY, MOST_HEAD = 16, 64 << 10, 1000  # the last two in bytes
END = struct.Struct("<4s4H2LH")  # of a zip file without a comment
LOCATOR_BYTES = 20  # before it, in files of more than 2 GiB: where another end is
# What zipfile and numpy raise for files that are damaged, encrypted or packed in an unknown way.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def names_in(path: Inside) -> set[str]:
    """Return the names of the arrays in a file. Raises OSError, or what is in DAMAGE."""
    with open_file(path) as file, zipfile.ZipFile(_small(file)) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def read_arrays(path: Inside, kinds: Kinds) -> dict[str, NDArray[Any]]:
    """Return these arrays of a file. Raises OSError, or what is in DAMAGE, ValueError among it."""
    with open_file(path) as file, zipfile.ZipFile(_small(file)) as archive:
        sizes = sum(archive.getinfo(f"{name}.npy").file_size for name in kinds)
        if sizes > MOST_BYTES:
            raise ValueError(f"{sizes:,} bytes of arrays; must be at most {MOST_BYTES:,}")
        return {name: _array(archive, name, *kinds[name]) for name in kinds}


def _array(archive: zipfile.ZipFile, name: str, kind: str, dimensions: int) -> NDArray[Any]:
    """Return an array of numbers. Its head is believed only as far as its bytes are there."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is packed")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_head = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read_head = np.lib.format.read_array_header_1_0
        shape, is_fortran, dtype = read_head(file, max_header_size=MOST_HEAD)
        if dtype.kind != kind or len(shape) != dimensions:
            raise ValueError(f"{name} is {dtype} with {len(shape)} dimensions")
        if is_fortran or math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"{name} has {info.file_size:,} bytes, which are not {shape} numbers")
        return np.frombuffer(file.read(), dtype).reshape(shape)


def _small(file: IO[bytes]) -> IO[bytes]:
    """Return `file` if its zip directory is as small as numpy's; zipfile would read any.

    Raises:
        ValueError, struct.error: it is not.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END.size - LOCATOR_BYTES))
    before, end = file.read(LOCATOR_BYTES), file.read(END.size)
    mark, _, _, _, members, length, _, comment = END.unpack(end)
    is_plain = mark == b"PK\5\6" and not comment and not before.startswith(b"PK\6\7")
    if not is_plain or members > MOST_MEMBERS or length > MOST_DIRECTORY:
        raise ValueError("it does not end as numpy's files do")
    return file
