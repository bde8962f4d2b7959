"""What images have in the place of a class: labels, or a number; kept beside their pixels."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.files import write_json
from fieldtrial.training.data.content import key_of
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices

VALUES, NAMES, KEYS = "targets.npy", "target_names.json", "target_keys.npy"


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of n images; see `Annotations` in data/dataset.

    Attributes:
        values: (n, k): uint8, 1 where an image has a label; or float64, numbers.
        names: of the k columns.
    """

    values: NDArray[np.uint8] | NDArray[np.float64]
    names: tuple[str, ...]

    def misfit(self, _index: int, _size: tuple[int, int]) -> str:
        """See Annotations: they are of the whole image, whatever its size."""
        return ""

    def write(self, folder: Path, _sizes: Indices, _recipe: AnyRecipe | None) -> bytes:
        """See Annotations."""
        keys = np.fromiter((key_of(row.tobytes()) for row in self.values), np.uint64)
        np.save(folder / VALUES, self.values)
        np.save(folder / KEYS, keys)
        write_json(folder / NAMES, self.names)
        names = json.dumps(self.names).encode()
        return hashlib.blake2b(names + keys.tobytes(), digest_size=16).digest()


def read_targets(folder: Path) -> Targets:
    """Return the targets of the images in the store in `folder`. Raises OSError."""
    names = tuple(json.loads((folder / NAMES).read_bytes()))
    return Targets(np.load(folder / VALUES), names)


def read_target_keys(folder: Path) -> NDArray[np.uint64] | None:
    """Return a key of each image's targets in the store in `folder`; None: it has none."""
    path = folder / KEYS
    found: NDArray[np.uint64] | None = np.load(path) if path.exists() else None
    return found
