"""Parts of a video that were written one by one, as one video."""

import os
import secrets
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from fieldtrial.disk.inside import Inside
from fieldtrial.video.media.decoding import containers
from fieldtrial.video.media.fragments import Mp4File
from fieldtrial.video.media.writing import TICKS


def join_videos(parts: Sequence[tuple[Inside | Path, float]], path: Inside | Path) -> None:
    """Write the parts of a video, which VideoWriter has written, one after the other into `path`.

    Nothing is encoded again. The file is there when it is whole.

    parts: files, and the times of their first images, in seconds, in order.

    Raises:
        OSError: it cannot be written.
        ValueError: a part is no video, or of another size than the first.
    """
    target = path if isinstance(path, Inside) else Inside(path.parent, (path.name,))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    joined = Mp4File(temporary)
    try:
        stream = None
        for part, start in parts:
            container, there = containers.open_file(Path(os.fspath(part)))
            with container:
                header = there.codec_context.extradata
                if stream is None:
                    stream = joined.container.add_stream_from_template(there)
                    stream.time_base = Fraction(1, TICKS)
                    first_header = header
                if header != first_header:
                    raise ValueError(f"{part}: must have the size and the encoding of the first")
                shift = None
                for packet in containers.packets(container, there):
                    if shift is None:
                        shift = round(start * TICKS) - round(packet.pts * there.time_base * TICKS)
                    packet.pts = packet.dts = round(packet.pts * there.time_base * TICKS) + shift
                    packet.time_base = Fraction(1, TICKS)
                    packet.stream = stream
                    joined.mux(packet)
        joined.finish()
        temporary.replace(target)
    except BaseException:
        joined.abandon()
        temporary.unlink(missing_ok=True)
        raise
