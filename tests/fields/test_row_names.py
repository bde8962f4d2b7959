"""The short names of rows: what tells rows apart, and nothing else."""

import pytest

from fieldtrial.fields.row_names import is_label, label_problems, name_rows, names_head, shortened

WEIGHTS = "/data/models/torch/squeezenet1_0.pth"


def named(*rows: dict[str, object], **base: str) -> list[str]:
    """Return the names of rows that set these fields; the others have the values of `base`."""
    fields = list(dict.fromkeys(name for row in rows for name in row if name != "label"))
    cells = [[str(row.get(name, base.get(name, "none"))) for name in fields] for row in rows]
    return name_rows(rows, fields, cells)


def test_fields_that_all_rows_share_are_left_out() -> None:
    same: dict[str, object] = {"model": "squeezenet1_0", "weights": WEIGHTS}
    freezes: list[dict[str, object]] = [same | {"freeze": one} for one in ("none", "first:2")]
    assert named(*freezes) == ["none", "first:2"]
    assert named(*freezes, same | {"freeze": "none", "lr": "0.1"}) == [
        "freeze=none",
        "freeze=first:2",
        "freeze=none lr=0.1",
    ]


def test_a_row_that_sets_nothing_of_its_own_has_the_values_that_tell_it_apart() -> None:
    assert named({"model": "cnn"}, {"model": "cnn", "lr": "1"}, lr="0.1") == ["lr=0.1", "lr=1"]
    assert named({"lr": "0.1"}, {"lr": "1"}, {"dropout": "0.5"}, lr="0.1", dropout="0.0") == [
        "lr=0.1",
        "lr=1",
        "dropout=0.5",
    ]


def test_rows_that_are_all_the_same_keep_their_fields() -> None:
    assert named({"model": "cnn"}) == ["cnn"]
    assert named({"model": "cnn"}, {"model": "cnn"}) == ["cnn", "cnn"]
    assert named({}, {}) == ["row 0", "row 1"]


def test_a_label_is_the_name() -> None:
    rows: list[dict[str, object]] = [{"lr": "1", "label": "ours"}, {"lr": "2"}]
    assert named(*rows) == ["ours", "lr=2"]


def test_a_number_alone_has_its_fields_name() -> None:
    assert named({"batch_size": "8"}, {"batch_size": "16"}) == ["batch_size=8", "batch_size=16"]
    assert named({"betas": "0.9,0.99"}, {"betas": "0.9,0.999"})[1] == "betas=0.9,0.999"
    assert named({"dropout": "none"}, {"dropout": "0.5"}) == ["dropout=none", "dropout=0.5"]
    assert named({"batch_norm": "true"}, {"batch_norm": "false"})[0] == "batch_norm=true"
    # what needs no name, and numbers beside other values
    assert named({"weights": "run:3fa9"}, {"weights": "1e.pth"}) == ["run:3fa9", "1e.pth"]
    assert named({"model": "cnn", "lr": "1"}, {"model": "mlp", "lr": "2"}) == ["cnn · 1", "mlp · 2"]
    fields, rows = ["model", "lr"], [("cnn", "1"), ("cnn", "2")]
    own: list[dict[str, object]] = [{"model": "cnn", "lr": 1}, {"model": "cnn", "lr": 2}]
    assert names_head(own, fields, rows) == "row"
    assert names_head([{"model": "cnn"}, {"model": "mlp"}], ["model"], [("cnn",), ("mlp",)]) == (
        "model"
    )


@pytest.mark.parametrize(
    ("texts", "short"),
    [
        (["/data/a/x.pth", "/data/b/x.pth", "imagenet"], ["a/x.pth", "b/x.pth", "imagenet"]),
        (["folder:/data/bees", "folder:/data/ants/"], ["folder:bees", "folder:ants"]),
        ([WEIGHTS, "random"], ["squeezenet1_0.pth", "random"]),
        (["/data/bees", "bees"], ["/data/bees", "bees"]),  # they would be the same
        (["/a/x", "/b/x"], ["a/x", "b/x"]),
        (["runs/x/11aa22bb", "runs/y/11aa22bb"], ["x/11aa22bb", "y/11aa22bb"]),
        (["timm:resnet18.a1_in1k", "none"], ["timm:resnet18.a1_in1k", "none"]),
        (["/", "//"], ["/", "//"]),
        (["pattern:[/fc]", "pattern:layer4/.*"], ["pattern:[/fc]", "pattern:layer4/.*"]),
    ],
)
def test_folders_that_all_paths_share_are_left_out(texts: list[str], short: list[str]) -> None:
    assert list(shortened(texts).values()) == short


def test_labels_are_short_texts_and_differ() -> None:
    assert label_problems([{"label": "a"}, {"label": "b"}, {"lr": 1}]) == []
    assert label_problems([{"label": "a"}, {"label": 3}, {"label": "a"}]) == [
        "row 1: label = 3: must be a text in one line, of 1 to 60 letters",
        "rows 0, 2: label = 'a': must be of one row only",
    ]
    assert [is_label(one) for one in ("ours", " ", "", "a\nb", "\x1b[2J", "x" * 61)] == [
        True,
        *[False] * 5,
    ]
