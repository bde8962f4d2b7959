"""Folders with labels.csv: what tables mean, how images are cut, and what is wrong with a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data import load as data_module
from fieldtrial.training.data.image_store import read_places, store_root
from fieldtrial.training.data.labels.load import LabelData, NumberData
from fieldtrial.training.data.labels.loaders import LOADERS
from fieldtrial.training.data.labels.strata import by_quantile, by_rarest_label, joined
from fieldtrial.training.data.load import Data
from tests.training.data.labels.pictures import COLOURS, table_text, write_folder, write_pictures


def load(root: Path, **fields: object) -> Data:
    values = {"dataset": f"folder:{root}", "validation_fraction": 0.2, "select": "last", **fields}
    config = TrainConfig.from_dict(values)
    data_module._load.cache_clear()  # as a new process would start
    data_module._open.cache_clear()
    return LOADERS[config.task](config, 16, "content", None)


def rows_of(data: Data, root: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the images in the order of the store."""
    known = {str(root / row["image"]): row for row in rows}
    return [known[place] for place in read_places(store_root() / data.store)]


def parts(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def test_one_table_serves_every_task_of_whole_images(tmp_path: Path) -> None:
    rows = write_folder(tmp_path, 120)
    classes = load(tmp_path)
    assert classes.class_names == ("long", "short")
    found = [classes.class_names[label] for label in classes.labels]
    assert found == [row["label"] for row in rows_of(classes, tmp_path, rows)]

    labels = load(tmp_path, task="multilabel")
    assert isinstance(labels, LabelData)
    assert labels.class_names == tuple(COLOURS)
    own = rows_of(labels, tmp_path, rows)
    assert labels.values.tolist() == [[row[name] for name in COLOURS] for row in own]
    assert labels.targets(labels.train[:2]).dtype == np.float32
    assert "passed over the columns of labels.csv without 0 and 1: length, label" in labels.remarks
    some = load(tmp_path, task="multilabel", classes="blue,red")
    assert isinstance(some, LabelData)
    assert some.values.tolist() == [[row["blue"], row["red"]] for row in own]

    numbers = load(tmp_path, task="regression", target="length")
    assert isinstance(numbers, NumberData)
    assert numbers.numbers.tolist() == [r["length"] for r in rows_of(numbers, tmp_path, rows)]
    learned = numbers.targets(numbers.train)
    assert (learned.mean(), learned.std()) == pytest.approx((0, 1), abs=1e-6)
    assert numbers.in_units(learned) == pytest.approx(numbers.numbers[numbers.train])

    for data in (classes, labels, numbers):
        together = np.concatenate([data.train, data.validation, data.test])
        assert sorted(together.tolist()) == list(range(120))
        assert (len(data.validation), len(data.test)) == pytest.approx((19, 24), abs=12)
    for part in (labels.validation, labels.test):  # each label is everywhere, the rare one too
        shares = labels.values[part].mean(0) / labels.values.mean(0)
        assert shares == pytest.approx([1, 1, 1], abs=0.7)
    for part in (numbers.validation, numbers.test):
        assert numbers.numbers[part].mean() == pytest.approx(numbers.numbers.mean(), abs=12)


def test_added_images_move_no_image_to_another_part(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path, 700)
    found = []
    for count in (650, 700):
        (tmp_path / "labels.csv").write_text(table_text(rows[:count]))
        data = load(tmp_path, task="multilabel")
        places = read_places(store_root() / data.store)
        found.append({places[index] for index in data.test})
    named = {str(tmp_path / row["image"]) for row in rows[:650]}
    assert len(found[0] ^ (found[1] & named)) <= 8  # of the smallest strata


def test_the_column_part_cuts(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path, 40)
    names = ["train"] * 28 + ["VAL"] * 6 + ["Test"] * 6
    rows = [{**row, "part": part} for row, part in zip(rows, names, strict=True)]
    columns = ("image", "part", "length")
    (tmp_path / "labels.csv").write_text(table_text(rows, columns))
    assert parts(load(tmp_path, task="regression")) == (28, 6, 6)
    (tmp_path / "labels.csv").write_text(table_text(rows[:34], columns))
    data = load(tmp_path, task="regression")
    assert len(data.test) == 6  # validation images are the test set where there is none
    assert "passed over 6 images that labels.csv does not name" in data.remarks


def test_tables_of_spreadsheets_mean_the_same(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path, 40)
    columns, file = ("image", *COLOURS), tmp_path / "labels.csv"
    plain = table_text(rows, columns)
    named = [{**row, "labels": ";".join(n for n in COLOURS if row[n])} for row in rows]
    spaced = [{**row, "labels": row["labels"].replace(";", " ")} for row in named]
    back = [{**row, "image": row["image"].replace("/", "\\")} for row in rows]
    order = ("image", "labels")
    found = []
    for content in (
        plain.encode(),
        b"\xef\xbb\xbf" + table_text(rows, columns, ";").encode(),
        table_text(rows, columns, "\t").encode("utf-16"),
        table_text(back, columns).replace("\r\n", "\n").encode() + b"\n,,,\n",
        table_text(rows, (*columns[:1], "", *columns[1:])).encode(),  # an index without a name
        plain.replace(",1", ",True").replace(",0", ",0.0").encode(),
    ):
        file.write_bytes(content)
        found.append(load(tmp_path, task="multilabel").digest)
    assert len(set(found)) == 1
    others = []
    listed = [{**row, "labels": row["labels"].replace(";", ", ")} for row in named]
    for table in (named, spaced, listed):
        file.write_text(table_text(table, order))
        data = load(tmp_path, task="multilabel")
        assert data.class_names == ("blue", "green", "red")
        others.append(data.digest)
    assert others[0] == others[1]


BAD = [
    ("regression", "picture,length\na,1\n", "has no column image; its columns are picture, length"),
    ("regression", "image,length\n", "has no row below its first line"),
    ("regression", "image,length\nx.png,1\n", "line 2: image = 'x.png': there is no such image"),
    ("regression", "image,length\n../a.png,1\n", "line 2: image = '../a.png': there is no such"),
    ("regression", "image,length\n0,1\n1,2\n0,3\n", "line 4: image = '0': is in line 2 already"),
    ("regression", "image,length\n0,1\n1,1.2.3\n", "line 3: length = '1.2.3': must be a number"),
    ("regression", "image;length\n0;1\n1;2,5\n", "line 3: length = '2,5': a number must have"),
    ("regression", "image,length\n0,1\n1,nan\n", "line 3: length = 'nan': must be a number"),
    ("regression", "image,length\n0,1\n1,1e400\n", "line 3: length = '1e400': must be a number"),
    ("regression", "image,a,b\n0,1,2\n1,2,3\n", "numbers are a, b; target = NAME says which"),
    ("regression", "image,a\n0,x\n1,y\n", "its columns of numbers are none"),
    ("regression", "image,length\n0,1,2\n", "line 2: has 3 cells; must have 2, as the first line"),
    ("regression", "image,length\n0,\"1\n", "line 2: unexpected end of data"),
    ("regression", "image,image\n0,1\n", "line 1: has two columns image"),
    ("regression", "image,part,length\n0,train,1\n1,dev1,2\n", "line 3: part = 'dev1': must be"),
    ("regression", "image,part,length\n0,test,1\n", "no row has part = train"),
    ("regression", b"image,length\n0,1\n1,\xe9\n", "line 3: is not UTF-8; save the table as CSV"),
    ("regression", "image,length\n0,1\n1,\0\n", "line 3: holds a character NUL"),
    ("multilabel", "image,red\n0,1\n1,2\n", "line 3: red = '2': must be 0 or 1"),
    ("multilabel", "image,red\n0,1\n1,\n", "line 3: red = '': must be 0 or 1"),
    ("multilabel", "image,name\n0,x\n1,y\n", "has no column of 0 and 1; labels.csv has a row for"),
    ("multilabel", "image,labels\n0,\n1,\n", "names 0 labels; must be from 1 to 2,000"),
    ("classification", "image,label\n0,cat\n1,\n", "line 3: label = '': must be the name of a"),
    ("classification", "image,label\n0,cat\n1,cat\n", "must name two or more classes, and names 1"),
    ("classification", "image,length\n0,1\n", "has no column label; its columns are image, length"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "table", "problem"), BAD)
def test_what_is_wrong_with_a_table_is_one_line_with_its_place(
    task: str, table: str | bytes, problem: str, tmp_path: Path
) -> None:
    for number, row in enumerate(write_pictures(tmp_path, 2)):
        (tmp_path / row["image"]).rename(tmp_path / str(number))
    (tmp_path / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(ConfigError) as error:
        load(tmp_path, task=task)
    assert problem in str(error.value)


def test_many_wrong_rows_are_told_together(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,1\n" for number in range(40))
    (tmp_path / "labels.csv").write_text(f"image,size\n{rows}")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, task="regression")
    assert len(error.value.problems) == 21
    assert error.value.problems[-1].endswith("and 20 more")


@pytest.mark.parametrize(
    ("dataset", "task", "problem"),
    [
        ("digits", "multilabel", "task = multilabel needs folder:PATH with labels.csv, or shapes"),
        ("boxes:x", "regression", "labelled for task = detection; task = regression needs folder:"),
        ("digits", "detection", "for task = classification; task = detection needs boxes:PATH"),
        ("shapes", "classification", "task = classification needs folder:PATH, or a data set"),
    ],
)
def test_data_sets_of_other_tasks_say_what_is_needed(dataset: str, task: str, problem: str) -> None:
    config = TrainConfig.from_dict({"dataset": dataset, "task": task, "select": "last"})
    with pytest.raises(ConfigError) as error:
        LOADERS[config.task](config, 16, "content", None)
    assert problem in str(error.value)


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path, 30)
    same = [{**row, "length": 5, "blue": 0} for row in rows]
    (tmp_path / "labels.csv").write_text(table_text(same, ("image", *COLOURS)))
    with pytest.raises(ConfigError, match="no image has blue"):
        load(tmp_path, task="multilabel")
    (tmp_path / "labels.csv").write_text(table_text(same, ("image", "length")))
    with pytest.raises(ConfigError, match=r"all \d+ training images have the same length, 5"):
        load(tmp_path, task="regression")


def test_a_label_that_one_part_alone_has_is_told(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path, 30)
    names = ("train", "validation", "test") * 10
    only = [
        {**row, "part": part, "blue": int(part == "test")}
        for row, part in zip(rows, names, strict=True)
    ]
    (tmp_path / "labels.csv").write_text(table_text(only, ("image", "part", *COLOURS)))
    remarks = load(tmp_path, task="multilabel").remarks
    assert "no training image has blue: this run does not learn it" in remarks
    assert "no validation image has blue: the mean average precision there is without it" in remarks


def test_strata_are_rarest_labels_and_tenths() -> None:
    values = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]], np.uint8)
    assert by_rarest_label(values).tolist() == [0, 1, 2, 3, 0]
    assert np.bincount(by_quantile(np.arange(100.0))).tolist() == [10] * 10
    assert len(np.unique(by_quantile(np.array([1.0] * 50 + [2.0] * 50)))) == 2
    strata = np.array([0] * 20 + [1] * 3 + [2] * 4 + [3] * 10)
    assert np.bincount(joined(strata, 0.2)).tolist() == [20, 10, 7]  # 3 and 4 are too few alone
    assert np.bincount(joined(strata, 0.9)).tolist() == [20, 17]
    assert set(joined(strata, 0.001).tolist()) == {0}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"file,label\n0,a\n", "has no column image; its columns are file, label; task = "),
        (b"image,Label\n0,a\n", "its columns are image, Label; rename Label to label; task = "),
        (b"Image;x\n0;1\n", "has no column image and no column label; its columns are Image, x;"),
        ("image,label\n0,süß\n".encode("latin1"), "line 2: is not UTF-8; save the table as CSV"),
    ],
)
def test_where_there_is_a_table_its_own_problem_is_told_alone(
    tmp_path: Path, text: bytes, line: str
) -> None:
    write_pictures(tmp_path, 4)
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert line in problem


def test_decimal_commas_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 4)
    table = tmp_path / "labels.csv"
    table.write_text("image;age;red\na;3,5;0\nb;4;1\nc;,5;1\n")
    rule = "; age: a number must have a decimal point, 3.5, and no decimal comma, 3,5"
    for target in (None, "age"):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, task="regression", target=target)
        assert str(caught.value).endswith(rule)
    table.write_text("image;age\na;3,5\nb;4\nc;5\n")
    with pytest.raises(ConfigError, match="line 2: age = '3,5': a number must have a decimal poi"):
        load(tmp_path, task="regression")
