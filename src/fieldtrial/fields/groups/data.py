"""The fields of the data: images, their parts and their changes."""

from dataclasses import dataclass

from fieldtrial.fields.choices import (
    Augmentation,
    Preprocessing,
    TaskName,
)
from fieldtrial.fields.groups.group import Group
from fieldtrial.fields.values import Own

_data = Group("data")


@dataclass(frozen=True, kw_only=True, eq=False)
class DataFields:
    """The fields of the data: images, their parts and their changes."""

    dataset: str = _data(
        "digits",
        "digits, mnist, cifar10, stl10, tinyimagenet, inat10, dogs_vs_cats, flowers104,"
        " folder:PATH (one folder per class, or labels.csv), or your own, package.module:name;"
        " of tasks multilabel and regression: shapes (made-up), or folder:PATH with labels.csv;"
        " of task detection: shapes, or boxes:PATH (COCO's JSON or YOLO's texts)",
    )
    classes: str = _data(
        "all", "all, N (the first N), A-B (numbers, or names that are) or names: cat,dog"
    )
    image_size: int | None = _data(
        None,
        "side of the square images in pixels; none: what the weights expect, else the data set's"
        " own (folders: 224)",
        1,
    )
    preprocessing: Preprocessing = _data(
        "recipe",
        "recipe: images are resized and cropped as the initial weights' library evaluates them, and"
        " random crops are drawn from the original; square: the largest centre square, bicubic",
    )
    augmentation: tuple[Augmentation | Own, ...] = _data(
        (), "random changes of the training images, applied in this order"
    )
    cached_views: int = _data(
        0, "so many augmented views of each image, kept for all epochs; 0: new ones", 0, 64
    )
    mixup: float = _data(
        0.0,
        "alpha of the Beta distribution of the shares in which training images are mixed in pairs;"
        " 0: they are not",
        0.0,
        100.0,
    )
    cutmix: float = _data(
        0.0,
        "alpha of the Beta distribution of the share that stays of a training image when a box of"
        " another is put into it; 0: none is; beside mixup, each batch is changed by one of both",
        0.0,
        100.0,
    )
    test_flips: bool = _data(
        False,
        "validation and test images are answered by the mean of the probabilities of the image and"
        " of its mirror image",
    )
    validation_fraction: float = _data(
        0.1,
        "share of each class's training images held out for validation; a folder with its own val/"
        " ignores it",
        0.001,
        0.9,
    )
    train_fraction: float = _data(
        1.0, "share of each class that is trained on, of what validation leaves", 1e-5, 1.0
    )
    images_per_class: int | None = _data(
        None, "training images per class, of what the two fractions leave; none: all", 1
    )
    deduplicate: bool = _data(False, "leave out training images that look like one held out")
    folds: int = _data(
        0,
        "all labelled images are cut into so many folds, and those of one are tested; 0: the data"
        " set's test images, or a fixed part",
        0,
        1000,
    )
    fold: int = _data(0, "the fold that is tested, from 0 on; the others are trained on", 0, 999)
    task: TaskName = _data(
        "classification",
        "what is learned of an image: classification: its class; multilabel: which labels it has;"
        " regression: a number; detection: where its objects are, and which",
    )
    target: str | None = _data(
        None, "column of labels.csv with the number to learn; none: its only column of numbers"
    )
