"""python jobs/data.py: prepares a data set, says what it is, draws it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.job_commands import Job
from tests.training.data.boxes.labels import write_yolo


def test_it_prepares_a_data_set_and_draws_it(
    command: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    for part, count in (("train", 10), ("test", 3)):
        for name, photo in photos.items():
            (tmp_path / "sets" / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / "sets" / "photos" / part / name / f"{number}.png"
                first = number + 10 * (part == "test")
                Image.fromarray(photo[first : first + 60, :60]).save(path)
    flags = ("--data-root", tmp_path / "sets", "--show", "--out", "pictures", "--image_size", "48")
    cuts = ("--validation_fraction", "0.2", "--images_per_class", "5")
    monkeypatch.chdir(tmp_path)
    done = command("data.py", "folder:photos", *flags, *cuts)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "folder:photos: 2 classes, colour, 48 pixels; 10 training, 4 validation, 6 test images",
        "  took train/ for training, test/ for test",
        "classes: china, flower",
        f"data sets are in {tmp_path / 'sets'}",
        "pictures/photos-classes.png",
        "pictures/photos-samples.png",
    ]
    for name in ("classes", "samples"):
        with Image.open(tmp_path / "pictures" / f"photos-{name}.png") as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture))) > 50


def test_labelled_boxes_are_counted_and_drawn(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_yolo(tmp_path / "street", {"train": 8, "test": 2})
    monkeypatch.chdir(tmp_path)
    done = job("data.py", "boxes:street", "--show", "--image_size", "64", "--data-root", "none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "boxes:street: 2 classes, colour, 64 pixels; 7 training, 1 validation, 2 test images",
        "  14 boxes: 5 car, 9 bus",
        "classes: car, bus",
        f"data sets are in {tmp_path / 'none'}",
        "street-classes.png",
        "street-samples.png",
    ]
    with Image.open(tmp_path / "street-samples.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert (pixels == (255, 0, 0)).all(1).sum() > 50  # the lines of boxes


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["digit"], "dataset = 'digit': must be one of digits, "),
        (["digits", "--classes", "1", "--seed", "-1"], "classes = '1': must be all, N"),
        (["flowers104"], "kaggle competitions download -c tpu-getting-started"),
    ],
)
def test_bad_input_is_one_clear_message(
    job: Job,
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = job("data.py", *arguments, "--data-root", "there")
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []
