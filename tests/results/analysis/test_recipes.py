"""What a table and its report say of the weights, images and validation behind its numbers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fieldtrial.results.analysis.recipes.lines import FEW_IMAGES
from tests.results.cells import footer, own_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

OLD = {
    "initial_weights": "torchvision:ResNet50.IMAGENET1K_V1",
    "pretraining_data": "ImageNet-1k",
    "pretraining_recipe": "V1",
    "recipe": "shorter side resized to 256 pixels (bilinear), centre of 224 pixels",
}
NEW = OLD | {"initial_weights": "timm:resnet50.a1_in1k", "pretraining_recipe": "a1"}
LARGE = OLD | {
    "initial_weights": "timm:resnet50.big_in21k_ft_in1k",
    "pretraining_data": "ImageNet-21k, then ImageNet-1k",
}


def described(written: "Written", *results: Mapping[str, object]) -> "Written":
    """Return the sweep with a trial of each row, and its entries in result.json."""
    written.describe()
    for row, result in enumerate(results):
        written.ended(row, validation=0.8, result=result, lr=0.1)
    return written


def test_rows_of_equal_weights_have_a_line_and_no_column(written: "Written") -> None:
    described(written, OLD, OLD, OLD)
    text = footer(written)
    assert (
        "Initial weights: torchvision:ResNet50.IMAGENET1K_V1 (pretrained on: ImageNet-1k; recipe:"
        " V1)."
    ) in text
    assert f"Images: {OLD['recipe']}." in text
    assert "different" not in text
    assert "initial_weights" not in own_table(written.folder).frame


def test_other_data_or_recipes_are_a_column_and_said(written: "Written") -> None:
    described(written, OLD, NEW, LARGE)
    text = footer(written)
    assert (
        "The rows' initial weights were pretrained on different data (ImageNet-1k: cnn · none, cnn"
        " · all_but_head; ImageNet-21k, then ImageNet-1k: mlp · none)."
    ) in text
    assert "pretrained by different recipes (V1: cnn · none, mlp · none; a1: cnn · all_b" in text
    frame = own_table(written.folder).frame
    assert list(frame["initial_weights"]) == [one["initial_weights"] for one in (OLD, NEW, LARGE)]
    assert "recipe" not in frame


def test_validation_with_few_images_that_picks_epoch_and_winner_is_warned_about(
    written: "Written",
) -> None:
    few = {"validation_images": FEW_IMAGES - 1}
    described(written, few, few)
    said = "The epoch of each trial is chosen by only 49 validation images"
    assert said in footer(written)
    written.ended(0, validation=0.7, result=few, lr=0.2)
    assert said.replace("is", "and the winner are", 1) in footer(written)


def test_enough_images_or_the_last_epoch_need_no_warning(written: "Written") -> None:
    described(written, {"validation_images": FEW_IMAGES})
    assert "validation images" not in footer(written)


def test_the_last_epoch_is_chosen_by_no_image(written: "Written") -> None:
    written.describe()
    written.ended(0, validation=0.8, result={"validation_images": 9}, lr=0.1, select="last")
    assert "validation images" not in footer(written)
    written.ended(0, validation=0.8, result={"validation_images": 9}, classifier="svm")
    few = footer(written)
    assert "The winner is chosen by only 9 validation images" in few
    assert "epoch of" not in few


def test_a_head_that_is_drawn_too_wide_is_said(written: "Written") -> None:
    described(written, {"head_width": 25.3}, {})
    assert "the last layer of cnn · none 25 times as wide as PyTorch would" in footer(written)


def test_rows_have_the_names_that_the_lines_above_use(written: "Written") -> None:
    written.rows = [{"model": model, "freeze": "none"} for model in ("cnn", "mlp")]
    for row, result in enumerate((OLD, LARGE)):
        written.describe(rows=written.rows)
        written.ended(row, validation=0.8, result=result, lr=0.1)
    assert "(ImageNet-1k: cnn; ImageNet-21k, then ImageNet-1k: mlp)" in footer(written)
