"""Servers of live video on loopback: HTTP, and RTSP as cameras speak it."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av

from tests.video.media.made import pictures

Serve = Callable[[socket.socket, int], object]  # a connection, and how many came before it


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Listen on loopback; each connection is served in a thread of its own. Yields the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection, number)

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = listening.accept()
                threads.append(
                    threading.Thread(target=handle, args=(connection, len(threads)), daemon=True)
                )
                threads[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for one in (thread, *threads):
            one.join(10)


def transport_stream(count: int, first: int = 0) -> list[bytes]:
    """Return an MPEG transport stream, 25 frames a second: the bytes that come with each frame."""
    target, pieces, at = io.BytesIO(), [], 0
    with av.open(target, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        for packet in encoded(container, count, first):
            container.mux(packet)
            pieces.append(target.getvalue()[at:])
            at = len(target.getvalue())
    return [*pieces, target.getvalue()[at:]]


def encoded(container: Any, count: int, first: int = 0) -> Iterator[Any]:
    """Yield the packets of a video: H.264, a key frame every ten frames, no frame held back."""
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    stream.options = {"tune": "zerolatency", "g": "10", "x264-params": "annexb=1"}
    for number, picture in enumerate(pictures(count)):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = first + number, Fraction(1, 25)
        yield from stream.encode(frame)
    yield from stream.encode()


def http(connection: socket.socket, kind: str, length: int | None = None) -> None:
    """Read a request and answer it, as far as the header."""
    connection.recv(65536)
    size = "" if length is None else f"Content-Length: {length}\r\n"
    header = f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n{size}Connection: close\r\n\r\n"
    connection.sendall(header.encode())


def rtsp(connection: socket.socket, frames: list[bytes], interval: float) -> None:
    """Serve H.264 by RTSP (RFC 2326), over the connection itself: a packet of RTP a NAL unit."""
    asked = connection.makefile("rb")
    while True:
        request = b"".join(iter(asked.readline, b"\r\n")).decode()
        if not request:
            return
        method, number = request.split()[0], request.partition("CSeq: ")[2].split()[0]
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=road\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track\r\n"
                "a=fmtp:96 packetization-mode=0\r\n"
            )
            extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{extra}\r\n{body}"
        connection.sendall(answer.encode())
        if method == "PLAY":
            break
    sequence = 0
    for place, frame in enumerate(frames):
        units = [unit.rstrip(b"\0") for unit in frame.split(b"\0\0\1") if unit.rstrip(b"\0")]
        for last, unit in ((unit is units[-1], unit) for unit in units):
            header = bytes([0x80, 96 | (last << 7)]) + sequence.to_bytes(2, "big")
            header += (place * 3600).to_bytes(4, "big") + bytes(4)
            connection.sendall(b"$\0" + (12 + len(unit)).to_bytes(2, "big") + header + unit)
            sequence += 1
        time.sleep(interval)
