"""Live streams: real ones, on loopback, that stop, come back, end, or never answer."""

import io
import socket
import threading
import time
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from fieldtrial.video.frames import Frame
from fieldtrial.video.media import streams
from fieldtrial.video.media.addresses import without_password
from fieldtrial.video.media.decoding import containers
from fieldtrial.video.media.streams import StreamStatistics, read_stream
from tests.video.media.made import pictures
from tests.video.media.servers import encoded, http, rtsp, server, transport_stream

INTERVAL = 0.01  # seconds between frames; their times say 0.04


def _send(connection: socket.socket, pieces: list[bytes], interval: float = INTERVAL) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(interval)


def _agree(frame: Frame, picture: Any, far: float = 12) -> None:
    assert np.abs(frame.image.astype(int) - picture).mean() < far


def test_a_stream_that_stops_is_opened_again_and_its_times_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "FIRST_PAUSE", 0.3)
    monkeypatch.setattr(streams, "LATE", 0.5)
    # After the interruption the camera begins its clock anew.
    pieces = [transport_stream(20, first=1000), transport_stream(15)]

    def serve(connection: socket.socket, number: int) -> None:
        if number < 2:
            http(connection, "video/mp2t")
            _send(connection, pieces[number])

    statistics = StreamStatistics()
    with server(serve) as port:
        url = f"http://127.0.0.1:{port}/road"
        frames = list(read_stream(url, statistics=statistics, timeout=5, patience=0.5))
    assert [frame.number for frame in frames] == list(range(35))
    times = [frame.time for frame in frames]
    np.testing.assert_allclose(np.diff(times[:20]), 0.04, atol=1e-6)
    np.testing.assert_allclose(np.diff(times[20:]), 0.04, atol=1e-6)
    assert times[0] == 0
    between, at_the_end = statistics.gaps
    assert between == (times[19], times[20])
    assert at_the_end[0] == times[-1]
    assert at_the_end[1] > times[-1] + 0.5
    assert times[20] > times[19]
    assert (statistics.frames, statistics.dropped, statistics.damaged) == (35, 0, 0)
    assert statistics.ended == "lost"
    assert statistics.rate == pytest.approx(25)
    for frame, picture in zip(frames, [*pictures(20), *pictures(15)], strict=True):
        _agree(frame, picture)


def test_seconds_end_an_endless_stream_even_if_nobody_is_asked_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LATE", 0.5)
    pieces, done = transport_stream(40), threading.Event()

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "video/mp2t")
        _send(connection, pieces[:30])
        done.wait(30)  # and then the camera is silent

    for seconds in (0.5, 1.3):  # before the camera is silent, and after
        statistics = StreamStatistics()
        with server(serve) as port:
            url = f"http://127.0.0.1:{port}/"
            frames = list(read_stream(url, seconds, statistics, timeout=20))
            done.set()
        assert 0.3 < frames[-1].time < seconds
        assert statistics.ended == "seconds"
        gaps = [frames[-1].time] if seconds > 1 else []
        assert [first for first, _ in statistics.gaps] == gaps
        assert all(first + 0.5 < last for first, last in statistics.gaps)
        done.clear()


def test_frames_are_dropped_when_they_come_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LATE", 0.02)
    monkeypatch.setattr(streams, "AHEAD", 2)
    pieces, statistics, frames = transport_stream(50), StreamStatistics(), []

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "video/mp2t")
        _send(connection, pieces)

    with server(serve) as port:
        url = f"http://127.0.0.1:{port}/"
        for frame in read_stream(url, statistics=statistics, timeout=5, patience=0.0):
            frames.append(frame)
            time.sleep(0.06)
    assert statistics.dropped > 10
    assert len(frames) + statistics.dropped == statistics.frames == 50
    for frame in frames:  # what came through is what its number says
        assert frame.time == pytest.approx(frame.number / 25)
        _agree(frame, list(pictures(frame.number + 1))[-1])


@pytest.mark.parametrize("seconds", [None, 0.3])
def test_a_file_that_is_served_loses_nothing_and_comes_once_though_it_breaks_off(
    seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LATE", 0.0)
    monkeypatch.setattr(streams, "AHEAD", 2)
    monkeypatch.setattr(streams, "FIRST_PAUSE", 0.01)
    pieces = transport_stream(30)
    content = b"".join(pieces)

    def serve(connection: socket.socket, number: int) -> None:
        http(connection, "video/mp2t", len(content))
        connection.sendall(content if number else b"".join(pieces[:15]))

    statistics, frames = StreamStatistics(), list[Frame]()
    with server(serve) as port:
        for frame in read_stream(f"http://127.0.0.1:{port}/", seconds, statistics):
            frames.append(frame)
            time.sleep(0.06 if seconds else 0.0)  # so slow that its seconds are over before
    count = 8 if seconds else 30
    assert [frame.number for frame in frames] == list(range(count))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(count) / 25, atol=1e-6)
    for frame, picture in zip(frames, pictures(count), strict=True):
        _agree(frame, picture)
    assert (statistics.ended, statistics.dropped) == ("seconds" if seconds else "end", 0)
    assert statistics.gaps == []


def test_a_playlist_that_goes_on_is_live() -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n1.ts\n"
    content = b"".join(transport_stream(50))

    def serve(connection: socket.socket, number: int) -> None:
        body = playlist if not number else content
        http(connection, "application/vnd.apple.mpegurl" if not number else "video/mp2t", len(body))
        connection.sendall(body)

    with server(serve) as port:
        url = f"http://127.0.0.1:{port}/road.m3u8"
        with av.open(url, timeout=5) as container:
            assert container.size == len(playlist)
            assert not streams.has_end(container)


def test_what_fails_while_reading_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError  # which cannot be made to happen

    monkeypatch.setattr(containers, "video_stream", fails)

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "video/mp2t")
        connection.sendall(b"".join(transport_stream(5)))

    with server(serve) as port, pytest.raises(MemoryError):
        next(read_stream(f"http://127.0.0.1:{port}/", timeout=2))


def test_jpegs_have_the_times_at_which_they_come() -> None:
    shown = list(pictures(8))

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "multipart/x-mixed-replace; boundary=frame")
        for picture in shown:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "jpeg", quality=95)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {file.tell()}\r\n\r\n"
            connection.sendall(head.encode() + file.getvalue() + b"\r\n")
            time.sleep(0.1)

    with server(serve) as port:
        frames = list(read_stream(f"http://127.0.0.1:{port}/", timeout=5, patience=0.0))
    assert len(frames) >= 6
    for frame in frames:
        _agree(frame, shown[frame.number])
    steps = np.diff([frame.time for frame in frames])
    assert (steps > 0).all()
    assert frames[-1].time > 0.05 * frames[-1].number  # FFmpeg alone says 25 a second


def test_a_camera_that_speaks_rtsp() -> None:
    with av.open(io.BytesIO(), "w", format="h264") as container:
        packets = [bytes(packet) for packet in encoded(container, 25)]

    def serve(connection: socket.socket, _: int) -> None:
        rtsp(connection, packets, INTERVAL)

    statistics = StreamStatistics()
    with server(serve) as port:
        url = f"rtsp://user:secret@127.0.0.1:{port}/road"
        frames = list(read_stream(url, statistics=statistics, timeout=5, patience=0.0))
    assert len(frames) >= 20
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.04, atol=1e-6)
    first = 25 - len(frames)
    for frame, picture in zip(frames, list(pictures(25))[first:], strict=True):
        _agree(frame, picture)


def test_one_that_never_answers_is_told_once() -> None:
    quiet = threading.Event()
    with server(lambda *_: quiet.wait(30)) as port:
        url = f"http://user:secret@127.0.0.1:{port}/?token=hidden&channel=2"
        with pytest.raises(ValueError, match=r"no answer within 0\.3 seconds") as caught:
            next(read_stream(url, timeout=0.3))
        quiet.set()
    assert f"http://user:…@127.0.0.1:{port}/?token=…&channel=2" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "404 Not Found"),
        (b"HTTP/1.0 200 OK\r\n\r\nno video at all\n" + b"words " * 999, "must be a stream"),
        (b"HTTP/1.0 200 OK\r\n\r\n#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "must be a stream"),
    ],
)
def test_what_is_no_video_is_told(answer: bytes, message: str) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with server(serve) as port, pytest.raises(ValueError, match=message):
        next(read_stream(f"http://127.0.0.1:{port}/road.m3u8", timeout=2))


def test_nobody_listens() -> None:
    with server(lambda *_: None) as port:
        pass
    with pytest.raises(ValueError, match="Connection refused"):
        next(read_stream(f"rtsp://127.0.0.1:{port}/road"))


def test_whoever_stops_asking_ends_the_thread() -> None:
    pieces = transport_stream(200)

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "video/mp2t")
        _send(connection, pieces)

    with server(serve) as port:
        frames = read_stream(f"http://127.0.0.1:{port}/", timeout=5)
        next(frames)
        frames.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "stream"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://a:b@camera:554/1?x=1", "rtsp://a:…@camera:554/1?x=1"),
        ("rtsp://a:b:c@d@camera/", "rtsp://a:…@camera/"),
        ("http://camera/?user=a&password=b&size=3", "http://camera/?user=a&password=…&size=3"),
        ("http://camera/live", "http://camera/live"),
        (
            "http://camera/?a=%0A&%70wd=b;key=c#token=d",
            "http://camera/?a=%0A&%70wd=…;key=…#token=…",
        ),
        ("rtsp://a:b/c@camera/", "rtsp://…"),
        ("http://[broken", "http://…"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown
