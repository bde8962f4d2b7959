"""What kept features have cost: a small file beside each file of them."""

import contextlib
from pathlib import Path

from fieldtrial.disk import schemas
from fieldtrial.disk.files import read_json, write_json
from fieldtrial.disk.inside import Inside


def cost_path(features: Path) -> Path:
    """Return the file that says what the features in the file `features` have cost."""
    return features.with_suffix(".json")


def write_cost(features: Path, seconds: float) -> None:
    """Write how many seconds it took to compute the features; not where there is no room."""
    path = cost_path(features)
    with contextlib.suppress(OSError):
        write_json(Inside(path.parent) / path.name, {"seconds": seconds})


def read_cost(features: Path) -> float | None:
    """Return how many seconds it took to compute the features; None if that is not known."""
    path = cost_path(features)
    with contextlib.suppress(OSError, ValueError):
        about = read_json(Inside(path.parent) / path.name, schemas.FeatureCost)
        return None if about is None else float(about["seconds"])
    return None
