"""Several sweeps read together, and conditions that choose among their trials."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.sweeps import parse_conditions, read_sweeps

if TYPE_CHECKING:
    from tests.results.conftest import Written


def test_sweeps_that_differ_in_their_base_differ_in_the_table(tmp_path: Path) -> None:
    from tests.results.conftest import BASE, Written

    paths = []
    for dataset in ("digits", "mnist"):
        written = Written(tmp_path / "runs" / dataset)
        written.describe(base=BASE.to_dict() | {"dataset": dataset})
        paths.append(written.folder.path)
    assert read_sweeps(paths).compared == ["dataset", "model", "freeze"]
    assert len(read_sweeps([*paths, *paths]).folders) == 2  # each once


def test_conditions_choose_trials(complete: "Written") -> None:
    sweeps = read_sweeps([complete.folder.path])
    chosen = sweeps.where(parse_conditions(["model=cnn", "freeze=none", "freeze=first:1"]))
    assert set(chosen.trials["freeze"]) == {"none"}
    assert len(chosen.trials) == 5
    assert sweeps.where({}) is sweeps
    with pytest.raises(
        ValueError, match=r"--where model=resnet18: no trial is left; there are: cnn, mlp"
    ):
        sweeps.where(parse_conditions(["model=resnet18"]))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["modle=cnn"], "unknown field 'modle'; did you mean 'model'"),
        (["model"], "model: must be FIELD=VALUE"),
        (["epochs=many"], "epochs=many: must be a whole number"),
        (["seed=3"], "seed: the mean is taken over it"),
    ],
)
def test_conditions_that_cannot_be(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_conditions(texts)


def test_all_problems_with_sweeps_are_said_at_once(complete: "Written", tmp_path: Path) -> None:
    from tests.results.conftest import Written

    other = Written(tmp_path / "runs" / "by_loss")
    other.describe(select="validation_loss")
    half = SweepFolder(tmp_path / "runs" / "half")
    half.path.mkdir()
    (half.path / "sweep.json").write_text('{"name": "half", "rows": [{"model": "cnn"}]}')
    future = Written(tmp_path / "runs" / "future")
    described = future.describe().require_description().to_json()
    (future.folder.path / "sweep.json").write_text(
        json.dumps(described | {"rows": [{"flux_capacitor": 1}]})
    )
    paths = [
        complete.folder.path,
        other.folder.path,
        half.path,
        future.folder.path,
        tmp_path / "nothing",
    ]
    with pytest.raises(ValueError, match="different metrics") as caught:
        read_sweeps(paths)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for text in (
        "sweep.json: lacks base, search",
        "row 0: unknown field 'flux_capacitor'",
        "nothing/sweep.json",
    ):
        assert text in str(caught.value)
