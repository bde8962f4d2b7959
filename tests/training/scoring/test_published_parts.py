"""The parts of a data set that a published classifier is tested on: which files have to be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.dataset import TEST, VALIDATION
from fieldtrial.training.scoring import published
from fieldtrial.training.scoring.published import Split


@pytest.mark.parametrize(
    ("parts", "split"),
    [
        (("train", "val"), "test"),
        (("train", "val", "test"), "test"),
        (("train", "val", "test"), "validation"),
    ],
)
def test_no_file_is_read_where_nothing_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], split: Split
) -> None:
    for part in parts:
        for number in range(4):
            path = tmp_path / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    monkeypatch.setattr(published, "keys_of", lambda _: pytest.fail("every file would be read"))
    found = published._contents(f"folder:{tmp_path}", split, TrainConfig())
    assert np.sum(found.parts == {"test": TEST, "validation": VALIDATION}[split]) == 4
