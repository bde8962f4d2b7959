"""MP4 files that can be played at any moment while they are written."""

import io
import os
from pathlib import Path
from typing import Any

import av

from fieldtrial.disk.inside import Inside

# The header comes first, then fragments, each from a key frame to the next. When the file is
# finished, one table of all frames (moov) is written behind them, and eight bytes at the start then
# make it a plain MP4 file. Players that know no fragments play it, too, and all can jump in it.
MOVE_FLAGS = "hybrid_fragmented+frag_keyframe+empty_moov+default_base_moof"
BOX_HEADER = 8  # bytes: the length of a part of the file, and its kind


class _Pending(io.RawIOBase):
    """What the muxer has written since the last look: bytes at places."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[int, bytes]] = []
        self._at = self._end = 0

    def write(self, data: Any) -> int:
        self.pieces.append((self._at, bytes(data)))
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Mp4File:
    """A new MP4 file. Whenever the program or the disk ends, it holds whole fragments.

    Attributes:
        container: PyAV's; streams are added to it.
    """

    def __init__(self, path: Inside | Path) -> None:
        """Create the file; one that is there is replaced. Raises OSError."""
        target = path if isinstance(path, Inside) else Inside(path.parent, (path.name,))
        target.unlink(missing_ok=True)
        self._file = target.open("xb")
        self._shown, self._size, self._closed = str(target), 0, False
        self._error: OSError | None = None  # of the write that failed
        self._pending = _Pending()
        # With flush_packets a fragment leaves the muxer whole, and at once.
        options = {"movflags": MOVE_FLAGS, "flush_packets": "1"}
        self.container = av.open(self._pending, "w", format="mp4", options=options)

    def mux(self, packets: Any) -> None:
        """Write packets; they reach the file with their fragment. Raises OSError."""
        if self._error:  # FFmpeg's muxer crashes if it is used after its end
            raise self._error
        self.container.mux(packets)
        self._commit()

    def finish(self) -> None:
        """Write the table of all frames, and close the file. Raises OSError."""
        if not self._closed:
            try:
                self.container.close()
                self._commit()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        if not self._closed:
            self._closed = True
            self.container.close()  # into memory
            self._file.close()

    def _commit(self) -> None:
        new, changes = bytearray(), []
        for place, data in self._pending.pieces:
            if place < self._size:
                changes.append((place, data))
            else:
                new[place - self._size : place - self._size + len(data)] = data
        self._pending.pieces.clear()
        try:
            # As long as the header of the first part is missing, what is behind it does not count.
            self._write(bytes(new[BOX_HEADER:]), self._size + BOX_HEADER)
            self._write(bytes(new[:BOX_HEADER]), self._size)
            self._size += len(new)
            for place, data in changes:
                self._write(data, place)
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)
            self.abandon()
            self._error = OSError(error.errno, error.strerror, self._shown)
            raise self._error from None

    def _write(self, data: bytes, place: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file.fileno(), view, place)
            view, place = view[written:], place + written
