"""The pictures in the report: their order, their size, and what is said of those left out."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.trials import load
from fieldtrial.results.report import pictures as report_pictures
from fieldtrial.results.report.pictures import read_pictures

if TYPE_CHECKING:
    from tests.results.conftest import Written

SHADES = np.random.default_rng(0).integers(0, 255, (300, 1500), np.uint8)


def draw(run: Run, name: str) -> None:
    path = run.picture_path(name)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(SHADES).save(path)


def read(folder: SweepFolder) -> dict[str, Any]:
    trials = load(folder.path)
    return read_pictures(
        folder,
        trials,
        folder.require_description().labels,
        list(trials.loc[trials["role"] == "final", "trial"]),
        (1, 0, 2),
    )


def test_the_winners_come_first_and_the_best_row_among_them(complete: "Written") -> None:
    search = complete.trial(0, lr=0.1)
    finals = [complete.trial(row, lr=0.01 / (row + 1), seed=100) for row in (0, 1)]
    for trial in (search, *finals):
        draw(complete.folder.run(trial), "filters")
    titles = [run["title"] for run in read(complete.folder)["runs"]]
    assert titles == [
        f"cnn · all_but_head: final run {finals[1]} with seed 100",
        f"cnn · none: final run {finals[0]} with seed 100",
        f"cnn · none: search run {search}",
    ]


def test_predictions_come_first_and_what_is_unknown_last(complete: "Written") -> None:
    for name in ("alien", "feature-maps-1", "feature-maps-2", "filters", "predictions"):
        draw(complete.folder.run(complete.trial(0, lr=0.1)), name)
    pictures = read(complete.folder)["runs"][0]["pictures"]
    names = [picture["name"] for picture in pictures]
    assert names == ["predictions", "filters", "feature maps 1", "feature maps 2", "alien"]
    assert pictures[-1]["alt"] == "alien"


def test_a_picture_is_made_smaller_and_stays_in_shape(complete: "Written") -> None:
    draw(complete.folder.run(complete.trial(0, lr=0.1)), "feature-maps-2")
    picture = read(complete.folder)["runs"][0]["pictures"][0]
    kind, text = picture["address"].split(",")
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert kind == "data:image/webp;base64"
    assert image.size == (picture["width"], picture["height"]) == (1000, 200)
    assert picture["alt"] == "feature maps 2: an image, and the outputs of layers for it"


def test_what_does_not_fit_or_is_no_picture_is_told(
    complete: "Written", monkeypatch: pytest.MonkeyPatch
) -> None:
    run = complete.folder.run(complete.trial(0, lr=0.1))
    for name in ("embedding", "filters", "grad-cam"):
        draw(run, name)
    Path(run.picture_path("predictions")).write_bytes(
        run.picture_path("filters").read_bytes()[:1000]
    )
    Path(run.picture_path("predictions-2")).write_bytes(b"GIF89a")
    size = len(read(complete.folder)["runs"][0]["pictures"][0]["address"])
    monkeypatch.setattr(report_pictures, "PICTURE_BYTES", int(1.5 * size))
    found = read(complete.folder)
    assert [picture["name"] for picture in found["runs"][0]["pictures"]] == ["embedding"]
    alien, damaged, left_out = found["notes"]
    assert f"{run.picture_path('predictions')}: no picture that can be shown" in damaged
    assert f"{run.picture_path('predictions-2')}: no picture that can be shown" in alien
    assert left_out == "2 pictures left out, to keep this page small: the runs have them all."


def test_a_picture_of_too_many_pixels_is_not_opened(
    complete: "Written", monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(complete.folder.run(complete.trial(0, lr=0.1)), "filters")
    monkeypatch.setattr(report_pictures, "MOST_PIXELS", 300 * 1500 - 1)
    assert "1500 × 300 pixels" in read(complete.folder)["notes"][0]


def test_a_picture_higher_than_webp_can_be_is_not_drawn(complete: "Written") -> None:
    run = complete.folder.run(complete.trial(0, lr=0.1))
    draw(run, "filters")  # so that there is a folder
    for name, size in (("maps", (1, 16_384)), ("maps-2", (2000, 32_767)), ("maps-3", (1, 16_383))):
        Image.new("L", size).save(run.picture_path(name).path, "PNG")
    found = read(complete.folder)
    assert {note.split("(")[1] for note in found["notes"]} == {
        "1 × 16384 pixels)",
        "2000 × 32767 pixels)",
    }
    assert {(one["width"], one["height"]) for one in found["runs"][0]["pictures"]} == {
        (1000, 200),
        (1, 16_383),
    }


def test_without_pictures_the_command_that_draws_them_is_said(complete: "Written") -> None:
    found = read(complete.folder)
    assert found["runs"] == found["notes"] == []
    winner = complete.folder.run(complete.trial(0, lr=0.01, seed=100))
    assert found["lead"].startswith("No pictures of a model have been drawn.")
    assert found["command"] == f"fieldtrial explain --run {winner.path}"


def test_before_any_trial_the_command_has_a_placeholder(written: "Written") -> None:
    assert read(written.describe())["command"] == "fieldtrial explain --run DIR"
