"""A folder of images with one folder per class, split into parts or not."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path

from fieldtrial.training.data.dataset import (
    PART_NAMES,
    TEST,
    TEST_FRACTION,
    TRAIN,
    VALIDATION,
    Contents,
    Dataset,
    problem,
)
from fieldtrial.training.data.sets.image_walk import (
    PassedOver,
    folders_in,
    images_below,
    images_in,
)
from fieldtrial.training.data.splits import first_of

IMAGE_SIZE = 224  # what most pretrained classifiers were trained with
# The names that parts are given, without case and what joins words.
NAMES = {
    TRAIN: (
        *("train", "training", "trainset", "trainingset", "trainimages", "trainingimages"),
        *("segtrain", "trn"),
    ),
    VALIDATION: (
        *("val", "valid", "validation", "valset", "validationset", "valimages", "validationimages"),
        *("segval", "dev"),
    ),
    TEST: ("test", "testing", "testset", "testimages", "segtest", "tst"),
}
PARTS = {name: part for part, names in NAMES.items() for name in names}
# Words in names that are none of these, but mean a part where they are of folders with folders.
WORDS = ("train", "training", "val", "valid", "validation", "test", "testing")
LAYOUT = (
    "it must hold one folder of images for each class, or train/ and val/ or test/, or all three,"
    " with these in them, or labels.csv with the columns image and label"
)


def image_folder(
    root: Path,
    dataset: str | None = None,
    parts: Mapping[str, int] | None = None,
    cut_test: bool = True,
) -> Dataset:
    """Return the images in `root`, which holds class folders, or train/, val/ and test/ with them.

    Parts are known by the names in NAMES, in any case. Without test/, val/ is the test set; without
    both, a fixed stratified fifth is. What counts as an image is said in image_walk. Classes whose
    names are all whole numbers are in the order of these, others in that of their texts.

    Args:
        root: the folder.
        dataset: the data set's name; None: folder:ROOT.
        parts: the folders in `root`, and the part that each holds; None: those that exist.
        cut_test: whether a test set is split off where there is none; a class then needs two images
            or more.

    Raises:
        ConfigError: folders that are neither all parts nor all classes; parts with different
            classes; names that no table could show; classes without images, or too few to split.
    """
    dataset = dataset or f"folder:{root}"
    layout = (
        {root / name: part for name, part in parts.items()} if parts else _layout(dataset, root)
    )
    if missing := [str(folder) for folder in layout if not folder.is_dir()]:
        raise problem(dataset, f"no folder {' and '.join(missing)}")
    classes = _classes(dataset, layout)
    class_names = in_order(next(iter(classes.values())))
    passed, samples, empty = PassedOver(), list[tuple[Path, int, int]](), list[Path]()
    for folder, part in layout.items():
        passed.beside += images_in(folder)
        for number, name in enumerate(class_names):
            place = classes[folder][name]
            found = [(path, number, part) for path in images_below(place, passed)]
            samples += found
            if not found:
                empty.append(place)
    if empty:
        why = f"; {'; '.join(passed.remarks())}" if passed.remarks() else ""
        raise problem(dataset, *(f"the class folder {path} has no image{why}" for path in empty))
    contents = Contents.of_files(class_names, samples)
    test_fraction = TEST_FRACTION if cut_test and TEST not in layout.values() else None
    return Dataset(
        name=dataset,
        fingerprint=folder_fingerprint(dataset, root, [path for path, _, _ in samples]),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=lambda: contents,
        remarks=(*_parts_remarks(root, layout), *passed.remarks()),
        test_fraction=test_fraction,
    )


def _layout(dataset: str, root: Path) -> dict[Path, int]:
    """Return the part that each folder holds; without TEST, the test set is split off TRAIN.

    Raises:
        ConfigError: the folders are neither parts alone nor classes alone.
    """
    there = folders_in(root)
    parts: dict[int, list[Path]] = {}
    for folder in there:
        part = part_of(folder.name)
        if part is not None and _holds_classes(folder):
            parts.setdefault(part, []).append(_inner(folder))
    named = {folder for folders in parts.values() for folder in folders}
    others = [one for one in there if _inner(one) not in named and _has_images(one)]
    if not named:
        _refuse_unknown_parts(dataset, root, there)
        return {root: TRAIN}
    listed = first_of([f"{folder.name}/" for folder in there])
    if others:
        extra = first_of([f"{folder.name}/" for folder in others])
        raise problem(
            dataset, f"{root} holds {listed}; {extra} is no name of a part of a data set; {LAYOUT}"
        )
    for part, folders in parts.items():
        if len(folders) > 1:
            which = " and ".join(f"{folder.relative_to(root)}/" for folder in folders)
            raise problem(
                dataset, f"{root} holds {listed}; {which} are both the {PART_NAMES[part]} images"
            )
    if TRAIN not in parts:
        raise problem(dataset, f"{root} holds {listed}, and no train/; {LAYOUT}")
    is_test = {VALIDATION: TEST} if TEST not in parts else {}
    return {folders[0]: is_test.get(part, part) for part, folders in sorted(parts.items())}


def _refuse_unknown_parts(dataset: str, root: Path, there: list[Path]) -> None:
    """Raise ConfigError if folders look like parts, but have other names: train2017, val2017."""
    alike = [
        folder
        for folder in there
        if set(re.findall("[a-z]+", folder.name.casefold())) & set(WORDS)
        and not images_in(folder)
        and len(folders_in(folder)) > 1
    ]
    if len(alike) > 1:
        names = first_of([f"{folder.name}/" for folder in alike])
        raise problem(
            dataset, f"{root} holds {names}, which look like parts but are not named so; {LAYOUT}"
        )


def part_of(name: str) -> int | None:
    """Return the part that has this name in NAMES, or None."""
    return PARTS.get(_plain(name))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in "_- .")


def _inner(folder: Path) -> Path:
    """Return the folder of the same part that is all a part holds: seg_train/seg_train."""
    inside = folders_in(folder)
    part = part_of(folder.name)
    if len(inside) == 1 and part is not None and part_of(inside[0].name) == part:
        return inside[0]
    return folder


def _holds_classes(folder: Path) -> bool:
    """Return whether a folder holds classes, and is not a class of that name."""
    inside = folders_in(folder)
    return bool(inside) and (len(inside) > 1 or not images_in(folder))


def _has_images(folder: Path) -> bool:
    return any(True for _ in images_below(folder, PassedOver()))


def _parts_remarks(root: Path, layout: Mapping[Path, int]) -> list[str]:
    """Return which folder was taken for which part, where there are parts."""
    if root in layout:
        return []
    taken = ", ".join(
        f"{folder.relative_to(root)}/ for {PART_NAMES[part]}" for folder, part in layout.items()
    )
    return [f"took {taken}"]


def _classes(dataset: str, layout: Mapping[Path, int]) -> dict[Path, dict[str, Path]]:
    """Return the class folders of each part, by their names, which all parts must share."""
    problems: list[str] = []
    classes: dict[Path, dict[str, Path]] = {}
    for folder in layout:
        classes[folder] = {}
        for place in folders_in(folder):
            name = unicodedata.normalize("NFC", place.name)
            if why := _unshowable(name):
                problems.append(f"the class folder {str(place)!a} {why}; rename it")
            elif name in classes[folder]:
                problems.append(
                    f"{folder} has two class folders that read {name}, written with other letters;"
                    " join them, or rename one"
                )
            classes[folder][name] = place
    train, *others = layout
    problems += [
        f"the class folders of {train} and {other} disagree: only in {folder.name}/:"
        f" {', '.join(sorted(extra)[:10])}"
        for other in others
        for folder, extra in (
            (train, classes[train].keys() - classes[other].keys()),
            (other, classes[other].keys() - classes[train].keys()),
        )
        if extra
    ]
    if len(classes[train]) < 2:
        (inner,) = classes[train].values() or (train,)
        deeper = f"; did you mean {inner}?" if inner != train and len(folders_in(inner)) > 1 else ""
        problems.append(
            f"{train} must hold two or more class folders, and holds {len(classes[train])}{deeper}"
        )
    if problems:
        raise problem(dataset, *problems)
    return classes


def _unshowable(name: str) -> str:
    """Return why no table could show a class of this name, or nothing."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is no UTF-8"
    return "" if name.isprintable() else "has a name with a line break or a control character"


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return the names of classes as numbers where all are, else as texts, in order."""
    if all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def folder_fingerprint(dataset: str, root: Path, paths: list[Path]) -> str:
    """Return a digest of the files' relative paths, sizes and modification times."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise problem(dataset, f"{path} cannot be read: {error.strerror}") from None
        digest.update(
            f"{path.relative_to(root)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()
