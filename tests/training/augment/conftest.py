"""What the tests of augmentation share."""

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor


@pytest.fixture(scope="module")
def colour() -> Tensor:
    """Sixteen times the same cut of a photo: what differs afterwards was drawn per image."""
    photo = torch.from_numpy(load_sample_image("china.jpg")[100:132, 200:232].copy())
    return photo.permute(2, 0, 1)[None].repeat(16, 1, 1, 1) / 255
