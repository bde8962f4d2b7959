"""The images of a trial: which data set, which classes, and which images train, select and test."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.schemas import BY_CONTENT, Cut
from fieldtrial.fields.rules import has_crops
from fieldtrial.processes import data_root
from fieldtrial.training.data.content import Keys, cut_validation, numbers
from fieldtrial.training.data.copies import equal_images, without_copies
from fieldtrial.training.data.cuts.folds import cut_fold
from fieldtrial.training.data.dataset import TEST, TRAIN, VALIDATION, Wanted
from fieldtrial.training.data.image_store import Store, open_store, store_root
from fieldtrial.training.data.labels.chosen import chosen_classes
from fieldtrial.training.data.labels.strata import classes_to_cut
from fieldtrial.training.data.originals import Originals, open_originals
from fieldtrial.training.data.recipe import AnyRecipe, Letterbox
from fieldtrial.training.data.sets.registry import locate, misfit, open_dataset
from fieldtrial.training.data.splits import (
    Indices,
    first_of,
    sample_by_numbers,
    stratified_sample,
)

NO_PART = 255  # of images that are left out
CLASSES = Wanted()


@dataclass(frozen=True)
class DataShape:
    """What a model is built for: the number of classes, and the images' channels and side."""

    classes: int
    channels: int
    image_size: int  # in pixels


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split for one trial. The trials of a process share its arrays, read-only.

    Attributes:
        images: memory map, uint8 (n, height, width, channels), shared by the machine's processes.
        labels: int64 (n,), from 0 to len(class_names) - 1; -1 for images of classes that were not
            chosen, which are in no split.
        class_names: of the chosen classes.
        train, validation, test: ascending int64 indices into `images`.
        mean, std: per channel, in [0, 1], over the training images of all classes, also those held
            out for validation or left out.
        store: name of the store that holds the images, at this size.
        digest: of the data set's classes, and of each image's class, part and content.
        cut: how parts were cut.
        remarks: on the data set: what was passed over, and which images are equal. A line each.
        recipe: how images became squares; None: by the largest square in their centre.
        originals: the training images that random crops are drawn from; None: `images` are these.
        targets_suffice: whether what is learned of an image is all that its answer is scored by.
    """

    images: NDArray[np.uint8]
    labels: Indices
    class_names: tuple[str, ...]
    train: Indices
    validation: Indices
    test: Indices
    mean: tuple[float, ...]
    std: tuple[float, ...]
    store: str
    digest: str
    cut: Cut
    remarks: tuple[str, ...]
    recipe: AnyRecipe | None = None
    originals: Originals | None = None
    targets_suffice: ClassVar[bool] = True
    counted: ClassVar[str] = "images"  # what `count` counts
    called: ClassVar[tuple[str, str]] = ("class", "classes")  # what class_names names

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.images.shape[3])

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.images.shape[1])

    def summary(self, dataset: str) -> list[str]:
        """Return what the data are, for people: classes, sizes of the parts, and the remarks."""
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{len(own):,} {name}" for name, own in parts.items())
        first = f"{dataset}: {self.learned_text()}; {sizes} images"
        return [first, *(f"  {remark}" for remark in self.remarks)]

    def learned_text(self) -> str:
        """Return what is learned of an image, for people: '2 classes (cat, dog)'."""
        return f"{self.classes_text()} ({first_of(self.class_names)})"

    def classes_text(self) -> str:
        """Return how many classes there are: '2 classes'."""
        count = len(self.class_names)
        return f"{count} {self.called[count > 1]}"

    def facts(self) -> dict[str, Any]:
        """Return entries of result.json on what the network's output means; here none."""
        return {}

    def as_learned(self, _own: "Data") -> "Data":
        """Return the data, as a network that another one trained has learned it."""
        return self

    @property
    def whole(self) -> "Data":
        """The data with the images, where features have taken their place."""
        return self

    def targets(self, chosen: Indices) -> NDArray[Any]:
        """Return what is learned of the images `chosen`: their labels, int64 (n,)."""
        return self.labels[chosen]

    def take(self, chosen: Indices) -> NDArray[Any]:
        """Return a copy of the images `chosen`."""
        return np.take(self.images, chosen, 0)

    def positions(self, chosen: Indices) -> Indices:
        """Return where the images `chosen` are in the data set's store, int64 (n,)."""
        return chosen

    def count(self, chosen: Indices) -> Indices:
        """Return how often each class is there among the images `chosen`, int64 (classes,)."""
        labels = self.labels[chosen]
        return np.bincount(labels[labels >= 0], minlength=len(self.class_names))

    def class_counts(self) -> dict[str, int]:
        """Return how often each class is there in the data set."""
        counts = self.count(np.arange(len(self.labels)))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def bars(self, chosen: Indices) -> tuple[tuple[str, ...], Indices]:
        """Return what a picture of the data counts, and how often it is there among `chosen`."""
        return self.class_names, self.count(chosen)

    def caption(self, index: int) -> str:
        """Return what image `index` is labelled with, for people."""
        return self.class_names[int(self.labels[index])]

    def frames(self, _index: int) -> list[list[float]]:
        """Return the boxes that are drawn in an image: left, top, right and bottom in pixels."""
        return []

    @property
    def shape(self) -> DataShape:
        """The shape that a model for this data is built for."""
        return DataShape(len(self.class_names), self.channels, self.image_size)


def load(
    config: TrainConfig,
    image_size: int | None,
    cut: Cut = BY_CONTENT,
    recipe: AnyRecipe | None = None,
    wanted: Wanted = CLASSES,
) -> Data:
    """Return the data of `config`, with images of `image_size` pixels or the data set's own size.

    `recipe` says how images become squares of that size. With preprocessing = recipe, crops among
    the augmentations have `originals` to be drawn from.

    The first call on a machine decodes the data set (see image_store). The first call in a process
    opens it; later ones return the same object without reading the disk.

    The test set is the data set's own, or a fixed stratified part, or one of `folds` (see
    `cut_fold`). The validation set is split off the training images by `config.seed`, stratified,
    unless the folder has val/ beside test/. Then `deduplicate` leaves out training images that look
    like one of these, and `train_fraction` and `images_per_class` leave others out, by the same
    seed. Of data sets that are files, images are chosen by what the files contain, or by their
    places as earlier versions did, as `cut` says.

    wanted: what the images must be labelled with. Where that is no class, all of them count as of
        one; see `load_boxes`, `load_labels`, `load_numbers`.

    Raises:
        ConfigError: no such data set, folder or class; a damaged image; a class without enough
            images in a split; a data set with other labels.
    """
    root = data_root()
    if why := misfit(config.dataset, wanted.task):
        raise ConfigError([f"dataset = {config.dataset!r}: {why}"])
    shares = _Shares(
        config.validation_fraction,
        config.train_fraction,
        config.images_per_class,
        config.deduplicate,
        config.seed,
        config.folds,
        config.fold,
    )
    crops = has_crops(config) and config.preprocessing == "recipe"
    crops = crops and config.classifier == "softmax"
    options = tuple(sorted(config.options_of("dataset").items()))
    dataset, has_folds = locate(config.dataset, root), config.folds > 0
    place = _Place(dataset, image_size, recipe, root, store_root(), cut, wanted, options, has_folds)
    return _load(place, config.classes, shares, crops)


class _Shares(NamedTuple):
    """The fields of a config that say how large the parts are."""

    validation_fraction: float
    train_fraction: float
    images_per_class: int | None
    deduplicate: bool
    seed: int
    folds: int
    fold: int


class _Place(NamedTuple):
    """A data set with its labels, its places, how images become squares, and how it is cut.

    options: of an own data set, {name: value} as pairs.
    """

    dataset: str
    image_size: int | None
    recipe: AnyRecipe | None
    root: Path
    stores: Path
    cut: Cut
    wanted: Wanted
    options: tuple[tuple[str, Any], ...]
    has_folds: bool


@functools.lru_cache(maxsize=64)  # of index arrays; the stores are shared
def _load(place: _Place, classes: str, shares: _Shares, crops: bool) -> Data:
    dataset, store = place.dataset, _open(place, crops)
    chosen = chosen_classes(classes, dataset, store.class_names)
    class_names = tuple(store.class_names[number] for number in chosen)
    numbers = np.full(len(store.class_names), -1)
    numbers[chosen] = np.arange(len(chosen))
    labels = numbers[store.labels]
    wanted = labels >= 0
    train, validation, test = (
        np.flatnonzero(wanted & (store.parts == part)) for part in (TRAIN, VALIDATION, TEST)
    )
    parts, left_out = store.parts, list[str]()
    if shares.folds:
        try:
            train, test, parts, remark = cut_fold(store, labels, class_names, shares)
        except ValueError as error:
            raise ConfigError([f"folds = {shares.folds}: {dataset}: {error}"]) from None
        left_out.append(remark)
    if not (store.parts == VALIDATION).any():
        try:
            keys, fraction = _keys(store, place, train), shares.validation_fraction
            cut_by = classes_to_cut(labels[train], class_names, _strata(store, train), fraction)
            kept, cut = cut_validation(*cut_by, fraction, shares.seed, keys)
        except ValueError as error:
            asked = f"validation_fraction = {shares.validation_fraction!r}"
            raise ConfigError([f"{asked}: {dataset}: {error}"]) from None
        train, validation = train[kept], train[cut]
    if shares.deduplicate:
        alone = without_copies(train, (validation, test), store.pixels)
        parts = parts.copy()
        parts[np.setdiff1d(train, alone)], parts[validation] = NO_PART, VALIDATION
        if count := len(train) - len(alone):
            left_out.append(
                f"{count:,} training images left out, because they look like one of validation or"
                " test (deduplicate)"
            )
        train = alone
    if shares.train_fraction < 1 or shares.images_per_class or shares.deduplicate:
        try:
            strata, fraction = _strata(store, train), shares.train_fraction
            drawn_by = classes_to_cut(labels[train], class_names, strata, fraction)
            train = train[_sample(_keys(store, place, train), *drawn_by, shares)]
        except ValueError as error:
            names = ["train_fraction", "images_per_class"]
            names += ["deduplicate"] if shares.deduplicate else []
            asked = ", ".join(f"{name} = {getattr(shares, name)!r}" for name in names)
            raise ConfigError([f"{asked}: {dataset}: {error}"]) from None
    remarks = [*store.remarks, *equal_images(store.labels, parts, store.pixels), *left_out]
    for array in (labels, train, validation, test):
        array.flags.writeable = False
    return Data(
        images=store.images,
        labels=labels,
        class_names=class_names,
        train=train,
        validation=validation,
        test=test,
        mean=store.mean,
        std=store.std,
        store=store.name,
        digest=store.digest,
        cut=place.cut,
        remarks=tuple(remarks),
        recipe=place.recipe,
        originals=_open_originals(place) if crops else None,
    )


@functools.lru_cache(maxsize=8)
def _open(place: _Place, crops: bool) -> Store:
    found = open_dataset(place.dataset, place.root, place.wanted, place.options)
    size = place.image_size or found.image_size
    # first, so that the squares are made of what is decoded there
    originals = _open_originals(place) if crops else None
    decoded = originals.whole if originals else None
    return open_store(found, size, place.stores, place.cut, place.recipe, decoded)


def _keys(store: Store, place: _Place, chosen: Indices) -> Keys | None:
    """Return the keys of the images `chosen`; None where they are cut by their places."""
    return store.keys[chosen] if store.are_files and place.cut == BY_CONTENT else None


def _strata(store: Store, chosen: Indices) -> Indices | None:
    return None if store.strata is None else store.strata[chosen]


def _sample(
    keys: Keys | None, labels: Indices, class_names: tuple[str, ...], shares: _Shares
) -> Indices:
    """Return the places of the images that train_fraction and images_per_class leave.

    keys: of the images; None where they are chosen by their places.
    """
    fraction, most = shares.train_fraction, shares.images_per_class
    if keys is not None:
        drawn = numbers(keys, "training", shares.seed)
        return sample_by_numbers(labels, class_names, fraction, most, drawn)
    return stratified_sample(labels, class_names, fraction, most, shares.seed)


@functools.lru_cache(maxsize=8)
def _open_originals(place: _Place) -> Originals | None:
    found = open_dataset(place.dataset, place.root, place.wanted, place.options)
    size = place.image_size or found.image_size
    assert not isinstance(place.recipe, Letterbox), "boxes are not cropped with their images"
    every = place.has_folds
    return open_originals(found, size, place.recipe, place.stores, place.cut, is_whole=every)
