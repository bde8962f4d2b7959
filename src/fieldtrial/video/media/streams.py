"""Live video: streams of cameras, which stop, come back, and do not wait."""

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import av
import numpy as np
from av import FFmpegError
from numpy.typing import NDArray

from fieldtrial.video.frames import Frame
from fieldtrial.video.media.addresses import PROTOCOLS, without_password
from fieldtrial.video.media.decoding import containers
from fieldtrial.video.media.decoding.pixels import Converter, orientation, upright_size

STREAM_FORMATS = (*containers.FILE_FORMATS, "hls", "mpjpeg", "rtsp", "rtp")
# These say nothing of when a frame was taken: it is when it arrives.
WITHOUT_TIMES = ("mpjpeg", "mjpeg")
TIMEOUT = 10.0  # seconds without an answer, or without a packet
PATIENCE = 300.0  # seconds in which a stream that has stopped may come back: a camera restarts
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # seconds between two tries
LONGEST_STEP = 10.0  # seconds between two frames; more is a jump of the stream's clock
LATE = 2.0  # seconds behind the camera; from then on frames are dropped
AHEAD = 16  # frames that wait for whoever asks for them


@dataclass
class StreamStatistics:
    """How a stream has gone.

    Attributes:
        rate: frames per second, by what the stream says; None before it begins.
        frames: how many arrived whole.
        dropped: how many of them were left out, because they came faster than they were asked for.
        damaged: how many were skipped, because data were lost on the way.
        gaps: times without frames, from and to, in seconds: before the stream has come back, and at
            its end if it has not.
        ended: why it is over: after the seconds asked for, by itself, or because it did not come
            back; None as long as it goes on.
    """

    rate: float | None = None
    frames: int = 0
    dropped: int = 0
    damaged: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    ended: Literal["seconds", "end", "lost"] | None = None


def read_stream(
    url: str,
    seconds: float | None = None,
    statistics: StreamStatistics | None = None,
    *,
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
) -> Generator[Frame, None, None]:
    """Yield the frames of a live stream, as they come.

    Frames' times are seconds since the first; where the stream was interrupted, they go on by the
    clock of this machine. Frames that come faster than they are asked for are dropped once they are
    two seconds late, so what is yielded is of now; `number` counts them. A stream that stops is
    opened again. One that has an end, such as a file, ends there, and none of it is dropped; if it
    stops before, it goes on behind what has come.

    seconds: how long to read, since the first frame, by this machine's clock or by the stream's
        times, whatever comes first; where the stream has an end, by its times. None: as long as it
        goes on.
    statistics: where it is counted what happened.
    timeout: seconds without an answer after which the connection counts as broken.
    patience: seconds in which a stream that has stopped must come back.

    Raises:
        ValueError: nothing that is a video comes from there at the start.
    """
    live = _Live(url, seconds, statistics or StreamStatistics(), timeout, patience)
    thread = threading.Thread(target=live.run, name="stream", daemon=True)
    thread.start()
    try:
        yield from live.taken()
    finally:
        live.closed.set()
        # A thread that waits for a camera sees it later, and ends by itself.
        thread.join(1.0)


class _Live:
    """A stream, read in a thread of its own, so that nothing of it waits in the network."""

    def __init__(
        self,
        url: str,
        seconds: float | None,
        statistics: StreamStatistics,
        timeout: float,
        patience: float,
    ) -> None:
        self._url, self._timeout, self._patience = url, timeout, patience
        self._name = without_password(url)
        self._seconds, self._statistics = seconds, statistics
        self.closed = threading.Event()
        self._made: queue.Queue[Frame | Exception | None] = queue.Queue(AHEAD)
        self._began: float | None = None  # when the first frame came, by this machine's clock
        self._last = 0.0  # the time of the last frame
        self._arrived = 0.0  # when it came, by this machine's clock
        self._came = 0  # frames, of all connections
        self._finite = False
        self._clock = _Clock(0.0)
        self._converter: Converter | None = None

    def taken(self) -> Iterator[Frame]:
        """Yield what the thread makes, until there is no more, or the time is over."""
        while True:
            try:
                made = self._made.get(timeout=0.1)
            except queue.Empty:
                if self._is_over():
                    self._end("seconds")
                    return
                continue
            if isinstance(made, Exception):
                raise made
            if made is None:
                return
            if self._seconds is not None and made.time >= self._seconds:
                self._statistics.ended = "seconds"
                return
            yield made

    def _is_over(self) -> bool:
        if self._seconds is None or self._began is None or self._finite:
            return False
        return time.monotonic() - self._began >= self._seconds

    def run(self) -> None:
        """Make what `taken` yields, or what it raises: it would wait for ever."""
        try:
            self._follow()
        except Exception as error:
            self._put(error)

    def _follow(self) -> None:
        """Read until the stream is over; open it again when it stops."""
        pause, since = FIRST_PAUSE, time.monotonic()
        while not self.closed.is_set() and not self._is_over():
            frames = self._statistics.frames
            try:
                if self._read():
                    self._statistics.ended = "end"
                    self._put(None)
                    return
            except (FFmpegError, ValueError) as error:
                if self._began is None:
                    self._put(ValueError(self._why(error)))
                    return
            if self._statistics.frames > frames:
                pause, since = FIRST_PAUSE, time.monotonic()
            if self._began is None:
                self._put(ValueError(f"{self._name}: the stream ended before its first frame"))
                return
            if time.monotonic() - since > self._patience:
                self._end("lost")
                self._put(None)
                return
            self.closed.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _end(self, how: Literal["seconds", "lost"]) -> None:
        """Note how a stream is over from which nothing comes, and for how long that has been so."""
        quiet = time.monotonic() - self._arrived
        if quiet > LATE:
            self._statistics.gaps.append((self._last, self._last + quiet))
        self._statistics.ended = how

    def _why(self, error: Exception) -> str:
        if isinstance(error, av.TimeoutError | av.ExitError):
            return f"{self._name}: no answer within {self._timeout:g} seconds"
        said = error.strerror if isinstance(error, FFmpegError) else str(error)
        return f"{self._name}: must be a stream with video that can be read; {said}"

    def _put(self, made: Frame | Exception | None) -> None:
        while not self.closed.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(made, timeout=0.1)
                return

    def _read(self) -> bool:
        """Read from one connection; return whether the stream has an end and is at it."""
        scheme = urlsplit(self._url).scheme.lower()
        options = {
            "protocol_whitelist": PROTOCOLS[scheme],
            "format_whitelist": ",".join(STREAM_FORMATS),
            "rtsp_flags": "prefer_tcp",  # UDP loses packets
        }
        if not scheme.startswith("rtsp"):
            del options["rtsp_flags"]
        with av.open(
            self._url, options=options, metadata_errors="ignore", timeout=self._timeout
        ) as container:
            stream = containers.video_stream(container, self._name)
            self._statistics.rate = float(stream.guessed_rate or stream.average_rate or 25)
            self._finite = has_end(container)
            # What has an end begins anew when it is opened again.
            known = self._came if self._finite else 0
            if not known:
                self._clock = _Clock(1 / self._statistics.rate)
            without_times = container.format.name in WITHOUT_TIMES
            trusted = True  # until something is damaged, and again from the next key frame on
            for packet in self._packets(container, stream):
                frames, failed = containers.decoded(stream.codec_context, packet)
                trusted &= not failed
                for picture in frames:
                    trusted = not picture.is_corrupt and (trusted or picture.key_frame)
                    if known:
                        known -= 1
                        continue
                    # A frame that comes as the connection breaks has no time_base of its own.
                    has_time = picture.pts is not None and not without_times
                    at = float(picture.pts * stream.time_base) if has_time else None
                    self._take(picture, stream, at, trusted)
            return self._finite and not self.closed.is_set()

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield packets, and None at the end, also where the connection breaks."""
        try:
            for packet in container.demux(stream):
                if self.closed.is_set() or self._is_over():
                    return
                if packet.size:
                    yield packet
        except av.EOFError:
            yield None
        except FFmpegError:
            yield None
            raise
        else:
            yield None

    def _take(self, picture: Any, stream: Any, at: float | None, trusted: bool) -> None:
        """Hand a frame on, if somebody can take it."""
        now, clock = time.monotonic(), self._clock
        if self._began is None:
            self._began = now
            clock.start(at, now, 0.0, 0.0)
        elif not clock.started:
            clock.start(at, now, self._last, now - self._began)
            self._statistics.gaps.append((self._last, clock.time))
        else:
            clock.go_on(at, now, now - self._began)
        self._last, self._arrived, number = clock.time, now, self._came
        self._came += 1
        if not trusted:
            self._statistics.damaged += 1
            return
        self._statistics.frames += 1
        while not self.closed.is_set():
            if not self._made.full():
                self._put(Frame(self._image(picture, stream), clock.time, number))
                return
            if not self._finite and (at is None or clock.late(time.monotonic())):
                self._statistics.dropped += 1
                return
            self.closed.wait(0.01)

    def _image(self, picture: Any, stream: Any) -> NDArray[np.uint8]:
        if self._converter is None:
            size = upright_size(picture, stream.sample_aspect_ratio)
            containers.require_pixels(*size, self._name)
            self._converter = Converter(*size, orientation(picture))
        return self._converter.image(picture)


def has_end(container: Any) -> bool:
    """Return whether a stream is a file that somebody serves, and not live."""
    # A playlist has a size, too, and says whether it goes on.
    has_size = container.size > 0 and container.format.name != "hls"
    return container.duration is not None or has_size


class _Clock:
    """The times of one connection's frames, in seconds since the stream's first frame."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.started = False
        self.time = 0.0
        self._at = 0.0  # the stream's own time of the last frame
        self._ahead = 0.0  # how far this machine's clock is ahead of it, at least

    def start(self, at: float | None, now: float, last: float, elapsed: float) -> None:
        """Take a first frame: the stream says `at`; before it, there was one at `last`."""
        self.started = True
        self.time = max(last + self._interval, elapsed) if elapsed else 0.0
        self._at = now if at is None else at
        self._ahead = now - self.time

    def go_on(self, at: float | None, now: float, elapsed: float) -> None:
        """Take another frame. If the stream's times jump, this machine's clock decides."""
        at = now if at is None else at
        step = at - self._at
        self._at = at
        if 0 < step < LONGEST_STEP:
            self.time += step
        else:
            self.time = max(self.time + self._interval, elapsed)
            self._ahead = now - self.time
        self._ahead = min(self._ahead, now - self.time)

    def late(self, now: float) -> bool:
        """Return whether the last frame is of so long ago that others should come first."""
        return now - self.time - self._ahead > LATE
