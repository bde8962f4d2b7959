"""How images become squares: a library's recipe for its weights, or letterboxing."""

import re
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.detection.letterbox import letterbox, place
from fieldtrial.disk.files import read_json
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import BY_POSITION, Inputs

TEXT = re.compile(
    r"(shorter side|both sides) resized to (\d{1,6}) pixels \((\w+)\), centre of (\d{1,6}) pixels"
)
SQUARE_TEXT = re.compile(r"largest centre square, resized to (\d{1,6}) pixels \(bicubic\)")
SQUARE = "largest centre square, resized to {} pixels (bicubic)"  # without a recipe


@dataclass(frozen=True)
class Recipe:
    """How an image becomes a square, as a library evaluates its weights.

    Attributes:
        resized: pixels of the sides that `sides` names, after resizing. The other side follows.
        side: of the square in its centre, in pixels.
        interpolation: torchvision's name: bilinear, bicubic, ...
    """

    sides: Literal["shorter side", "both sides"]
    resized: int
    interpolation: str
    side: int

    def __str__(self) -> str:
        resized = f"{self.sides} resized to {self.resized} pixels ({self.interpolation})"
        return f"{resized}, centre of {self.side} pixels"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the recipe whose text this is, or None if it is none's."""
        match = TEXT.fullmatch(text)
        if match is None:
            return None
        sides: Literal["shorter side", "both sides"] = (
            "both sides" if match[1] == "both sides" else "shorter side"
        )
        return cls(sides, int(match[2]), match[3], int(match[4]))

    def scaled(self, side: int) -> "Recipe":
        """Return the recipe for squares of another size: the same part of the image is seen."""
        return replace(self, resized=max(side, round(self.resized * side / self.side)), side=side)

    def sides_of(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of an image of these sides, once it is resized."""
        if self.sides == "both sides":
            return self.resized, self.resized
        if width <= height:
            return self.resized, self.resized * height // width
        return self.resized * width // height, self.resized

    def resize(self, image: Image.Image) -> Image.Image:
        """Return the image resized, as torchvision and timm do it."""
        from torchvision.transforms import InterpolationMode, functional  # late: takes a second

        sides = [self.resized] if self.sides == "shorter side" else [self.resized] * 2
        resized: Image.Image = functional.resize(
            image, sides, InterpolationMode(self.interpolation)
        )
        return resized

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the square: the centre of the resized image."""
        from torchvision.transforms import functional

        square: Image.Image = functional.center_crop(self.resize(image), [self.side, self.side])
        return square


LETTERBOX_TEXT = re.compile(r"letterboxed to a square of (\d{1,6}) pixels")


@dataclass(frozen=True)
class Letterbox:
    """How an image becomes a square of `side` pixels, as a detector sees it: whole, with borders.

    See detection/letterbox.
    """

    side: int

    def __str__(self) -> str:
        return f"letterboxed to a square of {self.side} pixels"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the letterbox whose text this is, or None if it is none's."""
        match = LETTERBOX_TEXT.fullmatch(text)
        return cls(int(match[1])) if match else None

    def scaled(self, side: int) -> "Letterbox":
        """Return the same for squares of another size."""
        return replace(self, side=side)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the square, in colour."""
        pixels, _ = letterbox(np.array(image.convert("RGB")), (self.side, self.side))
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    def place(self, corners: NDArray[np.float32], sizes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return boxes (m, 4) in shares of the square, from those in shares of their images.

        sizes: (m, 2), width and height of the image of each.
        """
        places = [place((width, height), (self.side,) * 2) for width, height in sizes.tolist()]
        inner = np.array([one.inner * 2 for one in places]).reshape(-1, 4)
        offsets = np.array([one.offset * 2 for one in places]).reshape(-1, 4)
        placed: NDArray[np.float64] = (corners * inner + offsets) / self.side
        return placed.astype(np.float32)


AnyRecipe = Recipe | Letterbox


def text_of(recipe: AnyRecipe | None, image_size: int) -> str:
    """Return how images became squares of `image_size` pixels, in words."""
    return SQUARE.format(image_size) if recipe is None else str(recipe)


def recorded(run: Run) -> tuple[AnyRecipe | None, int] | None:
    """Return the recipe of a run's images and their side in pixels, as the run has recorded them.

    None where it has not: it has not begun, or an earlier version began it.
    """
    known: Inputs = read_json(run.inputs_path, Inputs) or Inputs(cut=BY_POSITION, data="")
    text = str(known.get("recipe") or (run.result() or {}).get("recipe"))
    if recipe := Recipe.parse(text) or Letterbox.parse(text):
        return recipe, recipe.side
    match = SQUARE_TEXT.fullmatch(text)
    return (None, int(match[1])) if match else None
