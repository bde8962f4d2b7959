"""What is drawn on frames, looked for in their pixels."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.moments import Crossing, Moment, Tracks
from fieldtrial.video.pages.drawing import Drawing, clock
from fieldtrial.video.pages.paint import BLACK, BRIGHT, YELLOW, class_colour

NAMES = ("bicycle", "car", "motorbike", "bus", "truck")
SIZE = 320, 240
EAST = Line("main road", (60, 120), (260, 120))  # so right is below: y grows downwards
Pixels = NDArray[np.uint8]


def moment(
    time: float = 0.0,
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    crossings: tuple[Crossing, ...] = (),
    counts: dict[tuple[str, str], int] | None = None,
    occupancy: dict[str, int] | None = None,
) -> Moment:
    count = len(boxes)
    tracks = Tracks(
        np.arange(1, count + 1),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.array(labels or [0] * count),
    )
    return Moment(time, tracks, crossings, counts or {}, occupancy or {})


def grey(shade: int, size: tuple[int, int] = SIZE) -> Pixels:
    return np.full((size[1], size[0], 3), shade, np.uint8)


def where(one: Pixels, other: Pixels) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns at which two frames differ."""
    rows, columns = (one != other).any(axis=2).nonzero()
    assert len(rows)
    return rows, columns


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080)])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_vehicle_has_edges_in_its_colour_with_dark_rims(
    size: tuple[int, int], shade: int
) -> None:
    drawing, image = Drawing(size, (), (), NAMES), grey(shade, size)
    drawn = drawing.draw(image, moment(boxes=[(100, 100, 180, 160)], labels=[1]))
    assert (image == shade).all()
    thick = 1 if size[0] == 320 else 3
    edge = drawn[130, 98 : 102 + thick].tolist()
    dark, coloured = list(BLACK), list(class_colour(1))
    assert edge == [[shade] * 3, dark, *[coloured] * thick, dark, [shade] * 3][: len(edge)]


def test_names_and_times_are_legible_at_every_size() -> None:
    for size in ((64, 48), (320, 240), (1280, 720), (3840, 2160)):
        image = grey(128, size)
        drawn = Drawing(size, (), (), NAMES).draw(image, moment(time=3723.44))
        rows, columns = where(drawn, image)
        assert rows.max() == size[1] - 1
        assert columns.min() == 0
        assert rows.max() - rows.min() >= max(10, size[1] / 45)
    assert clock(3723.44) == "1:02:03.4"


def test_colours_are_told_apart_by_the_colour_blind_and_bear_black_letters() -> None:
    def linear(colours: NDArray[np.float64]) -> NDArray[np.float64]:
        share = colours / 255
        return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)

    light = linear(np.array(BRIGHT[:5], float))
    luminance = light @ [0.2126, 0.7152, 0.0722]
    dark = linear(np.array(BLACK, float)) @ [0.2126, 0.7152, 0.0722]
    assert ((luminance + 0.05) / (dark + 0.05)).min() > 7  # the contrast that WCAG calls enhanced
    # Machado, Oliveira & Fernandes (2009), severity 1: protanopia and deuteranopia
    protan = "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998"
    deutan = "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881"
    seen = [np.array(numbers.split(), float).reshape(3, 3) for numbers in (protan, deutan)]
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    for matrix in (np.eye(3), *seen):
        xyz = (light @ matrix.T).clip(0) @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        sides = [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
        lab = np.stack(sides, axis=1)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert apart[~np.eye(5, dtype=bool)].min() > 15


def test_a_count_stands_on_the_side_that_its_direction_leads_to() -> None:
    def drawn(**counts: int) -> Pixels:
        found = {(EAST.name, direction): count for direction, count in counts.items()}
        return Drawing(SIZE, [EAST], (), NAMES).draw(grey(90), moment(counts=found))

    rows, _ = where(drawn(right=1, left=1), drawn(right=2, left=1))
    assert rows.min() > 120
    rows, _ = where(drawn(right=1, left=1), drawn(right=1, left=2))
    assert rows.max() < 120


def test_a_name_stands_at_the_start_of_its_line() -> None:
    one, other = (
        Drawing(SIZE, [Line(name, EAST.start, EAST.end)], (), NAMES).draw(grey(90), moment())
        for name in ("a", "b")
    )
    _, columns = where(one, other)
    assert columns.max() < 60


def test_a_count_is_lit_for_half_a_second() -> None:
    drawing = Drawing(SIZE, [EAST], (), NAMES)
    crossing = Crossing(EAST.name, "right", 1, 0, 1.0, (160, 120), (150, 110, 170, 130))

    def lit(time: float, *crossings: Crossing) -> bool:
        below = drawing.draw(grey(90), moment(time, crossings=crossings))[140:170, 150:170]
        return bool((below == YELLOW).all(axis=2).sum() > 40)

    states = [lit(0.9), lit(1.0, crossing), lit(1.4), lit(1.5)]
    assert states == [False, True, True, False]


def test_a_zone_says_how_many_are_in_it() -> None:
    zone = Zone("stop", ((100, 100), (200, 90), (210, 180)))
    drawing = Drawing(SIZE, (), [zone], NAMES)
    one, other = (drawing.draw(grey(90), moment(occupancy={"stop": n})) for n in (0, 7))
    rows, columns = where(one, other)
    assert rows.min() > 60
    assert rows.max() <= 100
    assert columns.min() > 150
    outside = drawing.draw(grey(90), moment())[230, 160]
    assert outside.tolist() == [90] * 3


def test_a_tail_is_the_way_of_the_last_second() -> None:
    drawing = Drawing(SIZE, (), (), NAMES, anchor="bottom")
    for step in range(41):  # two seconds to the right, along y = 100
        drawn = drawing.draw(grey(0), moment(step / 20, [(5 * step, 80, 5 * step + 20, 100)], [1]))
    trail = drawn[100, :200].max(axis=1)
    assert trail[:108].max() == 0
    assert (trail[112:195] > 0).all()
    assert trail[190] > 2 * trail[115] > 0


def test_segments_are_drawn_as_a_whole_video_would_be() -> None:
    rng = np.random.default_rng(0)
    moments = []
    for number in range(40):
        corners = rng.uniform(-30, 200, (3, 2))
        boxes = np.hstack([corners, corners + 40]).tolist()
        crossing = Crossing(EAST.name, "left", 1, 0, number / 20, (0, 0), (0, 0, 1, 1))
        new = (crossing,) if number == 18 else ()
        moments.append(moment(number / 20, boxes, [0, 1, 2], new, {(EAST.name, "left"): number}))
    whole, second = (Drawing(SIZE, [EAST], (), NAMES) for _ in range(2))
    frames = [whole.draw(grey(40), one) for one in moments]
    for one in moments[4:24]:  # a second, and no more, before the segment
        second.see(one)
    for number in range(24, 40):
        assert (second.draw(grey(40), moments[number]) == frames[number]).all()
    assert (Drawing(SIZE, [EAST], (), NAMES).draw(grey(40), moments[24]) != frames[24]).any()


def test_what_is_outside_and_names_of_any_letters_do_no_harm() -> None:
    name = "\x1b[2J\n" + "Straße 東 " * 40
    line = Line(name, (0, 0), (319, 239))
    drawing = Drawing(SIZE, [line, line], [Zone(name, ((0, 0), (10, 0), (0, 10)))], [name])
    boxes = [(-500, -500, -400, -400), (-9, -9, 900, 900), (310, 230, 400, 400), (50, 50, 50, 50)]
    for time in (0.0, 0.1):
        drawn = drawing.draw(grey(10), moment(time, boxes))
    assert drawn.shape == (240, 320, 3)
    crowd = [(x, y, x + 9, y + 9) for x in range(0, 320, 20) for y in range(0, 240, 20)]
    assert drawing.draw(grey(10), moment(0.2, crowd)).shape == (240, 320, 3)


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(48, 64, 3\); must be \(320, 240\)"):
        Drawing(SIZE, (), (), NAMES).draw(grey(0, (64, 48)), moment())
