import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from fieldtrial.config import ConfigError
from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.tracking.analysis import Analysis
from fieldtrial.video.tracking.paths import Path
from fieldtrial.video.tracking.settings import TrackingSettings
from tests.video.tracking.scenes import (
    CAR,
    CLASS_NAMES,
    MIDDLE,
    SETTINGS,
    TRUCK,
    Vehicle,
    analyse,
    counts,
    scene,
    steady,
)

# To the picture's left, so to the right of somebody who walks down the line.
WESTWARD = Vehicle(((0.0, 600.0, 100.0), (4.0, 40.0, 100.0)))
EASTWARD = Vehicle(((0.0, 40.0, 300.0), (4.0, 600.0, 300.0)))

# A scene, and how many tracks there are, and crossings to the right and to the left.
SCENES = {
    "both ways": ([WESTWARD, EASTWARD], (2, 1, 1)),
    "side by side": (
        [replace(EASTWARD, way=((0, 40, y), (4, 600, y))) for y in (100, 150, 200, 250)],
        (4, 0, 4),
    ),
    "turns round": ([Vehicle(((0, 40, 200), (2, 400, 200), (4, 40, 200)))], (1, 1, 1)),
    "goes to and fro": (
        [Vehicle(((0, 200, 200), (2, 440, 200), (4, 200, 200), (6, 440, 200), (8, 200, 200)))],
        (1, 1, 1),
    ),
    "waits on the line": (
        [Vehicle(((0, 40, 200), (2, 320, 200), (6, 320, 200), (8, 600, 200)))],
        (1, 0, 1),
    ),
    "waits on the line and goes back": (
        [Vehicle(((0, 40, 200), (2, 320, 200), (6, 320, 200), (8, 40, 200)))],
        (1, 0, 0),
    ),
    "stands on the line": ([Vehicle(((0, 320, 200), (9, 320, 200)))], (1, 0, 0)),
    "appears beyond the line": ([Vehicle(((0, 340, 200), (3, 600, 200)))], (1, 0, 0)),
    "is hidden at the line": ([replace(EASTWARD, hidden=(1.6, 2.4))], (1, 0, 1)),
    "meets another behind it": (
        [EASTWARD, Vehicle(((0.0, 600.0, 310.0), (4.0, 40.0, 310.0)))],
        (2, 1, 1),
    ),
    "is overtaken": (
        [EASTWARD, Vehicle(((0.0, 100.0, 315.0), (6.0, 600.0, 315.0)))],
        (2, 0, 2),
    ),
    "nothing": ([], (0, 0, 0)),
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("tremble", [0.0, 1.5])
def test_known_scenes_have_known_counts(name: str, tremble: float) -> None:
    vehicles, expected = SCENES[name]
    moments, followed = analyse(scene(vehicles, steady(9), tremble))
    assert (len(followed.tracks), *counts(followed)) == expected
    assert sum(len(moment.crossings) for moment in moments) == sum(expected[1:])
    assert moments[-1].counts == dict(
        zip([("middle", "right"), ("middle", "left")], expected[1:], strict=True)
    )


def test_counts_do_not_depend_on_when_frames_come() -> None:
    """Frames of uneven length, every third frame, detections missed: the vehicles are the same."""
    draws = np.random.default_rng(1)
    for seed in range(5):
        starts = np.arange(8) * 0.9 + draws.uniform(0, 0.2, 8)
        east = draws.random(8) < 0.5
        vehicles = []
        for start, to_the_right in zip(starts, east, strict=True):
            y, long = draws.uniform(30, 450), draws.uniform(2.5, 5)
            xs = (-20.0, 660.0) if to_the_right else (660.0, -20.0)
            vehicles.append(Vehicle(((start, xs[0], y), (start + long, xs[1], y))))
        times = {
            "steady": (steady(13), 25.0),
            "stride": (steady(13, 25 / 3), 25 / 3),
            "uneven": (list(np.cumsum(draws.uniform(0.01, 0.07, 325))), 25.0),
        }
        for name, (moments, rate) in times.items():
            frames = scene(vehicles, moments, tremble=0.7, missed=0.1, seed=seed)
            _, followed = analyse(frames, rate=rate)
            assert counts(followed) == (int((~east).sum()), int(east.sum())), (seed, name)


def test_a_hidden_vehicle_keeps_its_track_for_as_long_as_is_asked_for() -> None:
    vehicles = [replace(EASTWARD, hidden=(1.0, 1.9))]
    _, kept = analyse(scene(vehicles, steady(5)))
    assert len(kept.tracks) == 1
    _, lost = analyse(scene(vehicles, steady(5)), settings=replace(SETTINGS, lost_seconds=0.5))
    assert [(round(one.first, 2), round(one.last, 2)) for one in lost.tracks] == [
        (0.0, 0.96),
        (1.92, 4.0),
    ]


def test_tracks_go_on_where_frames_are_rarer_than_lost_seconds() -> None:
    slow = Vehicle(((0.0, 280.0, 200.0), (20.0, 400.0, 200.0)))
    settings = replace(SETTINGS, lost_seconds=0.0)
    _, followed = analyse(scene([slow], steady(20, 0.5)), settings=settings, rate=0.5)
    assert (len(followed.tracks), *counts(followed)) == (1, 0, 1)


def test_a_vehicle_may_leave_its_own_place_between_two_frames() -> None:
    """With two frames a second it moves on by 70 pixels, and is 60 long."""
    _, followed = analyse(scene([WESTWARD, EASTWARD], steady(4, 2)), rate=2)
    assert (len(followed.tracks), *counts(followed)) == (2, 1, 1)


def test_tracks_go_on_in_time_where_frames_are_missing() -> None:
    """Without frames, as where a video is damaged, a vehicle is where its speed takes it, for as
    long as it may be hidden.
    """
    frames = list(scene([EASTWARD], steady(4)))
    _, followed = analyse([one for one in frames if not 1 < one[0] < 1.9])
    assert (len(followed.tracks), *counts(followed)) == (1, 0, 1)
    standing = list(scene([Vehicle(((0, 200, 200), (9, 200, 200)))], steady(9)))
    _, followed = analyse([one for one in standing if not 3 < one[0] < 6])
    assert len(followed.tracks) == 2


def test_the_way_from_the_first_detection_counts() -> None:
    """A track is one only from its second detection on, and the line may lie before that."""
    quick = Vehicle(((0.0, 310.0, 200.0), (1.0, 610.0, 200.0)), size=(100.0, 50.0))
    settings = replace(SETTINGS, margin=0.05)
    moments, followed = analyse(scene([quick], steady(1, 8)), settings=settings, rate=8)
    assert counts(followed) == (0, 1)
    (crossing,) = moments[1].crossings
    assert crossing.time == followed.tracks[0].first + 1 / 8
    assert crossing.point == pytest.approx((320, 200))
    assert crossing.box == pytest.approx((297.5, 175, 397.5, 225))


def test_weak_detections_go_on_with_tracks_and_begin_none() -> None:
    weak = SETTINGS.starts_from - 0.01
    low = replace(EASTWARD, scores=((CAR, weak),))
    _, followed = analyse(scene([low], steady(5)))
    assert followed.tracks == ()
    strong = list(scene([EASTWARD], steady(1)))
    late = [pair for pair in scene([low], steady(5)) if pair[0] > 1]
    _, followed = analyse([*strong, *late])
    assert [(one.frames, one.last) for one in followed.tracks] == [(101, 4.0)]
    assert counts(followed) == (0, 1)


def test_a_tracks_class_is_the_one_with_the_largest_sum_of_scores() -> None:
    """Up to the line it is found as a truck, and then as a car."""
    truck = replace(EASTWARD, scores=((TRUCK, 0.8),))
    frames = [pair for pair in scene([truck], steady(4)) if pair[0] < 2.1]
    frames += [pair for pair in scene([EASTWARD], steady(4)) if pair[0] >= 2.1]
    moments, followed = analyse(frames)
    (live,) = (crossing for moment in moments for crossing in moment.crossings)
    assert live.label == TRUCK
    assert 53 * 0.8 < 48 * 0.9
    assert [(one.label, one.frames) for one in followed.tracks] == [(CAR, 101)]
    assert [one.label for one in followed.crossings] == [CAR]
    (track,) = analyse(frames[:90])[1].tracks  # fewer of the car
    assert track.label == TRUCK


def test_lines_end_and_zones_have_occupants() -> None:
    short = Line("short", (320.0, 50.0), (320.0, 150.0))
    back = Line("back", MIDDLE.end, MIDDLE.start)
    box = Zone("box", ((200.0, 60.0), (440.0, 60.0), (440.0, 400.0), (200.0, 400.0)))
    lines = (short, MIDDLE, back)
    moments, followed = analyse(scene([WESTWARD, EASTWARD], steady(5)), lines, (box,))
    assert counts(followed, "short") == (1, 0)
    assert counts(followed, "middle") == (1, 1)
    assert [(one.line, one.direction) for one in followed.crossings if one.track == 1] == [
        ("short", "right"),
        ("middle", "right"),
        ("back", "left"),
    ]
    # 240 of 560 pixels in 4 seconds each, the frames at its borders included.
    assert [round(stay.last - stay.first, 2) for stay in followed.stays] == [1.68, 1.68]
    inside = [moment.occupancy["box"] for moment in moments]
    assert set(inside) == {0, 2}
    assert inside.count(2) == 43


def test_the_anchor_is_the_centre_or_the_lower_edge() -> None:
    level = Line("level", (0.0, 215.0), (640.0, 215.0))
    falling = Vehicle(((0.0, 300.0, 150.0), (2.0, 300.0, 210.0)))
    assert counts(analyse(scene([falling], steady(2)), [level])[1], "level") == (0, 0)
    bottom = replace(SETTINGS, anchor="bottom")
    assert counts(analyse(scene([falling], steady(2)), [level], (), bottom)[1], "level") == (1, 0)


def test_paths_are_short_and_exact() -> None:
    """A car that waits for a minute has few points, and none of its places is far from the way."""
    way = ((0, 40, 200), (2, 300, 200), (62, 300, 200), (64, 300, 460))
    frames = list(scene([Vehicle(way)], steady(64, 10), tremble=1.0))
    _, followed = analyse(frames, rate=10)
    (track,) = followed.tracks
    assert track.frames == 641
    assert len(track.path) < 60
    times = [step.time for step in track.path]
    for place in (0, 1):
        drawn = np.interp(
            [time for time, _ in frames], times, [step.point[place] for step in track.path]
        )
        seen = [(found.boxes[0, place] + found.boxes[0, place + 2]) / 2 for _, found in frames]
        assert np.abs(drawn - seen).max() <= 0.05 * 50 + 0.3  # its size trembles, too


def test_a_curve_is_as_exact_as_is_said() -> None:
    path = Path()
    angles = np.linspace(0, 2 * np.pi, 400)
    points = np.stack([200 + 100 * np.cos(angles), 200 + 100 * np.sin(angles)])
    for time, point in zip(angles, points.T, strict=True):
        path.add(float(time), (float(point[0]), float(point[1])), 40.0)
    steps = path.finish()
    times = [step.time for step in steps]
    for place in (0, 1):
        drawn = np.interp(angles, times, [step.point[place] for step in steps])
        assert 1.0 < np.abs(drawn - points[place]).max() <= 0.05 * 40
    assert 10 < len(steps) < 30


def test_the_path_of_a_box_that_trembles_for_long_stays_short() -> None:
    points = np.random.default_rng(0).normal((500, 300), 2, (9000, 2))
    path = Path()
    for number, (x, y) in enumerate(points.tolist()):
        path.add(number / 25, (x, y), 40)
    steps = path.finish()
    assert 100 < len(steps) < 2000
    assert (steps[0].time, steps[-1].time) == (0, 8999 / 25)
    times = [step.time for step in steps]
    for place in (0, 1):
        drawn = np.interp(np.arange(9000) / 25, times, [step.point[place] for step in steps])
        # Twice and four times as much as at first, of points that have been thinned out before.
        assert np.abs(drawn - points[:, place]).max() <= (1 + 2 + 4) * 0.05 * 40


def test_frames_may_share_a_time() -> None:
    frames = list(scene([EASTWARD], steady(4)))
    twice = sorted([*frames, *frames[1:-1]], key=lambda pair: pair[0])
    with warnings.catch_warnings(action="error"):
        _, followed = analyse(twice)
    assert (len(followed.tracks), *counts(followed)) == (1, 0, 1)
    assert followed.tracks[0].frames == 2 * 101 - 2
    assert [step.time for step in followed.tracks[0].path] == [0.0, 4.0]


def test_times_must_not_fall() -> None:
    first, second = scene([], [1.0, 0.96])
    analysis = Analysis([], [], CLASS_NAMES, 25.0, SETTINGS)
    analysis.update(*first)
    with pytest.raises(ValueError, match=r"frame at 0\.96 s after one at 1\.0 s"):
        analysis.update(*second)


def test_settings_out_of_bounds_are_refused_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrackingSettings(
            confidence=0.5,
            start_confidence=0.4,
            lost_seconds=float("nan"),
            margin=-1,
            anchor="top",  # type: ignore[arg-type]
        )
    names = ["start_confidence", "lost_seconds", "margin", "anchor"]
    assert [problem.split()[0] for problem in caught.value.problems] == names


def test_a_library_that_cannot_be_imported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)  # as where libGL.so.1 is missing
    with pytest.raises(ConfigError, match="apt-get install libgl1") as caught:
        Analysis([], [], CLASS_NAMES, 25.0, SETTINGS)
    assert len(str(caught.value).splitlines()) == 1
