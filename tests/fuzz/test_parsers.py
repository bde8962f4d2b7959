"""Each parser of what strangers write, fed by chance: it returns, or says in its own error why not.

make fuzz runs these for minutes. What they found is in the tests beside each parser.
"""

import contextlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fieldtrial.config import ConfigError
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.disk import schemas
from fieldtrial.disk.files import parse_record, write_arrays
from fieldtrial.disk.reading import UnreadableError, decode
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, attempt_number, run_name
from fieldtrial.fields.freezing_schemes import compile_pattern, is_scheme
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.read.records import _parse
from fieldtrial.training.data.fetch.unpack import ArchiveError, unpack
from fieldtrial.training.data.sets.tfrecords import parse_example, records
from tests.results.conftest import Written
from tests.training.data.sets.test_flowers104 import write_records

pytestmark = pytest.mark.fuzz
QUICK = settings(
    max_examples=8_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
ON_DISK = settings(QUICK, max_examples=3_000)

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=20)
values = st.recursive(
    leaves, lambda some: st.lists(some) | st.dictionaries(st.text(max_size=8), some), max_leaves=20
)


def near(known: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects like a known one: entries missing, added, and of any value."""
    names = st.sampled_from(list(known)) | st.text(max_size=8)
    kept = st.lists(st.sampled_from(list(known)), unique=True)
    changes = st.dictionaries(names, values, max_size=3)
    return st.builds(lambda keep, new: {n: known[n] for n in keep} | new, kept, changes)


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """Return bytes like valid ones: some replaced, some cut out, some put in."""
    place = st.integers(0, len(valid))
    change = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = valid
        for start, length, new in changes:
            data = data[:start] + new + data[start + length :]
        return data

    return st.lists(change, min_size=1, max_size=6).map(apply)


RESULT = {"outcome": "finished", "epochs": 3, "minutes": 1.5, "class_names": ["a"], "attempt": 1}
RECORD = {"epoch": 1, "seconds": 1.0, "time": 2.0, "attempt": 1, "validation_accuracy": 0.5}
OWNER = {"user": "u", "host": "h", "process": 5, "started": 1, "token": "t", "since": 1.0}
ERROR = {"kind": "died", "message": "m", "attempt": 1, "time": 1.0}
ENTRY = {"trial": "0a1b2c3d", "row": 0, "role": "search", "search": 1}
PLACE = {"host": "h", "devices": ["d"], "world_size": 1, "versions": {"torch": "2"}}
KINDS = [
    (schemas.Result, RESULT), (schemas.Record, RECORD), (schemas.Owner, OWNER),
    (schemas.Failure, ERROR), (schemas.Entry, ENTRY), (schemas.Environment, PLACE),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "known"), KINDS)
@QUICK
@given(data=st.data())
def test_json(schema: Any, known: dict[str, Any], data: st.DataObject) -> None:
    assert decode(json.dumps(known).encode(), schema, "here") == known
    objects = near(known).map(lambda one: json.dumps(one).encode())
    text = data.draw(objects | mutated(json.dumps(known).encode()) | st.binary(max_size=200))
    try:
        found = decode(text, schema, "here")
    except UnreadableError as error:
        assert str(error).startswith("here: not a JSON file of this program: ")
    else:
        assert set(found) <= set(schema.__annotations__)
        json.dumps(found, allow_nan=False)


@ON_DISK
@given(lines=st.lists(near(ENTRY).map(json.dumps) | st.text(max_size=50), max_size=8))
def test_list_of_trials(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = SweepFolder(tmp_path_factory.getbasetemp() / "fuzz-list")
    folder.path.mkdir(exist_ok=True)
    (folder.path / "trials.jsonl").write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    for entry in folder.trials():
        if (name := entry["trial"]) is not None:
            assert folder.run(name).path.parent == folder.path
            assert name not in (".", "..")


@ON_DISK
@given(lines=st.lists(near(RECORD).map(json.dumps) | st.text(max_size=50), max_size=6))
def test_records(lines: list[str]) -> None:
    """Both parsers find the same epochs, and a table of them can be written and read."""
    whole = "".join(f"{line}\n" for line in lines).encode(errors="surrogatepass")
    found = _parse([("a", 1, 1, whole)])
    one_by_one = [_parse([("a", 1, 1, line + b"\n")]) for line in whole.split(b"\n")]
    expected = [r["epoch"] for line in whole.split(b"\n") if (r := parse_record(line))]
    assert found["epoch"].to_pylist() == expected
    assert [epoch for part in one_by_one for epoch in part["epoch"].to_pylist()] == expected
    assert found.to_pandas()["seconds"].dropna().between(0, 1e12).all()


DESCRIBED = {
    "name": "x", "base": {"epochs": 3}, "rows": [{"model": "cnn"}, {"model": "mlp"}],
    "search": {"lr": "loguniform(1e-4, 1e-1)"}, "trials": 2, "seeds": 2, "finalists": 1,
    "searches": 1, "select": "validation_accuracy", "source": None, "max_failures": 3,
    "aa": False, "most_seeds": 3, "deterministic": False, "earlier_seeds": [], "searcher": "tpe",
}  # fmt: skip
texts = st.from_regex(r"(uniform|loguniform|quantized|choice)\([0-9a-z, .()-]*\)( in steps of .*)?")
bases = near({"epochs": 3, "lr": 0.1, "filters": [8]}).map(lambda base: DESCRIBED | {"base": base})
searches = texts.map(lambda text: DESCRIBED | {"search": {"lr": text}})


@QUICK
@given(known=near(DESCRIBED) | bases | searches)
def test_description(known: dict[str, Any]) -> None:
    try:
        read = SweepDescription.from_json(known, "here")
    except ConfigError as error:
        assert str(error).startswith("here: ")
    else:
        assert SweepDescription.from_json(json.loads(json.dumps(read.to_json())), "x") == read


@QUICK
@given(line=st.text(max_size=60) | st.from_regex(r"[0-9_\[\]:,%-]{1,30}\|[A-Z ]{0,9}\|n1(\|.*)?"))
@example("12_[0-99999999]|PENDING|")
def test_squeue_and_sacct(line: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_commands, "_run", lambda *_: [one for one in line.splitlines() if one])
        found = [job.id for job in slurm_commands.my_jobs()]
        unknown = slurm_commands.Unknown()
        found += slurm_commands._remembered(["1"], unknown)
        found += slurm_commands._accounted(["1"], unknown)
        slurm_commands.submit_limit(None)
    assert all(re.fullmatch(r"[0-9]+([_+][0-9]+)?", job) for job in found)
    assert len(found) <= slurm_commands.LARGEST_ARRAY + 2


@QUICK
@given(ids=st.from_regex(r"\A1_\[[0-9]{1,3}(-[0-9]{1,3})?(:[0-9])?(,[0-9]{1,2})?(%[0-9])?\]\Z"))
def test_array_ranges(ids: str) -> None:
    numbers = ids[3:-1].partition("%")[0]
    expected = []
    for part in numbers.split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("-")
        number = int(first)
        while number <= (int(last) or int(first) if last else int(first)):
            expected.append(f"1_{number}")
            number += int(step or 1) or 1
    assert slurm_commands._elements(ids) == expected


@ON_DISK
@given(name=st.text(max_size=30) | st.from_regex(r"\A[^/\0]{0,9}-[0-9]{0,12}\Z"))
def test_task_names(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    queue = TaskQueue(tmp_path_factory.getbasetemp() / "fuzz-queue", "x")
    folder = queue.folder / "tasks-x"
    folder.mkdir(parents=True, exist_ok=True)
    assume(name not in ("", ".", "..") and "/" not in name and "\0" not in name)
    path = Path(folder) / f"{name}.json"
    try:
        path.write_text("{}")
    except (OSError, UnicodeEncodeError):
        return
    for task in queue.waiting():
        assert run_name(task)
        assert attempt_number(task) > 0
    path.unlink()


parts = st.sampled_from(
    [
        r"a",
        r"b",
        r".",
        r"\w",
        r"\d",
        r"[ab]",
        r"(",
        r")",
        r"|",
        r"*",
        r"+",
        r"?",
        r"{2}",
        r"^",
        r"$",
        r"\b",
        r"(?:",
        r"{,2}",
        r"(?i)",
        r"(?!",
        r"\1",
        r"[^.]",
        r"\.",
        r"[[:",
        r"++",
        r"(?P<a>",
    ]
)


@QUICK
@given(st.lists(parts, max_size=7).map("".join) | st.text(max_size=30), st.text("ab.1", max_size=6))
def test_freezing_patterns(pattern: str, name: str) -> None:
    """RE2 finds what Python's own engine finds, or refuses the pattern."""
    if not is_scheme(f"pattern:{pattern}"):
        return
    try:
        found = compile_pattern(pattern).search(name)
    except ValueError as error:
        assert "RE2 cannot search" in str(error)
    else:
        assert bool(found) == bool(re.search(pattern, name))


@ON_DISK
@given(data=st.data())
def test_tfrecords(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.tfrec"
    write_records(path, [b"\x0a\x0b\x0a\x09\x0a\x01a\x12\x04\x0a\x02\x0a\x00", b"more"])
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    with contextlib.suppress(ValueError):
        for _, content in records(path):
            parse_example(content)
    with contextlib.suppress(ValueError):
        parse_example(path.read_bytes()[12:])


def _archives() -> list[bytes]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", b"content" * 9)
        archive.writestr("c", b"")
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        info = tarfile.TarInfo("a/b.txt")
        info.size = 63
        archive.addfile(info, io.BytesIO(b"content" * 9))
    return [zipped.getvalue(), tarred.getvalue()]


@pytest.mark.parametrize("valid", _archives())
@ON_DISK
@given(data=st.data())
def test_archives(
    valid: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("archive")
    (top / "archive").write_bytes(data.draw(mutated(valid)))
    with contextlib.suppress(ArchiveError, OSError):
        unpack(top / "archive", top / "folder", lambda _: True)
    assert {path.name for path in top.iterdir()} <= {"archive", "folder"}


@ON_DISK
@given(data=st.data())
def test_predictions(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    written = Written(tmp_path_factory.mktemp("predictions"))
    run = written.folder.run("run")
    run.path.mkdir(parents=True)
    answers = np.log(np.full((3, 2), 0.5))
    arrays = {"index": np.arange(3), "label": np.zeros(3, int), "log_probability": answers}
    write_arrays(run.predictions_path("test"), **arrays)
    whole = run.predictions_path("test").read_bytes()
    Path(run.predictions_path("test")).write_bytes(data.draw(mutated(whole)))
    try:
        found = load_predictions(run)
    except ValueError as error:
        assert "not whole predictions" in str(error)
    else:
        assert len(found.index) == len(found.log_probability)
