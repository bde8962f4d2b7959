import pytest

from fieldtrial.config import ConfigError
from fieldtrial.video.geometry import Line, Zone, outside_problems, parse_lines, parse_zones

SQUARE = "a:0,0,10,0,10,10,0,10"

BAD_LINES = {
    "near": "must be NAME:x1,y1,x2,y2",
    "near:1,2,3": "has 3 numbers",
    "near:1,2": "has 1 point;",
    "near:1,2,3,4,5,6": "has 3 points",
    "near:1,2,1,2": "must have a length",
    "near:1,2,three,4": "must be numbers",
    "near:1,2,nan,4": "must be finite",
    "near:1,2,inf,4": "must be finite",
    ":1,2,3,4": "must have 1 to 60 letters",
    "=near:1,2,3,4": "must not begin with",
    "ne;ar:1,2,3,4": "no semicolon",
    "ne\x1bar:1,2,3,4": "control character",
    " near:1,2,3,4": "no space at its ends",
    "n" * 61 + ":1,2,3,4": "1 to 60",
}
BAD_ZONES = {
    "a:1,2,3,4": "has 2 points; must have at least three",
    "a:1,2,3,4,1,2": "has 2 points",
    "a:0,0,10,0,10,10,0,0,5,20": r"comes to \(0, 0\) twice",
    "a:0,0,10,10,10,0,0,10": "cross or touch",
    "a:0,0,10,0,10,10,5,0": "cross or touch",  # a corner on an edge
    "a:0,0,10,0,5,0,5,9": "cross or touch",  # goes back along an edge
    "a:0,0,5,5,10,10": "cross or touch",  # no area
    "a:0,0,5,nan,10,10": "must be finite",
}


@pytest.mark.parametrize("text", BAD_LINES)
def test_bad_lines_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=BAD_LINES[text]) as caught:
        parse_lines([text])
    assert caught.value.problems[0].startswith("--line ")


@pytest.mark.parametrize("text", BAD_ZONES)
def test_bad_zones_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=BAD_ZONES[text]):
        parse_zones([text])


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lines(["a:1,2,3,4", "b:1", "a:5,6,7,8", "c:1,1,1,1"])
    assert len(caught.value.problems) == 3
    assert "2 have the name 'a'" in caught.value.problems[2]


def test_places_are_read_and_compared_with_the_frame() -> None:
    lines = parse_lines(["north: 2:0,0,320,240", "out:-1,5,321,5"])
    assert lines[0] == Line("north: 2", (0.0, 0.0), (320.0, 240.0))
    zones = parse_zones(["b:1,2,30.5,4,5,60,1,2"])
    assert zones == (Zone("b", ((1.0, 2.0), (30.5, 4.0), (5.0, 60.0))),)
    problems = outside_problems(lines, zones, 320, 240)
    assert [problem.split(" is ")[0] for problem in problems] == [
        "line 'out': (-1, 5)",
        "line 'out': (321, 5)",
    ]


def test_right_is_where_a_walker_along_the_line_has_it() -> None:
    east = Line("east", (0.0, 10.0), (20.0, 10.0))
    assert east.distance((5.0, 14.0)) == 4  # lower in the picture, south of a walker to the east
    assert east.distance((99.0, 7.0)) == -3
    assert east.crossed_at((4.0, 8.0), (8.0, 14.0)) == pytest.approx((16 / 3, 10))
    assert east.crossed_at((18.0, 8.0), (26.0, 12.0)) is None
    assert east.crossed_at((2.0, 8.0), (-6.0, 12.0)) is None


def test_zones_hold_what_is_inside_of_any_simple_polygon() -> None:
    """Compared with OpenCV's test, on an L whose border is away from the points."""
    import cv2
    import numpy as np

    corners = ((0.0, 0.0), (90.0, 0.0), (90.0, 40.0), (40.0, 40.0), (40.0, 90.0), (0.0, 90.0))
    zone = Zone("l", corners)
    contour = np.array(corners, np.float32)
    for x in np.arange(-5.5, 100, 7):
        for y in np.arange(-5.5, 100, 7):
            inside = cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0
            assert zone.holds((float(x), float(y))) == inside
    # Two zones that share a border share no vehicle.
    halves = parse_zones(["w:0,0,5,0,5,10,0,10", "e:5,0,10,0,10,10,5,10"])
    assert [zone.holds((5.0, 5.0)) for zone in halves] == [False, True]
