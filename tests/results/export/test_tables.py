"""Exports as CSV and Parquet have what the frames have; a card describes the data set."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fieldtrial.results.export.command import main
from fieldtrial.results.export.content import content_of
from fieldtrial.results.read.sweeps import read_sweep
from tests.results.conftest import Written
from tests.results.export.conftest import INPUTS


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_written_once(sweep: Written, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out"
    command = [str(sweep.folder.path), "--to", kind, str(place)]
    assert main(command) == 0
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    trials, epochs, rows = (read(place / f"{name}.{kind}") for name in ("trials", "epochs", "rows"))
    sweeps = read_sweep(sweep.folder)
    assert trials["trial"].tolist() == sweeps.trials["trial"].tolist()
    assert trials["lr"].astype(float).tolist() == sweeps.trials["lr"].tolist()
    assert (
        epochs["validation_accuracy"].tolist() == sweeps.records()["validation_accuracy"].tolist()
    )
    assert rows["test_accuracy_mean"].astype(float).tolist() == pytest.approx([0.6, 0.5, 0.4])
    known = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == known


def test_options_of_own_parts_are_parameters(written: Written) -> None:
    written.rows = [{"model": "nets:Net", "model.width": 2}, {"model": "cnn"}]
    written.describe(rows=written.rows, search={"model.rate": "choice(1, 2.5)"})
    rate: dict[str, Any] = {"model.rate": 2.5}
    written.ended(0, **rate)
    written.ended(1)
    own, other = content_of(read_sweep(written.folder)).trials
    known = {name: own.parameters[name] for name in ("model", "model.width", "model.rate", "lr")}
    assert known == {"model": "nets:Net", "model.width": "2", "model.rate": "2.5", "lr": "0.001"}
    assert other.parameters["model.width"] == "none"
    assert {name for name in own.results if "model" in name} == set()


def test_a_card_has_what_croissant_requires(sweep: Written, tmp_path: Path) -> None:
    """The required properties of https://docs.mlcommons.org/croissant/docs/croissant-spec.html."""
    file = tmp_path / "card.json"
    assert main([str(sweep.folder.path), "--to", "croissant", str(file)]) == 0
    card = json.loads(file.read_text())
    required = {
        "@context", "@type", "conformsTo", "description", "license", "name", "url", "creator",
        "datePublished", "distribution",
    }  # fmt: skip
    assert required <= card.keys()
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert card["@context"]["conformsTo"] == "dct:conformsTo"
    assert card["name"] == "digits"
    assert "50 images of 2 classes. Images: shorter side 64. 1 image was" in card["description"]
    assert str(INPUTS["data"]) in card["url"]
    assert {one["@type"] for one in card["distribution"]} == {"cr:FileSet"}
    sets = {one["@id"]: one for one in card["recordSet"]}
    for name, one in sets.items():
        fields = {field["@id"] for field in one["field"]}
        assert one["@type"] == "cr:RecordSet"
        assert one["key"]["@id"] in fields
        assert all(record.keys() == fields for record in one["data"])
        assert all(field["@id"].startswith(f"{name}/") for field in one["field"])
    counts = {one["classes/name"]: one["classes/images"] for one in sets["classes"]["data"]}
    assert (sets["classes"]["dataType"], counts) == ("sc:Enumeration", INPUTS["classes"])
    parts = {one["splits/url"]: one["splits/images"] for one in sets["splits"]["data"]}
    assert sets["splits"]["dataType"] == "cr:Split"
    assert parts == {"cr:TrainingSplit": 32, "cr:ValidationSplit": 8, "cr:TestSplit": 10}


def test_what_cannot_be_exported_is_said(
    sweep: Written, complete: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = str(sweep.folder.path), str(tmp_path / "card.json")
    (tmp_path / "file").touch()
    for words, line in (
        (["gold"], "--to gold: must be one of mlflow, wandb, csv, parquet, croissant"),
        (["csv"], "--to csv: needs a folder"),
        (["csv", "a", "b"], "--to csv a b: must be followed by a folder, and no more"),
        (["wandb"], "--to wandb: needs --offline; `wandb sync` then sends what was written"),
        (["csv", "a", "--offline"], "--offline: not with csv"),
        (["croissant", file, "--dataset", "mnist"], "--dataset mnist: must be one of digits"),
        (["csv", str(tmp_path / "file" / "a")], f"{tmp_path}/file"),
    ):
        assert main([folder, "--to", *words]) == 2
        *_, said = capsys.readouterr().err.splitlines()
        assert line in said
    complete.waiting(0, dataset="mnist", lr=0.7)
    assert main([folder, "--to", "croissant", file]) == 2
    assert "--dataset chooses among digits, mnist" in capsys.readouterr().err
