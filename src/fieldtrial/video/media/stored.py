"""An index kept in a file, so that the video need not be read through again."""

from pathlib import Path
from typing import Annotated, TypedDict

import msgspec
import numpy as np

from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError, decode, read_bytes
from fieldtrial.video.media.index import Packets, VideoIndex

Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 26)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Sign = Annotated[int, msgspec.Meta(ge=-1, le=1)]
Time = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


MOST_BYTES = 256 << 20  # three days of 25 frames a second


class _StoredPackets(TypedDict):
    times: list[Long]
    sizes: list[Count]
    numbers: list[Annotated[int, msgspec.Meta(ge=-1, le=2**53)]]
    keys: list[Count]  # places


class _Stored(TypedDict):
    path: str
    size_bytes: Count
    width: Side
    height: Side
    orientation: tuple[Sign, Sign, Sign, Sign]
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    times: list[Time]
    broken: list[Count]  # numbers
    lost: Count
    missing_seconds: Time
    silent: bool
    packets: _StoredPackets | None
    names: list[str]


def write_index(index: VideoIndex, path: Inside) -> None:
    """Write an index, atomically, as JSON. It takes about 35 bytes for each frame."""
    packets = index.packets and {
        "times": index.packets.times.tolist(),
        "sizes": index.packets.sizes.tolist(),
        "numbers": index.packets.numbers.tolist(),
        "keys": np.flatnonzero(index.packets.keys).tolist(),
    }
    kept = vars(index) | {
        "path": str(index.path),
        "times": index.times.tolist(),
        "broken": np.flatnonzero(index.broken).tolist(),
        "packets": packets,
    }
    write_atomically(path, msgspec.json.encode(kept))


def read_index(path: Inside) -> VideoIndex:
    """Return what `write_index` wrote.

    Raises:
        UnreadableError: it is not what `write_index` writes.
        OSError: it is not there.
    """
    kept: _Stored = decode(read_bytes(path, MOST_BYTES), _Stored, path)
    stored = kept["packets"]
    packets = stored and Packets(
        times=np.array(stored["times"], np.int64),
        sizes=np.array(stored["sizes"], np.int64),
        numbers=np.array(stored["numbers"], np.int64),
        keys=np.isin(np.arange(len(stored["times"])), stored["keys"]),
    )
    index = VideoIndex(
        path=Path(kept["path"]),
        size_bytes=kept["size_bytes"],
        width=kept["width"],
        height=kept["height"],
        orientation=kept["orientation"],
        rate=kept["rate"],
        times=np.array(kept["times"], np.float64),
        broken=np.isin(np.arange(len(kept["times"])), kept["broken"]),
        lost=kept["lost"],
        missing_seconds=kept["missing_seconds"],
        silent=kept["silent"],
        packets=packets,
        names=tuple(kept["names"]),
    )
    if not _fits(index):
        raise UnreadableError(f"{path}: must be the index of a video; its parts do not fit")
    return index


def _fits(index: VideoIndex) -> bool:
    """Return whether the parts of an index belong together, so that reading can rely on them."""
    count = len(index)
    if not count or (np.diff(index.times) <= 0).any():
        return False
    if index.packets is None:
        return len(index.names) == count and not any("/" in name for name in index.names)
    columns = [len(column) for column in vars(index.packets).values()]
    numbers = np.sort(index.packets.numbers[index.packets.numbers >= 0])
    return (
        len(set(columns)) == 1
        and np.array_equal(numbers, np.arange(count))
        and bool(index.packets.keys.any())
    )
