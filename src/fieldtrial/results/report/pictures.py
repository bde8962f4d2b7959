"""What fieldtrial explain has drawn of a sweep's models, made small enough for its report."""

import base64
import io
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd
from PIL import Image

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file
from fieldtrial.disk.run import CHOSEN
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.results.read.trials import ENDED_WELL, RUN, TESTED

PICTURE_BYTES = 2_500_000  # of all pictures, so that a page of 10,000 trials stays below 15 MB
MOST_PIXELS = 40_000_000  # of a file that is opened: a stranger's may be a decompression bomb
WIDEST = 1000  # pixels
TALLEST = 16_383  # the most that WebP can have
QUALITY = 80  # of WebP
DESCRIPTIONS = {  # in the order in which pictures are shown; others come after them
    "predictions": "images with predicted and actual class, right and wrong",
    "confused-pairs": "images of the classes that are confused most often",
    "embedding": "a map of the images' features, each class with its colour",
    "filters": "the filters of the first convolution",
    "feature-maps": "an image, and the outputs of layers for it",
    "guided-backpropagation": "for single neurons, an image and what in it excites them",
    "grad-cam": "images, and where in them the model looks for the class that it predicts",
}


def read_pictures(
    folder: SweepFolder,
    trials: pd.DataFrame,
    labels: Sequence[str],
    winners: Sequence[str],
    rows: Sequence[int],
) -> dict[str, Any]:
    """Return the pictures of the sweep's models: `runs`, each with its title and its pictures.

    labels: of the rows. winners: the trials whose pictures come first. rows: the numbers of the
    rows, in the order wanted. `notes` count what does not fit into PICTURE_BYTES and name what is
    no picture; `command`, which `lead` leads up to, draws more.
    """
    titles = _titles(labels, trials)
    first, place = set(winners), {row: order for order, row in enumerate(rows)}
    order = sorted(
        titles, key=lambda trial: (trial not in first, place.get(titles[trial][0], len(place)))
    )
    found: dict[str, list[dict[str, Any]]] = {}
    notes, left_out, size = [], 0, 0
    for trial, path in [
        (name, path) for name in order for path in sorted(folder.run(name).pictures(), key=_rank)
    ]:
        try:
            picture = _picture(path) if size < PICTURE_BYTES else None
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:  # as Pillow raises them
            notes.append(f"{path}: no picture that can be shown ({error})")
            continue
        size += len(picture["address"]) if picture else 0
        if picture and size <= PICTURE_BYTES:
            found.setdefault(trial, []).append(picture)
        else:
            left_out += 1
    if left_out:
        notes.append(
            f"{counted(left_out, 'picture')} left out, to keep this page small: the runs have them"
            " all."
        )
    return {
        "runs": [
            {"title": titles[trial][1], "pictures": pictures} for trial, pictures in found.items()
        ],
        "lead": (
            "The same for another run:"
            if found
            else "No pictures of a model have been drawn. To draw some:"
        ),
        "command": _command(folder, trials, winners),
        "notes": notes,
    }


def webp_address(image: Image.Image, quality: int) -> str:
    """Return a picture as a data URL."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _titles(labels: Sequence[str], trials: pd.DataFrame) -> dict[str, tuple[int, str]]:
    """Return {trial: number of its row, and row, role and name as text}; -1 where it has no row."""
    titles: dict[str, tuple[int, str]] = {}
    for trial, row, role, seed in zip(
        trials["trial"], trials["row"], trials["role"], trials["seed"], strict=True
    ):
        number = int(row) if pd.notna(row) and 0 <= row < len(labels) else -1
        label = f"{labels[number]}: " if number >= 0 else ""
        fresh = (
            f" with seed {int(seed)}" if role in ("finalist", *TESTED) and pd.notna(seed) else ""
        )
        kind = "" if role == RUN else f"{role} "
        titles.setdefault(trial, (number, f"{label}{kind}run {trial}{fresh}"))
    return titles


def _command(folder: SweepFolder, trials: pd.DataFrame, winners: Sequence[str]) -> str:
    """Return the command that draws pictures, of a winner if there is one."""
    ended = trials.loc[trials["outcome"].isin(ENDED_WELL), "trial"]
    trial = next(iter([*winners, *ended.head(1)]), None)
    return (
        f"fieldtrial explain --run {shlex.quote(str(folder.run(trial).path)) if trial else 'DIR'}"
    )


def _kind(path: Inside) -> str:
    """Return the picture's name without its number, which says which of a kind it is."""
    return path.stem.rstrip("-0123456789").removesuffix(CHOSEN)


def _rank(path: Inside) -> int:
    kinds = list(DESCRIPTIONS)
    return kinds.index(_kind(path)) if _kind(path) in kinds else len(kinds)


def _picture(path: Inside) -> dict[str, Any]:
    """Return a PNG file as a smaller WebP data URL, with its size in pixels and a description."""
    with open_file(path) as file, Image.open(file, formats=["PNG"]) as image:
        scale = min(1.0, WIDEST / image.width)
        if image.width * image.height > MOST_PIXELS or image.height * scale > TALLEST:
            raise ValueError(f"{image.width} × {image.height} pixels")
        smaller = image.convert("RGB")
    if scale < 1:
        size = WIDEST, max(1, round(smaller.height * scale))
        smaller = smaller.resize(size, Image.Resampling.LANCZOS)
    name = path.stem.replace("-", " ")
    kind = DESCRIPTIONS.get(_kind(path), "")
    return {
        "name": name,
        "alt": f"{name}: {kind}" if kind else name,
        "address": webp_address(smaller, QUALITY),
        "width": smaller.width,
        "height": smaller.height,
    }
