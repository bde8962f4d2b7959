"""python jobs/data.py: prepares a data set, says what it is, draws it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

SCRIPT = Path(__file__).parents[2] / "jobs" / "data.py"


def prepare(folder: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_it_prepares_a_data_set_and_draws_it(tmp_path: Path) -> None:
    photos = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    for part, count in (("train", 10), ("test", 3)):
        for name, photo in photos.items():
            (tmp_path / "sets" / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / "sets" / "photos" / part / name / f"{number}.png"
                Image.fromarray(photo[number : number + 60, :60]).save(path)
    flags = ("--data-root", tmp_path / "sets", "--show", "--out", "pictures", "--image_size", "48")
    done = prepare(
        tmp_path, "folder:photos", *flags, "--validation_fraction", "0.2", "--images_per_class", "5"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "folder:photos: 2 classes, colour, 48 pixels; 10 training, 4 validation, 6 test images",
        f"data sets are in {tmp_path / 'sets'}",
        "pictures/photos-classes.png",
        "pictures/photos-samples.png",
    ]
    for name in ("classes", "samples"):
        with Image.open(tmp_path / "pictures" / f"photos-{name}.png") as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture))) > 50


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["digit"], "dataset = 'digit': must be one of digits, "),
        (["digits", "--classes", "1", "--seed", "-1"], "classes = '1': must be all, N"),
        (["flowers104"], "kaggle competitions download -c tpu-getting-started"),
    ],
)
def test_bad_input_is_one_clear_message(arguments: list[str], problem: str, tmp_path: Path) -> None:
    done = prepare(tmp_path, *arguments, "--data-root", "there")
    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
