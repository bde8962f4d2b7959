import csv
import io
import weakref
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldtrial.detection.boxes import Detections
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.moments import Moment
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.tracking import detection_table
from fieldtrial.video.tracking.analysis import Analysis, Followed
from fieldtrial.video.tracking.detection_table import read_detections, written_detections
from fieldtrial.video.tracking.replay import Replay, Stretch, stretch_of
from fieldtrial.video.tracking.tables import write_tables
from tests.video.tracking.scenes import (
    CAR,
    CLASS_NAMES,
    MIDDLE,
    SETTINGS,
    TRUCK,
    Vehicle,
    analyse,
    scene,
    steady,
)

ZONE = Zone("kerb", ((300.0, 0.0), (640.0, 0.0), (640.0, 480.0), (300.0, 480.0)))
# The second comes in the second minute and stays in the zone until the end of the video.
VEHICLES = [
    Vehicle(((0.0, 40.0, 300.0), (4.0, 600.0, 300.0))),
    Vehicle(((62.0, 600.0, 100.0), (66.0, 40.0, 100.0)), scores=((TRUCK, 0.9),)),
    Vehicle(((50.0, 500.0, 200.0), (90.0, 500.0, 200.0))),
]
TIMES = steady(90, 5)


def rows(path: Inside) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_tables_say_what_was_found(tmp_path: Path) -> None:
    outcome = Outcome(Inside(tmp_path))
    frames = scene(VEHICLES, TIMES)
    _, followed = analyse(frames, zones=[ZONE], rate=5)
    write_tables(outcome, {"a.mp4": followed}, [MIDDLE], [ZONE], CLASS_NAMES)
    counts = rows(outcome.counts_path)
    assert len(counts) == 2 * len(CLASS_NAMES) * 2  # directions, classes, minutes
    assert [
        (row["line"], row["direction"], row["class"], row["minute"], row["count"])
        for row in counts
        if row["count"] != "0"
    ] == [("middle", "right", "truck", "1", "1"), ("middle", "left", "car", "0", "1")]
    first, second = rows(outcome.crossings_path)
    assert {**first, "x": "", "y": ""} == {
        **{"video": "a.mp4", "line": "middle", "direction": "left", "class": "car"},
        **{"track": "1", "time": "2.2", "x": "", "y": ""},
        **{"left": "318.0", "top": "280.0", "right": "378.0", "bottom": "320.0"},
    }
    assert (first["x"], first["y"]) == ("320.0", "300.0")
    assert (second["class"], second["time"]) == ("truck", "64.2")
    tracks = rows(outcome.tracks_path)
    assert [(row["class"], row["first"], row["last"], row["frames"]) for row in tracks] == [
        ("car", "0.0", "4.0", "21"),
        ("car", "50.0", "90.0", "201"),
        ("truck", "62.0", "66.0", "21"),
    ]
    assert tracks[0]["path"] == "40.0 300.0 0.000;600.0 300.0 4.000"
    # The first vehicle is in the zone for 2.0 s of the first minute, the third for 10 s of it.
    stays = [(row["class"], row["first"], row["seconds"]) for row in rows(outcome.stays_path)]
    assert stays == [("car", "2.0", "2.0"), ("car", "50.0", "40.0"), ("truck", "62.0", "2.0")]
    assert [list(row.values())[1:] for row in rows(outcome.zones_path)] == [
        ["kerb", "0", "0.2", "1", "2"],
        ["kerb", "1", f"{32 / 30:.3f}", "2", "1"],
    ]


def test_a_video_without_vehicles_has_tables(tmp_path: Path) -> None:
    outcome = Outcome(Inside(tmp_path))
    _, followed = analyse(scene([], steady(1)), zones=[ZONE])
    write_tables(outcome, {"a.mp4": followed}, [MIDDLE], [ZONE], CLASS_NAMES)
    assert [row["count"] for row in rows(outcome.counts_path)] == ["0"] * 10
    assert [row["most"] for row in rows(outcome.zones_path)] == ["0"]
    for path in (outcome.crossings_path, outcome.tracks_path, outcome.stays_path):
        assert rows(path) == []


def written(
    outcome: Outcome, frames: list[tuple[float, Detections]]
) -> tuple[list[Moment], Followed]:
    analysis = Analysis([MIDDLE], [ZONE], CLASS_NAMES, 5.0, SETTINGS)
    moments = []
    with written_detections(outcome, CLASS_NAMES) as table:
        for number, (time, detections) in enumerate(frames):
            moments.append(analysis.update(time, detections))
            table.add("a.mp4", number, time, detections, analysis)
    return moments, analysis.finish()


@pytest.mark.parametrize("first", [5, 100])  # in the first track; between all crossings
def test_a_stretch_is_told_again_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(detection_table, "GROUP_ROWS", 7)  # tracks begin at a group's end, too
    outcome = Outcome(Inside(tmp_path))
    weak = replace(VEHICLES[0], scores=((CAR, SETTINGS.confidence),))
    frames = list(scene([*VEHICLES, weak], TIMES, tremble=1.0))
    moments, followed = written(outcome, frames)
    assert pq.ParquetFile(tmp_path / "detections.parquet").num_row_groups > 20
    table = pq.read_table(tmp_path / "detections.parquet")
    assert len(table) == sum(len(found) for _, found in frames)
    seen = np.bincount(table["track"].drop_null().to_numpy())
    assert seen[1:].tolist() == [track.frames for track in followed.tracks]

    last = len(frames)
    kept = msgspec.json.decode(
        msgspec.json.encode(stretch_of(followed, [MIDDLE], frames[first][0], 1e9)), type=Stretch
    )
    found = read_detections(outcome, "a.mp4", CLASS_NAMES, first, last)
    again = Replay(kept, found, [MIDDLE], [ZONE], SETTINGS.anchor)
    two = read_detections(outcome, "a.mp4", CLASS_NAMES, only=[300, 315])
    assert sorted(two) == [300, 315]
    assert np.array_equal(two[315].detections.boxes, found[315].detections.boxes)
    assert read_detections(outcome, "b.mp4", CLASS_NAMES) == {}
    assert read_detections(outcome, "a.mp4", CLASS_NAMES, only=[]) == {}
    births = {round(track.first, 3) for track in followed.tracks}
    for number in range(first, last):
        time, detections = frames[number]
        told, was = again.moment(number, time), moments[number]
        assert (told.time, told.crossings, told.counts) == (time, was.crossings, was.counts)
        if number in found:
            assert np.array_equal(found[number].detections.boxes, detections.boxes)
            assert np.array_equal(found[number].detections.labels, detections.labels)
        if round(time, 3) not in births:  # where the track was not yet known to be one
            assert told.occupancy == was.occupancy
            for name in ("ids", "boxes", "scores", "labels"):
                assert np.array_equal(getattr(told.tracks, name), getattr(was.tracks, name)), name


def test_frames_without_vehicles_take_no_memory(tmp_path: Path) -> None:
    empty = np.zeros(0, np.int64)
    analysis = Analysis([], [], CLASS_NAMES, 25, SETTINGS)
    with written_detections(Outcome(Inside(tmp_path)), CLASS_NAMES) as table:
        kept = list[weakref.ref[Detections]]()
        for number in range(3):
            none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), empty)
            analysis.update(number / 25, none)
            table.add("a.mp4", number, number / 25, none, analysis)
            kept.append(weakref.ref(none))
        assert [one() is None for one in kept] == [True, True, False]
    assert read_detections(Outcome(Inside(tmp_path)), "a.mp4", CLASS_NAMES) == {}


def test_another_table_is_refused(tmp_path: Path) -> None:
    outcome = Outcome(Inside(tmp_path))
    path = tmp_path / "detections.parquet"
    for make in (
        lambda: path.write_bytes(b"PAR1 no table"),
        lambda: pq.write_table(pa.table({"video": ["a.mp4"]}), path),
    ):
        make()
        with pytest.raises(UnreadableError, match="not a table of detections"):
            read_detections(outcome, "a.mp4", CLASS_NAMES)
    written(outcome, list(scene(VEHICLES, [0.0, 0.2])))
    with pytest.raises(UnreadableError, match="class 'car'; must be one of dog"):
        read_detections(outcome, "a.mp4", ["dog"])
    table = pq.read_table(path)
    gaps = pa.array([None] * len(table), pa.float64())
    pq.write_table(table.set_column(2, "time", gaps), path)
    with pytest.raises(UnreadableError, match="a value is missing"):
        read_detections(outcome, "a.mp4", CLASS_NAMES)
    many = table.take(np.zeros(1_000_001, np.int64))
    pq.write_table(many, path, row_group_size=len(many))
    with pytest.raises(UnreadableError, match="rows in one group"):
        read_detections(outcome, "a.mp4", CLASS_NAMES)


def test_a_table_that_is_broken_off_leaves_the_one_before(tmp_path: Path) -> None:
    outcome = Outcome(Inside(tmp_path))
    written(outcome, list(scene(VEHICLES, [0.0, 0.2])))
    before = (tmp_path / "detections.parquet").read_bytes()
    with pytest.raises(KeyboardInterrupt), written_detections(outcome, CLASS_NAMES):
        raise KeyboardInterrupt
    assert (tmp_path / "detections.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["detections.parquet"]


def test_names_that_a_line_may_have_stay_as_they_are(tmp_path: Path) -> None:
    outcome = Outcome(Inside(tmp_path))
    line = Line('Nörd "1", left: 2', (320.0, 0.0), (320.0, 480.0))
    _, followed = analyse(scene(VEHICLES[:1], steady(4, 5)), [line], rate=5)
    write_tables(outcome, {"ä b.mp4": followed}, [line], [], CLASS_NAMES)
    (row,) = rows(outcome.crossings_path)
    assert (row["video"], row["line"]) == ("ä b.mp4", line.name)
