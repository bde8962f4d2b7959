"""A stranger's run never spoils the table of the others: it is left out, counted and named."""

import functools
import io
import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fieldtrial.disk.run import Run
from fieldtrial.results.read.answers import Answers, load_answers
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.read.trials import load
from fieldtrial.results.report import command as report
from fieldtrial.results.table import command
from fieldtrial.results.verdicts import runs
from tests.job_commands import main_of

if TYPE_CHECKING:
    from tests.results.conftest import Written

Spoil = Callable[[Run], object]
DEEP = "[" * 100_000
# No JSON object, or none that this program could have written.
NO_OBJECT: list[str | bytes] = [
    "", "[]", "5", '"x"', "null", DEEP, '{"a": ' * 100_000, b"\xff\xfe{}", '{"a": NaN}',
    '{"outcome": ' + "9" * 5000 + "}", "[[1]]", "true", '{"a": "\\ud800"}', "\ufeff{}",
]  # fmt: skip


def put(name: str, content: str | bytes) -> Spoil:
    """Return what replaces a file of a run."""

    def spoil(run: Run) -> None:
        path = run.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def edits(name: str, changes: Sequence[dict[str, object]]) -> list[Spoil]:
    """Return what changes entries of a JSON file, for each of the changes."""

    def edit(run: Run, change: dict[str, object]) -> None:
        path = run.path / name
        path.write_text(json.dumps(json.loads(path.read_bytes()) | change))

    return [functools.partial(edit, change=change) for change in changes]


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """Return what puts something else in the place of a file."""

    def spoil(run: Run) -> None:
        path = run.path / name
        path.unlink(missing_ok=True)
        make(path)

    return spoil


def sparse(path: Path) -> None:
    """Five gigabytes that need no room."""
    with path.open("wb") as file:
        file.truncate(5 << 30)


def errors(changes: Sequence[dict[str, object]]) -> list[Spoil]:
    """Return what makes a run a failed one, with an error that is changed so."""
    known = {"kind": "error", "message": "m", "attempt": 1, "details": "", "time": 1}
    return [error_file(json.dumps(known | change)) for change in changes]


def error_file(content: str | bytes) -> Spoil:
    def spoil(run: Run) -> None:
        (run.path / "result.json").unlink()
        put("error.json", content)(run)

    return spoil


NO_FILE: list[Callable[[Path], object]] = [
    Path.mkdir,
    lambda path: path.symlink_to(path.name),
    os.mkfifo,
    lambda path: path.symlink_to("/dev/zero"),
    sparse,
]
HUGE = 10**30
REFUSED: dict[str, list[Spoil]] = {
    "result.json": [
        *(put("result.json", content) for content in [*NO_OBJECT, "{}"]),
        *(instead("result.json", make) for make in NO_FILE),
        *edits("result.json", [
                {"outcome": []}, {"outcome": {}}, {"outcome": "zzz"}, {"validation_accuracy": "x"},
                {"validation_accuracy": [1, 2]}, {"test_accuracy": [1]}, {"test_accuracy": 1e308},
                {"test_accuracy": True}, {"minutes": "x"}, {"minutes": {"a": 1}},
                {"parameters": "many"}, {"parameters": HUGE}, {"parameters": 1.5},
                {"energy_kwh": "x"}, {"energy_kwh": -1}, {"energy_shared": 1},
                {"class_names": 5}, {"class_names": [["a"], {}]}, {"accumulate": "x"},
                {"unknown": HUGE}, {f"k{number}": number for number in range(1001)},
        ]),
    ],
    "config.json": [
        *(put("config.json", content) for content in NO_OBJECT),
        *(instead("config.json", make) for make in NO_FILE),
        *edits("config.json", [
                {"freeze": "pattern:a{99999999999}"}, {"freeze": "pattern:" + "a" * 10**6},
                {"freeze": "pattern:" + "(" * 5000 + ")" * 5000}, {"classes": "9" * 5000},
                {"lr": 10**400}, {"seed": HUGE}, {"filters": [1] * 10**5}, {"unknown": 1},
                {"batch_size": 2**70}, {"epochs": 2**70},
        ]),
        put("config.json", '{"weights": "\\ud800"}'),
        put("config.json", '{"dataset": "folder:\\udcff"}'),
    ],
    "error.json": [
        *(error_file(content) for content in [*NO_OBJECT, "{}"]),
        *errors([
                {"kind": []}, {"kind": {}}, {"kind": None}, {"message": [1]}, {"message": {}},
                {"message": None}, {"attempt": "x"}, {"attempt": None}, {"attempt": []},
        ]),
    ],
    "records": [instead("metrics-1.jsonl", make) for make in NO_FILE if make != sparse]
    + [instead("metrics-1.jsonl", sparse)],
}  # fmt: skip


def environments(changes: Sequence[dict[str, object]]) -> list[Spoil]:
    return [put("env.json", json.dumps({"1": change})) for change in changes]


def pipe_as_picture(run: Run) -> None:
    (run.path / "pictures").mkdir()
    os.mkfifo(run.path / "pictures" / "a.png")


def npz(**arrays: Any) -> Spoil:
    return lambda run: np.savez(run.predictions_path("test"), **arrays)


def raw_npz(
    shape: tuple[int, ...], method: int = 0, change: Callable[[bytearray], None] = lambda _: None
) -> Spoil:
    """Return what writes predictions whose heads say another shape than there are bytes for."""

    def spoil(run: Run) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            names = ("index", "<i8", shape[:1]), ("label", "<i8", shape[:1])
            for name, kind, size in (*names, ("log_probability", "<f4", shape)):
                head = io.BytesIO()
                facts = {"descr": kind, "fortran_order": False, "shape": size}
                np.lib.format.write_array_header_1_0(head, facts)
                archive.writestr(f"{name}.npy", head.getvalue() + bytes(8000))
        data = bytearray(file.getvalue())
        change(data)
        Path(run.predictions_path("test")).write_bytes(data)

    return spoil


def set_in_heads(local: int, central: int, value: int) -> Callable[[bytearray], None]:
    """Return what sets a byte in each local and each central head of a zip file."""

    def change(data: bytearray) -> None:
        for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
            place = data.find(mark)
            while place >= 0:
                data[place + offset] = value
                place = data.find(mark, place + 4)

    return change


def damage(data: bytearray) -> None:
    data[120:160] = b"\xff" * 40


def claim(data: bytearray) -> None:
    """Say in each central head that the content has four gigabytes, unpacked."""
    for place in [match.start() for match in re.finditer(b"PK\x01\x02", data)]:
        data[place + 24 : place + 28] = (2**32 - 2).to_bytes(4, "little")


def deepen(data: bytearray) -> None:
    """Put an expression in the place of the first array's head that no parser goes down."""
    head = b"\x93NUMPY\1\0" + (9000).to_bytes(2, "little") + b"-" * 8000 + b"1"
    place = data.find(b"\x93NUMPY")
    data[place : place + len(head)] = head


def enlarge(data: bytearray) -> None:
    """Have the end lead to another end, which says that the directory has a terabyte."""
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, 1 << 40, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22, 1)
    data[-22:-22] = end + locator


three = {"index": np.arange(3), "label": np.zeros(3, int)}
PREDICTIONS: list[Spoil] = [
    npz(index=np.array([object()]), label=np.array([1]), probability=np.ones((1, 2))),
    npz(**three, probability=np.full((3, 2), np.nan)),
    npz(**three, log_probability=np.full((3, 2), -np.inf)),
    npz(**three, log_probability=np.ones((3, 0))),
    npz(**three, probability=np.asfortranarray(np.full((3, 2), 0.5))),
    raw_npz((10**12, 10)),
    raw_npz((100, 2), zipfile.ZIP_DEFLATED, damage),
    raw_npz((100, 2), 0, set_in_heads(6, 8, 1)),  # encrypted
    raw_npz((100, 2), 0, set_in_heads(8, 10, 97)),  # packed in an unknown way
    put("predictions-test.npz", b"PK\x05\x06" + bytes(18)),
    *(instead("predictions-test.npz", make) for make in NO_FILE),
    raw_npz((100, 2), zipfile.ZIP_DEFLATED, claim),
    raw_npz((100, 2), zipfile.ZIP_LZMA, damage),
    raw_npz((100, 2), zipfile.ZIP_LZMA),
    raw_npz((100, 2), change=deepen),
    raw_npz((100, 2), change=enlarge),
    npz(**three, **{f"more{n}": np.ones(1) for n in range(20)}, log_probability=np.zeros((3, 1))),
]
# What says nothing against the run's own numbers: it is shown as far as it can be.
TOLERATED: list[Spoil] = [
    *(put("env.json", content) for content in [*NO_OBJECT, "{}"]),
    *(instead("env.json", make) for make in NO_FILE),
    *environments([
            {"devices": 5}, {"devices": {"a": 1}}, {"devices": "abc"}, {"versions": ["x"]},
            {"commit": ["x"]}, {"host": {}}, {"world_size": "x"}, {"world_size": HUGE},
            {"world_size": -5},
    ]),
    put("env.json", json.dumps({"9" * 5000: {}})),
    put("env.json", json.dumps({"1" + "0" * 300: {}})),
    *PREDICTIONS,
    put("pictures/a.png", "hello"),
    put("pictures/b.png", b"\x89PNG\r\n\x1a\n"),
    lambda run: (run.path / "pictures" / "a.png").mkdir(parents=True),
    pipe_as_picture,
    *(put(name, "") for name in ("metrics-01.jsonl", "metrics-٣.jsonl", "metrics-x.jsonl")),
    put(f"metrics-{10**40}.jsonl", ""),
    lambda run: Path(os.fsdecode(os.fsencode(run.path) + b"/metrics-\xff.jsonl")).touch(),
    *edits("result.json", [
            {"trial": "other"}, {"row": "x"}, {"role": []}, {"winner": "yes"}, {"sweep": "x"},
            {"configuration": None}, {"error_kind": 3}, {"minutes": None}, {"reason": "x" * 10**6},
    ]),
]  # fmt: skip


def test_runs_that_cannot_be_read_are_left_out_counted_and_named(
    complete: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    own = load(complete.folder.path)
    spoils = [spoil for some in REFUSED.values() for spoil in some]
    names = []
    for number, spoil in enumerate(spoils):
        run = complete.ended(0, validation=0.01, lr=0.5 + number / 1000)
        spoil(run)
        names.append(run.name)
    frame = load(complete.folder.path).set_index("trial")
    assert frame.loc[names, "outcome"].unique().tolist() == ["unreadable"]
    assert frame.loc[names, "error_message"].str.len().max() <= 1000
    assert frame.loc[own["trial"], "test_accuracy"].tolist() == own["test_accuracy"].tolist()
    for main in (command.main, main_of("status.py"), report.main):
        assert main([str(complete.folder.path)]) == 0
        printed = capsys.readouterr().out
        if main is command.main:
            assert f"{len(names)} trials left out: unreadable, such as {names[0]}: " in printed
            assert all(name in printed for name in names[1:9])
    page = complete.folder.report_path.read_text()
    assert all(name in page for name in names)


def test_what_says_nothing_against_a_run_does_not_hide_it(complete: "Written") -> None:
    names = []
    for number, spoil in enumerate(TOLERATED):
        run = complete.ended(0, "final", 0.6, 0.6, seed=1000 + number)
        (run.path / "env.json").touch()
        spoil(run)
        names.append(run.name)
    frame = load(complete.folder.path).set_index("trial").loc[names]
    assert frame["outcome"].unique().tolist() == ["finished"]
    assert frame["test_accuracy"].tolist() == [0.6] * len(names)
    assert frame["role"].unique().tolist() == ["final"]
    for main in (command.main, main_of("status.py"), report.main):
        assert main([str(complete.folder.path)]) == 0


@pytest.mark.parametrize("spoil", PREDICTIONS)
def test_predictions_are_believed_as_far_as_their_bytes(
    written: "Written", spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.describe(seeds=1)
    written.ended(0, lr=0.1)
    run = written.ended(0, "final", 0.6, 0.6, lr=0.1, seed=7)
    spoil(run)
    with pytest.raises(ValueError, match=r"predictions-test\.npz: not whole predictions: "):
        load_predictions(run)
    opened = list[Run]()

    def load(run: Run) -> Answers | None:
        opened.append(run)
        return load_answers(run)

    monkeypatch.setattr(runs, "load_answers", load)
    assert command.main([str(written.folder.path)]) == 0
    assert opened, "it is the winner's"


def test_folders_with_strange_names_are_runs_too(complete: "Written") -> None:
    run = complete.running(0, lr=0.7)
    broken = Path(os.fsdecode(os.fsencode(complete.folder.path) + b"/\xff\xfe"))
    broken.mkdir()
    shutil.copy(run.path / "config.json", broken)
    shutil.copytree(run.path, complete.folder.path / "<img src=x onerror=alert(1)>\x1b[2J")
    (complete.folder.path / "loop").symlink_to("loop")
    frame = load(complete.folder.path)
    unlisted = frame.loc[frame["role"] == "unlisted", "trial"].tolist()
    assert unlisted == ["<img src=x onerror=alert(1)>\x1b[2J", r"\udcff\udcfe"]
    for main in (command.main, main_of("status.py"), report.main):
        assert main([str(complete.folder.path)]) == 0
