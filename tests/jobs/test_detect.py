"""jobs/detect.py in this process: from a video to its tables, again and again, whatever comes."""

import argparse
import csv
import errno
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from fieldtrial.detection.boxes import Detections
from fieldtrial.detection.detector import Detector
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.video.analyses.command import Prepared, prepare
from fieldtrial.video.analyses.summing import labels_of
from fieldtrial.video.flags import add_options
from fieldtrial.video.media.index import index_video
from fieldtrial.video.media.stored import write_index
from fieldtrial.video.options import Options
from fieldtrial.video.segments import detect as detecting
from fieldtrial.video.segments.parts import read_parts
from fieldtrial.video.videos import stored
from tests.job_commands import main_of
from tests.video.media.servers import http, server
from tests.video.traffic import (
    CARS,
    CONFIG,
    FRAMES,
    LINE,
    RATE,
    detector_flags,
    kept_handlers,
    write_traffic,
)

Detect = Callable[..., int]
detect_main = main_of("detect.py")
TABLES = ("counts.csv", "crossings.csv", "tracks.csv", "zones.csv", "stays.csv")


class Counted:
    """The detector, which counts frames; something may happen before one, as an interruption."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames, self.fails = 0, dict[int, BaseException | Callable[[], None]]()
        detect = Detector.detect

        def counted(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            for _ in images:
                what = self.fails.pop(self.frames, None)
                if isinstance(what, BaseException):
                    raise what
                if what:
                    what()
            self.frames += len(images)
            return detect(detector, images)

        monkeypatch.setattr(Detector, "detect", counted)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    with kept_handlers():
        yield


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(detecting, "PART_SECONDS", 0.0)  # a part for each frame
    return Counted(monkeypatch)


def flags_of(folder: Path, name: str, line: str = LINE) -> list[str]:
    """Return the flags of an analysis of the traffic in `folder`, in its run directory `name`."""
    video, detector = folder / "traffic.mp4", detector_flags(folder / "net")
    if not video.exists():
        write_traffic(video)
    places = ["--run", str(folder / name), "--video", str(video), "--line", line]
    return [*places, *detector, "--segment_seconds", "1"]


def prepared(folder: Path, name: str) -> Prepared:
    """Return the same analysis, ready to be run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run")
    parser.add_argument("--cluster")
    add_options(parser)
    return prepare(parser.parse_args(flags_of(folder, name)))


@pytest.fixture
def detect(tmp_path: Path) -> Detect:
    """Return what runs the command on a video of traffic, in the run directory `name`."""

    def run(name: str, *more: str, line: str = LINE) -> int:
        return detect_main([*flags_of(tmp_path, name, line), *more])

    return run


def tables(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in TABLES}


def summary(folder: Path) -> Any:
    return json.loads((folder / "summary.json").read_text())


def test_a_video_becomes_tables_pictures_and_a_report_and_nothing_is_done_twice(
    tmp_path: Path, detect: Detect, counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert detect("one") == 0, capsys.readouterr().err
    folder = tmp_path / "one"
    assert counted.frames == FRAMES
    rows = list(csv.DictReader((folder / "crossings.csv").open()))
    assert len(rows) == len(CARS)
    ways = sorted(row["direction"] for row in rows)
    assert ways == ["left", "left", "right"]  # of somebody who walks down the picture
    about = summary(folder)["videos"][0]
    assert (about["frames"], about["tracks"], about["skipped"]) == (FRAMES, len(CARS), [])
    assert len(list((folder / "snapshots").iterdir())) == len(CARS)
    with av.open(str(folder / "traffic.mp4.annotated.mp4")) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert times == pytest.approx(np.arange(FRAMES) / RATE, abs=1e-3)
    assert "report.html" in capsys.readouterr().out
    before = (tables(folder), (folder / "detections.parquet").read_bytes())
    assert len(VideosFolder(folder).tasks("detect")) == 4

    assert detect("one") == 0
    assert counted.frames == FRAMES
    assert (tables(folder), (folder / "detections.parquet").read_bytes()) == before

    # Another line: vehicles are followed again, and the segments are drawn again.
    assert detect("one", line="gate:80,0,80,96") == 0
    assert counted.frames == FRAMES
    names = [path.name for path in (folder / "snapshots").iterdir()]
    assert len([name for name in names if "_gate_" in name]) == len(names) == len(CARS)
    assert {row["line"] for row in csv.DictReader((folder / "crossings.csv").open())} == {"gate"}
    assert len(VideosFolder(folder).tasks("draw")) == 4

    labels = tmp_path / "labels.json"
    by_hand = {"middle": {"left": 2, "right": 1}}
    labels.write_text(json.dumps({"counts": by_hand}))
    assert detect("one", "--check", str(labels)) == 0
    (left, right) = summary(folder)["agreement"]["counts"]
    assert (left["by_hand"], left["counted"], right["counted"]) == (2, 2, 1)

    capsys.readouterr()
    (tmp_path / "other.cfg").write_text(CONFIG.replace("anchors=16", "anchors=17"))
    others = ["--classes", "all", "--config", str(tmp_path / "other.cfg")]
    assert detect("one", "--confidence", "0.4", "--stride", "2", *others) == 2
    said = capsys.readouterr().err
    assert "classes = all: it was begun with car" in said
    assert "description_digest = " in said
    assert "confidence = 0.4: it was begun with 0.15" in said
    assert "stride = 2: it was begun with 1" in said
    assert tables(folder) == before[0]
    assert main_of("status.py")([str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "detect: 4 tasks, 4 finished",
        "draw: 4 tasks, 4 finished",
    ]


def test_an_analysis_that_is_interrupted_or_has_no_room_goes_on_where_it_ended(
    tmp_path: Path,
    detect: Detect,
    counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert detect("whole") == 0
    counted.frames = 0
    full = OSError(errno.ENOSPC, "No space left on device", "part")
    folder = VideosFolder(tmp_path / "ended")

    def take_over() -> None:
        folder.set_owner({**(folder.owner() or {}), "token": "another machine's"})

    counted.fails = {16: KeyboardInterrupt(), 20: take_over, 42: full, 72: RuntimeError("broken")}
    statuses = [detect("ended") for _ in range(5)]
    assert statuses == [130, 1, 1, 1, 0]
    said = capsys.readouterr()
    assert "has taken this analysis over, and this driver has ended" in said.err
    assert "part: No space left on device; fix that and run the same command again" in said.err
    assert "failed: detect-0000-" in said.out
    assert counted.frames == FRAMES
    assert tables(tmp_path / "ended") == tables(tmp_path / "whole")
    numbers = [
        frame.number
        for name in folder.tasks("detect")
        for segment in [folder.segment_run(name)]
        for part in read_parts(segment, segment.segment().first)
        for frame in part.frames
    ]
    assert numbers == list(range(FRAMES))
    damaged = folder.segment_run(folder.tasks("detect")[2]).parts()[1]
    Path(damaged).write_bytes(b"")
    assert [detect("ended"), detect("ended")] == [2, 0]
    assert "run the same command again, which does the task once more" in capsys.readouterr().err
    assert tables(tmp_path / "ended") == tables(tmp_path / "whole")
    monkeypatch.undo()
    assert detect("coarse", "--stride", "5") == 0
    assert summary(tmp_path / "coarse")["videos"][0]["frames"] == FRAMES / 5


def test_an_empty_road_is_a_valid_result(tmp_path: Path, detect: Detect) -> None:
    assert detect("empty", "--confidence", "0.9999999") == 0
    assert summary(tmp_path / "empty")["videos"][0]["tracks"] == 0
    assert (tmp_path / "empty" / "report.html").exists()


def test_a_stream_gives_what_its_file_does_and_is_kept_if_the_program_dies(
    tmp_path: Path, counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    video, flags = write_traffic(tmp_path / "traffic.ts", 80), detector_flags(tmp_path / "net")
    content = video.read_bytes()

    def serve(connection: socket.socket, _: int) -> None:
        http(connection, "video/mp2t", len(content))
        connection.sendall(content)

    def watch(name: str, source: str) -> int:
        where = ["--run", str(tmp_path / name), "--line", LINE, "--video", source]
        return detect_main([*where, *flags])

    with server(serve) as port:
        url = f"http://me:secret@127.0.0.1:{port}/traffic.ts"
        assert watch("file", str(video)) == watch("live", url) == 0, capsys.readouterr().err
        assert tables(tmp_path / "live") == tables(tmp_path / "file")
        snapshots = [sorted((tmp_path / one / "snapshots").iterdir()) for one in ("file", "live")]
        assert [path.name for path in snapshots[0]] == [path.name for path in snapshots[1]]
        assert "secret" not in (tmp_path / "live" / "analysis.json").read_text()
        assert watch("live", url) == 2
        assert "holds a stream's analysis, which is over" in capsys.readouterr().err
        assert VideosFolder(tmp_path / "live").lines() == ["detect: 1 task, 1 finished"]
        counted.frames, counted.fails = 0, {50: RuntimeError("the program dies")}
        with pytest.raises(RuntimeError):
            watch("dead", url)
        counted.fails = {50: AssertionError("it must not be watched again")}
        assert watch("dead", url) == 0
        assert summary(tmp_path / "dead")["videos"][0]["frames"] == 50


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--line", "far:0,0,500,0"], "(500, 0) is outside of the frame"),
        (["--zone", "z:1,1,2,2"], "has 2 points; must have at least three"),
        (["--stride", "0"], "stride = 0: must be at least 1"),
        (["--weights", "gone.weights"], "no such file"),
        (["--video", "gone.mp4"], "gone.mp4: does not exist"),
        (["--check", "gone.json"], "gone.json: does not exist; must be COCO's JSON"),
        (["--video", __file__], "finds none in it (Invalid data found"),
        (["--run", __file__], "is a file; --run must be a directory, or new"),
        (["--lost_seconds", "-1"], "lost_seconds = -1.0: must be"),
    ],
)
def test_bad_input_is_told_in_a_line_and_writes_nothing(
    tmp_path: Path,
    detect: Detect,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    told: str,
) -> None:
    assert detect("bad", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "bad").exists()


def test_all_that_is_wrong_is_told_at_once_and_a_sweeps_folder_is_left_alone(
    tmp_path: Path, detect: Detect, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [
        *("--stride", "0", "--lost_seconds", "-1", "--zone", "z:1,1,2,2", "--line", "a"),
        *("--weights", "gone.weights", "--names", "gone.names"),
    ]
    assert detect("bad", *wrong) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(set(said)) == 6
    held = {"sweep.json": "sweep", "config.json": "run", "report.html": "report of other runs"}
    for name, what in held.items():
        folder = tmp_path / what
        folder.mkdir()
        (folder / name).write_text("{}")
        assert detect(what) == 2
        assert f"{folder} holds a {what}; give another --run" in capsys.readouterr().err
        assert [path.name for path in folder.iterdir()] == [name]


def test_labels_without_names_have_the_numbers_of_the_runs_network(tmp_path: Path) -> None:
    Run(tmp_path / "run").write_result({"outcome": "finished", "class_names": ["bus", "car"]})
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    options = Options(
        videos=("traffic.mp4",),
        detector=DetectorSettings(weights=str(tmp_path / "run")),
        weights_digest="",
        description_digest="",
        tracking={},
        check=str(tmp_path / "labels"),
    )
    index = index_video(write_traffic(tmp_path / "traffic.mp4", 2))
    labels = labels_of(options, [index], ["bus", "car"])
    assert labels is not None
    assert [frame.labels.tolist() for frame in labels.frames.values()] == [[1]]


def test_the_index_of_another_video_is_refused(tmp_path: Path) -> None:
    folder = VideosFolder(tmp_path)
    index = index_video(write_traffic(tmp_path / "traffic.mp4", 2))
    write_index(index, folder.index_path(0))
    assert stored(folder, ["one", "two"]) is None
    found = stored(folder, [str(index.path)])
    assert found is not None
    assert len(found[0]) == 2
    with pytest.raises(UnreadableError, match=f"another video, {index.path}, not /one"):
        stored(folder, ["/one"])
