"""Names of a data set's classes: which of a published classifier's classes they are."""

import re

import pytest
from torchvision.models import SqueezeNet1_1_Weights

from fieldtrial.config import ConfigError
from fieldtrial.training.models.categories import Category, imagenet_categories, match

NAMES = SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.fixture(scope="module")
def torchvisions() -> tuple[Category, ...]:
    return imagenet_categories(names=NAMES)


def test_both_libraries_have_imagenets_classes_in_one_order(
    torchvisions: tuple[Category, ...],
) -> None:
    others = {one.name for one in torchvisions if one.name not in one.words}
    assert others == {"crane bird", "maillot tank suit"}
    numbers = [0, 134, 517, 999]
    assert [str(torchvisions[number]) for number in numbers] == [
        "n01440764 tench",
        "n02012849 crane bird",
        "n03126707 crane",
        "n15075141 toilet tissue",
    ]
    assert [one.name for one in imagenet_categories()][134:518:383] == ["crane", "crane"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("n01440764", 0),
        ("tench", 0),
        ("Tinca_tinca", 0),
        ("tench, Tinca tinca", 0),
        ("GREAT_white  Shark", 2),
        ("man-eater", 2),
        ("jack_o_lantern", 607),
        ("Cardigan", 264),
        ("cardigan", 474),
        ("crane", 517),
        ("crane_bird", 134),
        ("missile", 657),
        ("7", 7),
        ("0999", 999),
    ],
)
def test_a_class_is_known_by_its_names(
    torchvisions: tuple[Category, ...], name: str, number: int
) -> None:
    assert match("folder:x", [name], torchvisions, by_number=True).tolist() == [number]


def test_the_order_of_the_names_is_irrelevant(torchvisions: tuple[Category, ...]) -> None:
    assert match("x", NAMES[::-1], torchvisions, by_number=False).tolist() == [*range(999, -1, -1)]


def test_what_is_no_class_or_several_is_one_error(torchvisions: tuple[Category, ...]) -> None:
    names = ["goldfsh", "n01440764", "tench", "1000", "Tinca tinca", "CARDIGAN", "goldfish", "1"]
    with pytest.raises(ConfigError) as caught:
        match("folder:x", names, torchvisions, by_number=True)
    assert caught.value.problems == [
        "dataset = 'folder:x': the class 'goldfsh' is none of the model's 1,000 classes; close:"
        " n01443537 goldfish, n01531178 goldfinch, n02655020 puffer",
        "dataset = 'folder:x': the class '1000' is none of the model's 1,000 classes",
        "dataset = 'folder:x': the class 'CARDIGAN' may be n02113186 Cardigan or n02963159"
        " cardigan; name it by its id",
        "dataset = 'folder:x': the classes 'n01440764' and 'tench' and 'Tinca tinca' are one of"
        " the model's, n01440764 tench",
        "dataset = 'folder:x': the classes 'goldfish' and '1' are one of the model's, n01443537"
        " goldfish",
    ]
    with pytest.raises(ConfigError, match="the class '7' is none"):
        match("digits", ["7"], torchvisions, by_number=False)
    with pytest.raises(ConfigError, match=re.escape("and 15 more such classes")):
        match(
            "x", [f"thing {letter}" for letter in "abcdefghijklmnopqrstuvwxy"], torchvisions, True
        )
