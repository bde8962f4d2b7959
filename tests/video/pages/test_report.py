"""The report of videos: what its texts and data say, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages import gallery as report_gallery
from fieldtrial.video.pages import places as report_places
from fieldtrial.video.pages.heat import HeatMap
from fieldtrial.video.pages.report import main, render_report
from tests.video.pages.conftest import Made


def data(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        page.split('id="report-data">')[1].split("</script>", maxsplit=1)[0]
    )
    return found


def cells(page: str, table: str) -> list[list[str]]:
    """Return the texts of a table's rows, by the id before it."""
    part = page.split(f'id="{table}"')[1].split("</table>", maxsplit=1)[0]
    rows = part.split("<tr>")[1:]
    return [
        [cell.split(">", 1)[1].split("<")[0] for cell in row.split("<t")[1:] if cell[0] in "dh"]
        for row in rows
    ]


@pytest.fixture
def outcome(made: Made) -> Outcome:
    for name in ("one.mp4", "two.mp4"):
        made.video(name, 20)
    made.line("main road")
    made.zone("stop")
    outcome = made.write()
    made.pictures()
    return outcome


def test_the_totals_are_those_of_the_counts(outcome: Outcome, made: Made) -> None:
    page = render_report(outcome)
    # by hand: 120 vehicles a video, every third to the left; even ones are cars
    assert cells(page, "totals-table")[1:] == [
        ["main road", "→ right", "160", "240", "80", "80", "60 at 0:00 to 0:15 of one.mp4"],
        ["main road", "← left", "80", "120", "40", "40", "30 at 0:00 to 0:15 of one.mp4"],
        ["all", "240", "", "120", "120", ""],
    ]
    assert [row[4:] for row in cells(page, "by-video")[1:]] == [["80", "40"]] * 2
    found = data(page)
    assert sum(found["counts"]["columns"]["count"]) == len(made.crossings) == 240
    assert found["starts"] == [0, 1200, 2400]
    assert len(found["gallery"]["crossings"]["time"]) == 240
    marked = re.findall(r'class="mark count"[^>]*>([^<]*)<', page)
    assert marked == 2 * ["160", "80", "80", "40", "80", "40"]  # on paths and heat map: all, each
    assert "0:00:06" in page  # not seen: 2 × 2.5 seconds, and 2 × 5 of 10 frames a second


def test_snapshots_stand_beside_their_crossings(outcome: Outcome) -> None:
    columns = data(render_report(outcome))["gallery"]["crossings"]
    assert [place for place in columns["picture"] if place >= 0] == list(range(8))
    named = {name: (columns["track"][at]) for at, name in enumerate(columns["file"]) if name}
    assert set(named) == {path.name for path in Path(outcome.snapshots_folder).iterdir()}
    assert all(name.endswith(f"_{track}.jpg") for name, track in named.items())


def test_too_many_crossings_are_thinned_out_and_pictures_stay_few(
    outcome: Outcome, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.pictures(most=240)
    monkeypatch.setattr(report_gallery, "MOST_LISTED", 50)
    monkeypatch.setattr(report_gallery, "MOST_PICTURES", 20)
    page = render_report(outcome)
    columns = data(page)["gallery"]["crossings"]
    streams = list(zip(columns["direction"], columns["class"], strict=True))
    assert {stream: streams.count(stream) for stream in streams} == {
        (0, 0): 12, (0, 1): 12, (1, 0): 12, (1, 1): 12,
    }  # fmt: skip
    assert set(columns["video"]) == {0, 1}
    assert sum(place >= 0 for place in columns["picture"]) == 20
    assert "48 of 240 crossings are listed here" in page
    monkeypatch.setattr(report_gallery, "PICTURE_BYTES", 1)
    assert len(data(render_report(outcome))["gallery"]["pictures"]) == 1


def test_drawn_paths_are_spread_over_the_video() -> None:
    found = report_places._Found((320, 240), HeatMap((320, 240)))
    for number in range(10_000):
        found.add(0, np.array([[1.0, 1, number], [2, 2, number + 1]]))
    begins = [path[0, 2] for _, path in found.paths]
    assert report_places.MOST_PATHS / 2 <= len(begins) <= report_places.MOST_PATHS
    assert len(set(np.diff(begins))) == 1
    assert begins[0] == 0
    assert begins[-1] > 9900


def test_a_video_without_vehicles_has_a_page(made: Made) -> None:
    made.video("empty.mp4", minutes=0)
    made.line("main road")
    page = render_report(made.write())
    assert "No vehicle crossed a line." in page
    assert "No vehicle was found." in page
    assert data(page)["counts"]["columns"]["count"] == []


def test_without_lines_the_page_says_how_to_count(made: Made) -> None:
    made.video("lonely.mp4")
    page = render_report(made.write())
    assert "--line NAME:x1,y1,x2,y2" in page
    assert 'id="toolbar"' not in page


def share(hits: int, of: int, low: float | None, high: float | None) -> dict[str, Any]:
    return {"hits": hits, "of": of, "share": hits / of if of else None, "low": low, "high": high}


def test_agreement_with_labels_has_intervals(made: Made) -> None:
    made.video("one.mp4")
    made.line("main road")
    some, none = share(45, 50, 0.82, 0.951), share(0, 0, None, None)
    counted = {"by_hand": 31, "counted": 29, "ratio": 29 / 31, "low": 0.63, "high": 1.34}
    times = {"first": 0.0, "last": None, "found": share(28, 31, None, None), "right": None}
    made.agreement = {
        "overlap": 0.5,
        "frames": 12,
        "shared_frames": 1,
        "labelled": 50,
        "detections": {"precision": some, "recall": some},
        "tracked": {"precision": share(3, 4, None, None), "recall": some},
        "right_class": some,
        "classes": [
            {"name": "<b>car", "precision": some, "recall": none},
            {"name": "bus", "precision": none, "recall": none},
        ],
        "per_frame": {"error": -0.25, "low": -0.5, "high": 0.0, "absolute": 0.4},
        "counts": [{"line": "main road", "direction": "left", **counted, **times}],
        "passed": {"frames that were not looked at": 2},
    }
    page = render_report(made.write())
    part = page.split('id="agreement"')[1].split("</section>")[0]
    rows = [row.split("</tr>")[0] for row in part.split("<tr>")[1:]]
    assert [row.count("<td") for row in rows] == [0, 3, 3, 3, 0, 8]
    assert "75.0 %, 3 of 4" in rows[1]
    assert "90.0 % (82.0 to 95.1), 45 of 50" in rows[2]
    assert "&lt;b&gt;car, with a track" in rows[3]
    assert "0.94 (0.63 to 1.34)" in rows[5]
    assert "0:00:00 to the end" in rows[5]
    assert "−0.25 on average (−0.50 to +0.00), 0.40 without signs" in part
    assert "Left out, frames that were not looked at: 2." in part
    assert "1 frame have" not in part


def test_what_is_no_picture_is_told(outcome: Outcome) -> None:
    still = outcome.still_path("one.mp4").path
    still.write_bytes(still.read_bytes()[:500])
    snapshot = min(outcome.snapshots_folder.path.iterdir())
    snapshot.write_bytes(b"GIF89a")
    page = render_report(outcome)
    assert "1 file there cannot be shown as a picture." in page
    assert len(data(page)["gallery"]["pictures"]) == 7


def broken(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("crossings.csv", ",car,0,", ",lorry,0,", "line 2: class is 'lorry'; it is not in summary"),
        (
            "crossings.csv",
            ",car,0,",
            ",car,-1,",
            "line 2: track is '-1'; it must be a whole",
        ),
        ("crossings.csv", ",car,0,", ",car,", "line 2: 5 values; must be 6"),
        ("crossings.csv", "track", "number", "has no column track"),
        ("crossings.csv", "0.000", "nan", "line 2: time is 'nan'; it must be a number from 0"),
        ("tracks.csv", ";100.5 200", ";100.5 nan", "line 2: a path must be x y t;x y t;"),
        ("zones.csv", "stop", "go", "line 2: zone is 'go'; it is not in summary.json"),
        ("summary.json", '"width": 320', '"width": 0', "not a JSON file of this program"),
        ("summary.json", "two.mp4", "one.mp4", "the name 'one.mp4' is there twice"),
    ],
)
def test_a_damaged_file_is_named(
    outcome: Outcome, name: str, old: str, new: str, message: str
) -> None:
    path = outcome.folder.path / name
    broken(path, old, new)
    with pytest.raises(UnreadableError) as caught:
        render_report(outcome)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_link_is_not_followed(outcome: Outcome, tmp_path: Path) -> None:
    outcome.crossings_path.path.rename(tmp_path / "elsewhere")
    outcome.crossings_path.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        render_report(outcome)


def test_the_command_writes_it_again(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outcome.folder)]) == 0
    assert capsys.readouterr().out.strip() == str(outcome.report_path)
    assert outcome.report_path.read_text().startswith("<!doctype html>")
    outcome.summary_path.unlink()
    assert main([str(outcome.folder)]) == 2
    assert "so nothing was found in videos here yet" in capsys.readouterr().err
