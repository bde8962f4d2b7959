"""A folder of images with one folder per class, as torchvision's ImageFolder; split or not."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fieldtrial.training.data.dataset import TEST, TRAIN, VALIDATION, Contents, Dataset, problem

IMAGE_SIZE = 224  # what most pretrained classifiers were trained with


def image_folder(
    root: Path,
    dataset: str | None = None,
    parts: Mapping[str, int] | None = None,
    cut_test: bool = True,
) -> Dataset:
    """Return the images in `root`, which holds class folders, or train/, val/ and test/ with them.

    Without test/, val/ is the test set; without both, a fixed stratified fifth is. Files without an
    image's extension and hidden class folders are ignored.

    Args:
        root: the folder.
        dataset: the data set's name; None: folder:ROOT.
        parts: the folders in `root`, and the part that each holds; None: those that exist.
        cut_test: whether a test set is split off where there is none; a class then needs two images
            or more.

    Raises:
        ConfigError: parts with different classes; classes without images, or too few to split.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset  # late: only folders

    dataset = dataset or f"folder:{root}"
    layout = {root / name: part for name, part in parts.items()} if parts else _layout(root)
    if missing := [str(folder) for folder in layout if not folder.is_dir()]:
        raise problem(dataset, f"no folder {' and '.join(missing)}")
    class_names = _class_names(dataset, layout)
    numbers = {name: number for number, name in enumerate(class_names)}
    samples = [
        (Path(path), number, part)
        for folder, part in layout.items()
        for path, number in make_dataset(
            str(folder), numbers, extensions=IMG_EXTENSIONS, allow_empty=True
        )
    ]
    found = {(part, number) for _, number, part in samples}
    empty = [
        folder / name
        for folder, part in layout.items()
        for name in class_names
        if (part, numbers[name]) not in found
    ]
    if empty:
        raise problem(
            dataset,
            *(
                f"the class folder {path} has no image ({', '.join(IMG_EXTENSIONS)})"
                for path in empty
            ),
        )
    contents = Contents.of_files(class_names, samples)
    if cut_test and TEST not in layout.values():
        try:
            contents = contents.with_test_split()
        except ValueError as error:
            raise problem(dataset, f"has no test set of its own, and {error}") from None
    return Dataset(
        name=dataset,
        fingerprint=_fingerprint(dataset, root, [path for path, _, _ in samples]),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=lambda: contents,
    )


def _layout(root: Path) -> dict[Path, int]:
    """Return the part that each folder holds; without TEST, the test set is split off TRAIN."""
    there = [name for name in ("train", "val", "test") if (root / name).is_dir()]
    if not there:
        return {root: TRAIN}
    if there[0] != "train":
        raise problem(f"folder:{root}", f"has {'/ and '.join(there)}/ but no train/")
    roles = {1: (TRAIN,), 2: (TRAIN, TEST), 3: (TRAIN, VALIDATION, TEST)}[len(there)]
    return {root / name: part for name, part in zip(there, roles, strict=True)}


def _class_names(dataset: str, layout: dict[Path, int]) -> tuple[str, ...]:
    """Return the sorted names of the class folders, which all parts must share."""
    names = {
        folder: {
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
        for folder in layout
    }
    train, *others = layout
    problems = [
        f"the class folders of {train} and {other} disagree: only in {folder.name}/:"
        f" {', '.join(sorted(extra)[:10])}"
        for other in others
        for folder, extra in (
            (train, names[train] - names[other]),
            (other, names[other] - names[train]),
        )
        if extra
    ]
    if len(names[train]) < 2:
        problems.append(
            f"{train} must hold two or more class folders, and holds {len(names[train])}"
        )
    if problems:
        raise problem(dataset, *problems)
    return tuple(sorted(names[train]))


def _fingerprint(dataset: str, root: Path, paths: list[Path]) -> str:
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
