"""Frames of a video, from any frame on: the same whatever part of the video is read."""

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from av import FFmpegError
from numpy.typing import NDArray

from fieldtrial.video.frames import Frame
from fieldtrial.video.media.decoding import containers
from fieldtrial.video.media.decoding.pixels import Converter
from fieldtrial.video.media.decoding.scan import UNKNOWN
from fieldtrial.video.media.images import read_image
from fieldtrial.video.media.index import Packets, VideoIndex

# A decoder may give frames in another order than they are shown, where it has not known from the
# start how far they are moved. H.264 and H.265 keep at most 16.
MOST_MOVED = 16
SEEK_SECONDS = 1
MOST_BEFORE = 2000  # packets between where a jump leads and where it should


@dataclass
class Damage:
    """What was skipped.

    Attributes:
        stretches: of frames that follow each other, the number of the first, and that after the
            last.
    """

    stretches: list[tuple[int, int]] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """How many frames were skipped."""
        return sum(last - first for first, last in self.stretches)

    def add(self, number: int) -> None:
        """Count a frame; frames come in order."""
        if self.stretches and self.stretches[-1][1] == number:
            self.stretches[-1] = (self.stretches[-1][0], number + 1)
        else:
            self.stretches.append((number, number + 1))


def read_frames(
    index: VideoIndex,
    first: int = 0,
    last: int | None = None,
    stride: int = 1,
    damage: Damage | None = None,
) -> Iterator[Frame]:
    """Yield the frames with the numbers `first` to `last`, without `last`; None: to the end.

    Reading begins at the key frame before `first`. A frame is the same, bit for bit, whatever
    `first` and `last` are. With a damaged frame, the one decoded before it is skipped, and all that
    are decoded after it, as far as the next key frame: they may be made from it.

    stride: only numbers that it divides, wherever reading begins.
    damage: where frames that are skipped are counted; of a file also those that `stride` does not
        ask for.

    Raises:
        ValueError: the file is not that of the index any more.
    """
    last = len(index) if last is None else last
    assert 0 <= first <= last <= len(index), (first, last, len(index))
    damage = Damage() if damage is None else damage
    if index.packets is None:
        yield from _read_images(index, first, last, stride, damage)
        return
    about = index.path.stat() if index.path.exists() else None
    if about is None or about.st_size != index.size_bytes:
        raise ValueError(
            f"{index.path}: has changed since it was first read: it had {index.size_bytes:,} bytes,"
            f" and now {f'has {about.st_size:,}' if about else 'is gone'}"
        )
    if first < last:
        with contextlib.closing(_Reading(index, index.packets, first, last)) as reading:
            for number, picture in reading.settled():
                if picture is None:
                    damage.add(number)
                elif number % stride == 0:
                    yield Frame(reading.image(picture), float(index.times[number]), number)


def _read_images(
    index: VideoIndex, first: int, last: int, stride: int, damage: Damage
) -> Iterator[Frame]:
    for number in range(first, last):
        if number % stride:
            continue
        image = read_image(index.path / index.names[number])
        if image is None or image.shape[:2] != (index.height, index.width):
            damage.add(number)
        else:
            yield Frame(image, float(index.times[number]), number)


class _Reading:
    """Decodes a stretch of a file."""

    def __init__(self, index: VideoIndex, packets: Packets, first: int, last: int) -> None:
        self._index, self._packets = index, packets
        self._first, self._last = first, last
        numbers = packets.numbers
        shown = np.flatnonzero(numbers >= 0)
        # Where the packet of each frame is.
        self._places = np.empty(len(index), np.int64)
        self._places[numbers[shown]] = shown
        # The last to be shown of the frames that are decoded up to the next after each.
        next_places = np.minimum(self._places + 1, len(numbers) - 1)
        self._needs = np.maximum.accumulate(numbers)[next_places]
        self._keys = np.flatnonzero(packets.keys)
        self._start, self._begin = self._find_start()
        self._failed = False  # since the last frame that was missing
        self._container, self._stream = containers.open_file(index.path)
        self._converter = Converter(index.width, index.height, index.orientation)

    def close(self) -> None:
        self._container.close()

    def image(self, picture: Any) -> NDArray[np.uint8]:
        """Return a decoded frame's image."""
        return self._converter.image(picture)

    def settled(self) -> Iterator[tuple[int, Any | None]]:
        """Yield the numbers that are asked for, in order, with frames; None for what is damaged."""
        following = self._begin
        upto = int(self._needs[following : self._last].max()) + 1
        # Frames that have come out of the decoder; those that are settled, and wait for what was
        # decoded before them; the places where damage begins, with the key frames that end it.
        came: dict[int, Any] = {}
        waiting: deque[tuple[int, Any | None]] = deque()
        spoiled: list[tuple[int, int]] = []
        for frames, ended in self._decoded():
            came |= {frame.pts: frame for frame in frames if (frame.pts or 0) >= following}
            while following < upto:
                if following not in came and not ended and len(came) <= MOST_MOVED:
                    break
                picture = came.pop(following, None)
                if self._is_bad(following, picture):
                    spoiled = [damage for damage in spoiled if damage[1] > following]
                    # The damage may begin in the packet before, unnoticed.
                    begins = int(self._places[following]) - 1
                    spoiled.append((begins, self._next_key(following)))
                    self._failed = False
                if following < self._last:
                    waiting.append((following, picture))
                following += 1
            while waiting and self._needs[waiting[0][0]] < following:
                number, picture = waiting.popleft()
                place = self._places[number]
                bad = any(place >= begins and number < until for begins, until in spoiled)
                if number >= self._first and (bad or picture is not None):
                    yield number, None if bad else picture
            if following == upto:
                return

    def _is_bad(self, number: int, picture: Any | None) -> bool:
        if picture is None:
            return self._failed or not self._index.silent
        return bool(self._index.broken[number] or picture.is_corrupt)

    def _next_key(self, number: int) -> int:
        """Return the number of the first key frame that is decoded after a frame."""
        later = self._packets.numbers[self._keys[self._keys > self._places[number]]]
        later = later[later >= 0]
        return int(later[0]) if len(later) else len(self._index)

    def _find_start(self) -> tuple[int, int]:
        """Return the place of the last key packet from which the first frame can be decoded, and
        the number of the first frame that is right then.

        That key frame is not shown later: frames that are decoded after a key frame and shown
        before it may be made from others before it.
        """
        numbers = self._packets.numbers
        for key in self._keys[self._keys <= self._places[self._first]][::-1]:
            # An edit list may leave a key frame out, and show what is made from it.
            number = numbers[key]
            if number < 0:
                number = numbers[key:][numbers[key:] >= 0].min()
            if number <= self._first:
                return int(key), int(number)
        return int(self._keys[0]), 0

    def _decoded(self) -> Iterator[tuple[list[Any], bool]]:
        """Yield the frames that come out of the decoder, whose times are their numbers, and whether
        these are the last.
        """
        decoder = self._stream.codec_context
        for place, packet in self._placed():
            packet.pts, packet.dts = int(self._packets.numbers[place]), None
            frames, failed = containers.decoded(decoder, packet)
            self._failed |= failed
            yield frames, False
        yield containers.decoded(decoder, None)[0], True

    def _placed(self) -> Iterator[tuple[int, Any]]:
        """Yield packets from the start on, with their places."""
        place = self._start
        if place == 0:
            yield from self._checked(containers.packets(self._container, self._stream))
            return
        for packet in self._sought(place):
            if place == len(self._packets.times) or not self._is_at(place, packet):
                break
            yield place, packet
            place += 1
        if place == len(self._packets.times):
            return
        # The format has no way to jump to where decoding begins. All before is read, not decoded.
        container, stream = containers.open_file(self._index.path)
        with container:
            for there, packet in self._checked(containers.packets(container, stream)):
                if there >= place:
                    yield there, packet

    def _sought(self, place: int) -> Iterator[Any]:
        """Yield packets from a place on, after a jump; nothing if it does not lead there."""
        time = int(self._packets.times[place])
        if time == UNKNOWN:
            return
        # Some formats are searched by times of decoding, which come before those of presentation.
        margin = round(SEEK_SECONDS / self._stream.time_base)
        try:
            before = max(time - margin, int(self._packets.times[0]))
            self._container.seek(before, stream=self._stream)
        except FFmpegError:
            return
        there = containers.packets(self._container, self._stream)
        for packet in itertools.islice(there, MOST_BEFORE):
            if self._is_at(place, packet):
                yield packet
                yield from there

    def _checked(self, packets: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """Yield packets from the file's first on, with their places."""
        for place, packet in enumerate(packets):
            if place == len(self._packets.times) or not self._is_at(place, packet):
                raise ValueError(
                    f"{self._index.path}: has changed since it was first read: packet {place} is"
                    " another"
                )
            yield place, packet

    def _is_at(self, place: int, packet: Any) -> bool:
        time = UNKNOWN if packet.pts is None else packet.pts
        return bool(
            time == self._packets.times[place] and packet.size == self._packets.sizes[place]
        )
