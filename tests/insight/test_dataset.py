"""Pictures of a data set: what is in them."""

from pathlib import Path

import numpy as np
from PIL import Image

from fieldtrial.config import TrainConfig
from fieldtrial.insight.dataset import draw_class_counts, draw_samples, sample
from fieldtrial.training.data.load import load


def test_every_image_of_a_split_is_counted_in_its_class() -> None:
    data = load(TrainConfig(classes="3-5"), None)
    for part in (data.train, data.validation, data.test):
        names, counts = data.bars(part)
        assert names == ("3", "4", "5")
        assert counts.tolist() == [int(np.sum(data.labels[part] == number)) for number in range(3)]


def test_samples_are_training_images_of_every_class() -> None:
    data = load(TrainConfig(), None)
    shown = sample(data)
    assert set(shown) <= set(data.train.tolist())
    assert np.bincount(data.labels[shown]).tolist() == [4] * 10
    assert sample(data) == shown
    assert len(sample(load(TrainConfig(images_per_class=1), None))) == 10


def test_pictures_are_drawn(tmp_path: Path) -> None:
    data = load(TrainConfig(), None)
    for draw, name in ((draw_class_counts, "classes.png"), (draw_samples, "samples.png")):
        draw(data, r"digits $\5$", tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
            colors = {tuple(color) for color in np.unique(pixels, axis=0).tolist()}
            if name == "classes.png":
                assert {
                    (31, 119, 180),
                    (255, 127, 14),
                    (44, 160, 44),
                } <= colors  # a colour for each split
            else:
                assert (
                    len({color for color in colors if len(set(color)) == 1}) > 50
                )  # shades of the images
