"""Videos that a browser plays: H.264 in MP4."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fieldtrial.disk.inside import Inside
from fieldtrial.video.media.fragments import Mp4File

TICKS = 90_000  # in a second: the customary unit of MPEG
KEY_SECONDS = 2.0  # between key frames: so much is lost if the program is killed
ENCODER = "libx264"
BT709 = 1  # ITU-T H.273: how RGB became luma and chroma, for frames of every size
LIMITED_RANGE = 1  # of PyAV's ColorRange: luma from 16 to 235


class VideoWriter:
    """Writes a video of images, each of which is shown from its time on.

    The file can be played at any moment. If the program is killed or the disk is full, the last few
    seconds are missing, and all before them stays. H.264 has an even number of columns and rows: at
    the right and at the bottom, an odd one is written twice, so coordinates stay.
    """

    def __init__(self, path: Inside | Path, width: int, height: int) -> None:
        """Create the file; one that is there is replaced.

        Raises:
            OSError: it cannot be written.
        """
        self._size = (height, width)
        self._is_odd = bool(height % 2 or width % 2)
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        self._file = Mp4File(path)
        stream = self._file.container.add_stream(ENCODER)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # Without frames that are stored in another order (bf), parts can be joined at any frame.
        stream.options = {
            "profile": "high",
            "preset": "veryfast",
            "crf": "23",
            "bf": "0",
            "forced-idr": "1",
        }
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        self._stream, self._reformatter = stream, VideoReformatter()
        self._last = self._last_key = -TICKS * int(KEY_SECONDS)

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Write an image, uint8 (height, width, 3), RGB, that is shown from `time` on, in seconds.

        An image that is not later than the last is shown right after it.

        Raises:
            OSError: it cannot be written. What has been written can be played.
        """
        assert image.shape == (*self._size, 3), image.shape
        if self._is_odd:
            image = np.pad(image, self._padding, mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24"),
            format="yuv420p",
            dst_colorspace=BT709,
            dst_color_range=LIMITED_RANGE,
        )
        frame.pts, frame.time_base = max(round(time * TICKS), self._last + 1), Fraction(1, TICKS)
        self._last = frame.pts
        if frame.pts - self._last_key >= KEY_SECONDS * TICKS:
            frame.pict_type, self._last_key = PictureType.I, frame.pts
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and finish the file. Raises OSError."""
        self._file.mux(self._stream.encode())
        self._file.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.abandon()
