"""Where a library's weights come from: the data and the recipe that they were trained with."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

# Parts of timm's tags and of torchvision's names of weights. They stand in the order of training.
DATA = {
    "in1k": "ImageNet-1k",
    "imagenet1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "inat21": "iNaturalist 2021",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "laiona": "LAION-A",
    "openai": "OpenAI's images with texts",
    "datacompxl": "DataComp-XL",
    "metaclip": "MetaCLIP's images with texts",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "webli": "WebLI",
    "jft": "JFT-300M",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "merged2b": "Merged-2B",
    "merged38m": "Merged-38M",
    "m38m": "Merged-38M",
    "yfcc100m": "YFCC-100M",
    "ig1b": "Instagram-1B",
    "swsl": "Instagram-1B",
    "swag": "Instagram-3.6B",
}
# In some names, the last data stand first.
LAST = "imagenet1k"
UNKNOWN = "not said"
CLOSE = 4  # tags that a message names


@dataclass(frozen=True)
class Origin:
    """Where initial weights come from: which they are, on what data, by what recipe, in words."""

    weights: str
    data: str = UNKNOWN
    recipe: str = UNKNOWN

    def entries(self) -> dict[str, str]:
        """Return the entries of result.json."""
        return {
            "initial_weights": self.weights,
            "pretraining_data": self.data,
            "pretraining_recipe": self.recipe,
        }


def data_of(tag: str) -> str:
    """Return the data that weights with a tag were trained on, in the order of training."""
    parts = [part for part in tag.lower().split("_") if part in DATA]
    parts.sort(key=lambda part: part == LAST)
    return ", then ".join(dict.fromkeys(DATA[part] for part in parts)) or UNKNOWN


def choose(model: str, tag: str, known: Sequence[str]) -> str:
    """Return `tag` if it is one of `known`. Raises ValueError with the choices if it is not."""
    if tag in known:
        return tag
    close = difflib.get_close_matches(tag, known, CLOSE, cutoff=0.0)
    listed = ", ".join(known if len(known) <= 2 * CLOSE else close)
    there = f"they are {listed}" if len(known) <= 2 * CLOSE else f"close: {listed}"
    raise ValueError(
        f"weights = 'imagenet:{tag}': none of the weights of {model}; "
        + (there if known else "there are none")
    )
