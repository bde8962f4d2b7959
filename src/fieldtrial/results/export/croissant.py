"""A card of the data set that a sweep used: JSON-LD after MLCommons Croissant 1.0.

The format is described at https://docs.mlcommons.org/croissant/docs/croissant-spec.html. A sweep
records which classes a data set had, how many images of each, and a digest of them all. It records
neither licence nor author nor address, so these say that they are not known.
"""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from fieldtrial.disk.files import read_json, write_atomically
from fieldtrial.disk.schemas import Inputs
from fieldtrial.fields.printable import counted
from fieldtrial.results.read.sweeps import Sweeps, field_texts

SPECIFICATION = "http://mlcommons.org/croissant/1.0"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
UNKNOWN = "not recorded"
SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}


def export_croissant(sweeps: Sweeps, file: Path, dataset: str | None) -> str:
    """Write the card of the sweep's data set into the file; return what was done.

    dataset: which one, where the sweep has several.

    Raises:
        ValueError: the sweep has no trial that recorded its data, several data sets, or others.
    """
    made = json.dumps(card(sweeps, dataset), indent=1, ensure_ascii=False).encode() + b"\n"
    if file.is_file() and file.read_bytes() == made:
        return f"{file}: as it was"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, made)
    return str(file)


def card(sweeps: Sweeps, dataset: str | None = None) -> dict[str, Any]:
    """Return the card as plain data, dated by the first trial's first epoch.

    Raises as `export_croissant` does.
    """
    (folder,) = sweeps.folders.values()
    known = sweeps.trials[sweeps.trials["configuration"].notna()]
    names = field_texts(known, "dataset")
    there = list(dict.fromkeys(names))
    if dataset is not None:
        if dataset not in there:
            raise ValueError(f"--dataset {dataset}: must be one of {', '.join(there)}")
        known = known[names == dataset]
    elif len(there) > 1:
        raise ValueError(f"a card is of one data set; --dataset chooses among {', '.join(there)}")
    inputs = [(trial, _inputs(folder.run(trial))) for trial in known["trial"].unique()]
    states = Counter(found["data"] for _, found in inputs if found)
    if not states:
        raise ValueError(f"{folder.path}: no trial has recorded its data yet")
    ((state, _),) = states.most_common(1)
    own = {trial: found for trial, found in inputs if found and found["data"] == state}
    records = sweeps.records()
    moments = records.loc[records["trial"].isin(own), "time"].dropna()
    first = time.gmtime(moments.min() if len(moments) else None)
    of_state = known[known["trial"].isin(own)]
    made = _card(of_state, next(iter(own.values())), len(states))
    return made | {"datePublished": time.strftime("%Y-%m-%d", first)}


def _inputs(run: Any) -> Inputs | None:
    found: Inputs | None = read_json(run.inputs_path, Inputs)
    return found


def _card(trials: pd.DataFrame, inputs: Inputs, states: int) -> dict[str, Any]:
    name, classes = field_texts(trials, "dataset").iloc[0], inputs.get("classes", {})
    counts = {split: _count(trials, f"{split}_images") for split in SPLITS}
    said = [f"{counted(sum(classes.values()), 'image')} of {counted(len(classes), 'class')}."]
    said += [f"Images: {inputs['recipe']}."] if inputs.get("recipe") else []
    said += inputs.get("remarks", [])
    said += [f"The sweep has met {states} states of the data; this is that of most trials."] * (
        states > 1
    )
    said.append("Licence, author and address are not recorded by the sweep.")
    splits = [
        {"splits/name": split, "splits/url": f"cr:{SPLITS[split]}Split", "splits/images": count}
        for split, count in counts.items()
        if count is not None
    ]
    of_classes = [{"classes/name": one, "classes/images": count} for one, count in classes.items()]
    unknown = {"@type": "sc:Organization", "name": UNKNOWN}
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATION,
        "name": name,
        "description": " ".join(said),
        "license": {"@type": "sc:CreativeWork", "name": UNKNOWN},
        "url": f"urn:fieldtrial:data:{inputs['data']}",
        "creator": unknown,
        "version": f"0.0.0+{inputs['data']}",
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": "images",
                "name": "images",
                "description": "The images, wherever a trial's machine has them.",
                "encodingFormat": "image/*",
                "includes": "**/*",
            }
        ],
        "recordSet": [
            _records("classes", "sc:Enumeration", {"name": "sc:Text"}, of_classes),
            _records("splits", "cr:Split", {"name": "sc:Text", "url": "cr:Split"}, splits),
        ],
    }


def _records(
    name: str, kind: str, fields: dict[str, str], data: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a set of records with their data in it, and a number of images in each."""
    typed = {**fields, "images": "sc:Integer"}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "dataType": kind,
        "key": {"@id": f"{name}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{one}", "name": one, "dataType": hint}
            for one, hint in typed.items()
        ],
        "data": data,
    }


def _count(trials: pd.DataFrame, name: str) -> int | None:
    """Return the number that most of the trials have."""
    known = trials[name].dropna() if name in trials else trials.iloc[:0]["trial"]
    return int(known.mode().iloc[0]) if len(known) else None
