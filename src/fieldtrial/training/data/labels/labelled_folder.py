"""A folder of images with labels.csv: a class, labels or a number for each image."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fieldtrial.config import ConfigError
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.fields.choices import TaskName
from fieldtrial.fields.printable import counted
from fieldtrial.training.data.dataset import (
    TEST,
    TEST_FRACTION,
    TRAIN,
    VALIDATION,
    Contents,
    Dataset,
    Wanted,
    problem,
)
from fieldtrial.training.data.labels.strata import by_quantile, by_rarest_label
from fieldtrial.training.data.labels.table import (
    DECIMAL_COMMA,
    DECIMAL_RULE,
    FILE,
    IMAGE,
    MOST_COLUMNS,
    NUMBER,
    Table,
    columns_of,
    read_table,
)
from fieldtrial.training.data.labels.targets import Targets
from fieldtrial.training.data.sets.image_folder import (
    IMAGE_SIZE,
    folder_fingerprint,
    image_folder,
    in_order,
)
from fieldtrial.training.data.sets.image_walk import PassedOver, images_below
from fieldtrial.training.data.splits import Indices, first_of

LABEL, LABELS = "label", "labels"  # columns: of a class, and of the names of an image's labels
MOST = 0.5  # of a column's cells: with fewer flags or numbers, it is of something else
FLAGS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
IN_FOLDERS: tuple[TaskName, ...] = ("classification",)  # tasks whose labels may be folders' names
EVERY = ("any image",)  # the only class, as it were, of images that have labels or a number
LAYOUT = (
    f"{FILE} has a row for each image: its path in the column {IMAGE}, perhaps its part in the"
    f" column part, and for task = classification its class in the column {LABEL}, for multilabel"
    f" a column of 0 and 1 for each label, or their names in the column {LABELS}, for regression a"
    " column of numbers"
)


@dataclass(frozen=True, eq=False)
class Meaning:
    """What a table says of its images.

    Attributes:
        class_names, labels, targets, strata: as those of Contents, where `targets` are annotations.
        remarks: on columns that count for nothing.
    """

    class_names: tuple[str, ...]
    labels: Indices
    targets: Targets | None = None
    strata: Indices | None = None
    remarks: tuple[str, ...] = ()


def open_folder(root: Path, wanted: Wanted, cut_test: bool = True) -> Dataset:
    """Return the images in `root` with what is wanted of them.

    Classes are in labels.csv where it has their column, else each has a folder; see `image_folder`,
    also for `cut_test`.

    Raises:
        ConfigError: as `image_folder` and `labelled_folder`; or labels.csv is no table.
    """
    dataset, file, columns = f"folder:{root}", root / FILE, tuple[str, ...]()
    try:
        columns = columns_of(root)
        why = f"{file}: {_lacking(columns)}; task = multilabel or regression take others"
    except (UnreadableError, OSError) as error:
        why = str(error)
        if wanted.task not in IN_FOLDERS:
            raise problem(dataset, why) from None
    if wanted.task not in IN_FOLDERS or {IMAGE, LABEL} <= set(columns):
        return labelled_folder(root, wanted, columns)
    is_set_aside = file.is_file()
    try:
        found = image_folder(root, cut_test=cut_test)
    except ConfigError as error:
        # Whoever wrote a table means its columns, and no folders.
        raise (problem(dataset, why) if is_set_aside else error) from None
    set_aside = (f"folders are the classes, because {why}",) if is_set_aside else ()
    return replace(found, remarks=(*found.remarks, *set_aside))


def labelled_folder(root: Path, wanted: Wanted, columns: Sequence[str]) -> Dataset:
    """Return the images in `root` that its labels.csv names, with what is wanted of them.

    Without test images, those of validation are the test set; without both, a fixed fifth is.

    columns: of the file; none where there is no file.

    Raises:
        ConfigError: there is no such file, or no such column. What is wrong with its rows is raised
            by `contents`.
    """
    dataset = f"folder:{root}"
    if not columns:
        raise problem(dataset, f"{root} has no {FILE}, which task = {wanted.task} needs; {LAYOUT}")
    if IMAGE not in columns:
        raise problem(dataset, f"{root / FILE}: {_lacking(columns, (IMAGE,))}; {LAYOUT}")
    passed = PassedOver()
    images = list(images_below(root, passed))
    passed.unreadable -= Counter([(root / FILE).suffix])
    fingerprint = folder_fingerprint(dataset, root, [*images, root / FILE])
    return Dataset(
        name=dataset,
        fingerprint=f"{fingerprint} {wanted.task} {wanted.target}",
        channels=3,
        image_size=IMAGE_SIZE,
        contents=lambda: _contents(dataset, root, images, wanted),
        remarks=tuple(passed.remarks()),
        test_fraction=TEST_FRACTION,
    )


def _lacking(columns: Sequence[str], needed: Sequence[str] = (IMAGE, LABEL)) -> str:
    """Return which needed columns a table lacks, which it has, and those that differ in case."""
    missing = [name for name in needed if name not in columns]
    listed = first_of([name or "(no name)" for name in columns]) if columns else "none"
    others = {name.casefold(): name for name in columns}
    renamed = [f"rename {others[name]} to {name}" for name in missing if name in others]
    text = f"has no column {' and no column '.join(missing)}; its columns are {listed}"
    return "; ".join([text, *renamed])


def _contents(dataset: str, root: Path, images: Sequence[Path], wanted: Wanted) -> Contents:
    """Return the images with their labels. Raises ConfigError with all that is wrong with them."""
    try:
        table = read_table(root)
    except (UnreadableError, OSError) as error:
        raise problem(dataset, str(error)) from None
    paths, parts = table.images(root, images), table.parts()
    try:
        meaning = MEANINGS[wanted.task](table, wanted)
    except UnreadableError as error:
        raise problem(dataset, *table.problems.told(), str(error)) from None
    if told := table.problems.told():
        raise problem(dataset, *told)
    own = np.full(len(paths), TRAIN, np.uint8) if parts is None else np.array(parts, np.uint8)
    if TEST not in own:
        own[own == VALIDATION] = TEST
    if TRAIN not in own:
        raise problem(dataset, f"{table.path}: no row has part = train")
    passed = len(images) - len(paths)
    unlisted = (
        [f"passed over {counted(passed, 'image')} that {FILE} does not name"] if passed else []
    )
    samples = [
        (path, int(label), int(part))
        for path, label, part in zip(paths, meaning.labels, own, strict=True)
    ]
    return replace(
        Contents.of_files(meaning.class_names, samples),
        annotations=meaning.targets,
        strata=meaning.strata,
        remarks=(*unlisted, *meaning.remarks),
    )


def _classes(table: Table, _wanted: Wanted) -> Meaning:
    cells = table.column(LABEL)
    for row, cell in zip(table.rows, cells, strict=True):
        if not cell or not cell.isprintable():
            table.tell(row, f"{LABEL} = {cell!r}: must be the name of a class")
    names = in_order(set(cells))
    if len(names) < 2:
        table.problems.add(f"{table.path}: must name two or more classes, and names {len(names)}")
    numbers = {name: number for number, name in enumerate(names)}
    return Meaning(names, np.array([numbers[cell] for cell in cells], np.int64))


def _labels(table: Table, _wanted: Wanted) -> Meaning:
    if LABELS in table.columns:
        names, values, remarks = _named(table)
    else:
        names, values, remarks = _flagged(table)
    matrix = np.array(values, np.uint8).reshape(len(table.rows), len(names))
    whole = np.zeros(len(matrix), np.int64)
    strata = by_rarest_label(matrix) if names else whole
    return Meaning(EVERY, whole, Targets(matrix, names), strata, remarks)


Flagged = tuple[tuple[str, ...], list[list[int]], tuple[str, ...]]


def _named(table: Table) -> Flagged:
    """Return names and flags of the labels that the column LABELS names."""
    cells = table.column(LABELS)
    for row, cell in zip(table.rows, cells, strict=True):
        if not cell.isprintable():
            table.tell(row, f"{LABELS} = {cell!r}: must be names of labels")
    # else spaces
    between = next((mark for mark in ";," if any(mark in cell for cell in cells)), None)
    sets = [{name.strip() for name in cell.split(between)} - {""} for cell in cells]
    names = in_order(set().union(*sets))
    if not names or len(names) > MOST_COLUMNS:
        rule = f"must be from 1 to {MOST_COLUMNS:,}"
        raise UnreadableError(f"{table.path}: names {len(names):,} labels; {rule}")
    others = [name for name in table.own if name not in (LABELS, LABEL)]
    remarks = (f"passed over the columns beside {LABELS}: {first_of(others)}",) if others else ()
    return names, [[int(name in own) for name in names] for own in sets], remarks


def _flagged(table: Table) -> Flagged:
    """Return names and flags of the labels that have a column each."""
    names, flags, others = list[str](), list[list[int]](), list[str]()
    for name in table.own:
        cells = table.column(name)
        own = [FLAGS.get(cell.casefold()) for cell in cells]
        if sum(flag is not None for flag in own) < MOST * len(own):
            others.append(name)
            continue
        for row, cell, flag in zip(table.rows, cells, own, strict=True):
            if flag is None:
                table.tell(row, f"{name} = {cell!r}: must be 0 or 1, as in other rows")
        names.append(name)
        flags.append([flag or 0 for flag in own])
    if not names:
        raise UnreadableError(f"{table.path}: has no column of 0 and 1; {LAYOUT}")
    rows = [list(row) for row in zip(*flags, strict=True)]
    return tuple(names), rows, _passed_over(others, "0 and 1")


def _number(table: Table, wanted: Wanted) -> Meaning:
    names = [name for name in table.own if _is_of_numbers(table.column(name))]
    listed = first_of(names) if names else "none"
    asked = wanted.target
    commas = _with_commas(table, [one for one in table.own if one not in names])
    if asked is None and (len(names) != 1 or commas):
        raise UnreadableError(
            f"{table.path}: its columns of numbers are {listed}; target = NAME says which is"
            f" learned{commas}"
        )
    if asked is not None and asked not in names:
        raise UnreadableError(
            f"{table.path}: target = {asked!r}: must be a column of numbers; these are {listed}"
            f"{commas}"
        )
    name = asked or names[0]
    values = np.array(table.numbers(name), np.float64)
    others = [one for one in table.own if one not in names]
    remarks = _passed_over(others, "numbers") if asked is None else ()
    whole = np.zeros(len(values), np.int64)
    return Meaning(EVERY, whole, Targets(values[:, None], (name,)), by_quantile(values), remarks)


def _is_of_numbers(cells: Sequence[str]) -> bool:
    return sum(NUMBER.fullmatch(cell) is not None for cell in cells) >= MOST * len(cells)


def _with_commas(table: Table, names: Sequence[str]) -> str:
    """Return which of the columns would be of numbers if these had no decimal commas, or ""."""
    found = {
        name: next(filter(DECIMAL_COMMA.fullmatch, cells))
        for name in names
        if any(map(DECIMAL_COMMA.fullmatch, cells := table.column(name)))
        and _is_of_numbers([cell.replace(",", ".") for cell in cells])
    }
    if not found:
        return ""
    cell = next(iter(found.values()))
    return f"; {first_of(list(found))}: {DECIMAL_RULE.format(cell.replace(',', '.'), cell)}"


def _passed_over(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return a remark on the columns that hold nothing of what is wanted, where there are any."""
    if not names:
        return ()
    return (f"passed over the columns of {FILE} without {what}: {first_of(names)}",)


MEANINGS: dict[TaskName, Callable[[Table, Wanted], Meaning]] = {
    "classification": _classes,
    "multilabel": _labels,
    "regression": _number,
}
