"""Small pictures with labels.csv: strips of colours, which are labels, and a bar, whose length is a
number.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 16
COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
CHANCES = (0.5, 0.4, 0.15)  # of each colour; blue is rare
COLUMNS = ("image", *COLOURS, "length", "label")


def write_pictures(root: Path, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Write pictures into `root`/images, and return the row of each.

    `length` is 100 for no bar, and 10 more for each pixel. `label` is long from half the side on.
    """
    random, rows = np.random.default_rng(seed), []
    (root / "images").mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(60, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        there = random.random(len(COLOURS)) < CHANCES
        for place, colour in enumerate(COLOURS.values()):
            if there[place]:
                pixels[4 * place : 4 * place + 3] = colour
        length = int(random.integers(0, SIDE + 1))
        pixels[12:, :length] = 250
        name = f"images/{number:03}.png"
        Image.fromarray(pixels).save(root / name)
        flags = dict(zip(COLOURS, there.astype(int).tolist(), strict=True))
        label = "long" if length >= SIDE // 2 else "short"
        rows.append({"image": name, **flags, "length": 100.0 + 10 * length, "label": label})
    return rows


def table_text(
    rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS, delimiter: str = ","
) -> str:
    """Return the rows as the text of labels.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_folder(root: Path, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Write pictures and labels.csv with all columns; return the rows."""
    rows = write_pictures(root, count, seed)
    (root / "labels.csv").write_text(table_text(rows))
    return rows
