"""What an export has of a sweep, in no tracker's terms: its trials, its rows and its table."""

import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fieldtrial.config import FIELDS, is_field
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Run
from fieldtrial.fields.values import format_value
from fieldtrial.own.names import is_option
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import Sweeps, field_texts
from fieldtrial.results.read.trials import COLUMNS
from fieldtrial.results.table.render import render_markdown
from fieldtrial.results.table.spreadsheet import to_csv
from fieldtrial.results.table.tables import sweep_table

# Of a record, what is no quantity of its epoch.
NO_QUANTITY = ("trial", "epoch", "attempt", "time", "world_size", "step", "best_epoch", "sweep")
NAME = re.compile(r"[\w .:/-]{1,200}")  # of a quantity, that every tracker takes
RESULT = "result/"  # before the names of what was found at the end
RUNNING = ("running", "waiting")  # outcomes of a trial that has not ended


@dataclass(frozen=True)
class Epoch:
    """An epoch of a trial: when its record was written, in seconds since 1970, and its numbers."""

    number: int
    time: float
    values: dict[str, float]


@dataclass(frozen=True)
class ExportedTrial:
    """A trial: once, also where several rows share it.

    key: tells it from the trials of sweeps with other names. name: for people. row: the number of
    its first row, None for a source. parameters: its fields, as on a command line. results: numbers
    of its end. files: that are copied. is_over: whether it has ended; is_good: and ended well.
    """

    key: str
    name: str
    row: int | None
    parameters: dict[str, str]
    tags: dict[str, str]
    epochs: list[Epoch]
    results: dict[str, float]
    files: list[Inside]
    is_over: bool
    is_good: bool

    @property
    def digest(self) -> str:
        """A hash of all that is exported: equal where nothing has changed since."""
        known: list[object] = [self.name, self.row, self.parameters, self.tags, self.results]
        known += [self.is_over, self.is_good]
        known += [[epoch.number, epoch.values] for epoch in self.epochs]
        known += [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in self.files]
        return digest_of(known)


@dataclass(frozen=True)
class ExportedRow:
    """A row of the table: its name, verdict and fields, and the numbers of its test result."""

    number: int
    key: str
    name: str
    tags: dict[str, str]
    values: dict[str, float]


@dataclass(frozen=True)
class ExportedSweep:
    """A sweep, or the runs of no sweep in a folder. table: the files of its table by name."""

    name: str
    tags: dict[str, str]
    rows: list[ExportedRow]
    trials: list[ExportedTrial]
    table: dict[str, bytes] = field(default_factory=dict)


def digest_of(value: object) -> str:
    """Return 16 hexadecimal digits of plain data."""
    text = json.dumps(value, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def content_of(sweeps: Sweeps, weights: bool = False) -> ExportedSweep:
    """Return what is exported of the only sweep in `sweeps`; weights: of its trials, too."""
    (name,), description = sweeps.folders, sweeps.only
    records = sweeps.records()
    table = sweep_table(sweeps, records)
    keys = _row_keys(sweeps)
    rows = [_row(group, table.groups, keys[group.number]) for group in table.groups.groups]
    verdicts = {row.number: row.tags["verdict"] for row in rows}
    tags = {
        "kind": "sweep",
        "sweep": name,
        "select": description.select,
        "compares": ", ".join(description.compared),
        "searches": ", ".join(f"{field}: {one}" for field, one in description.search.items()),
    }
    files = {
        "table.csv": to_csv(table.frame).encode(),
        "table.md": render_markdown(table.grid).encode(),
    }
    trials = list(_trials(sweeps, records, verdicts, weights))
    return ExportedSweep(name, tags, rows, trials, files)


def _row_keys(sweeps: Sweeps) -> list[str]:
    """Return what tells each row from all rows of other names: not its number, which may change."""
    (name,), known = sweeps.folders, Counter[str]()
    keys = []
    for config in sweeps.only.row_configs:
        known[config.configuration] += 1
        again = f" {known[config.configuration]}" if known[config.configuration] > 1 else ""
        keys.append(f"{name}/row {config.configuration}{again}")
    return keys


def _row(group: Group, groups: Groups, key: str) -> ExportedRow:
    name, metric, best = groups.names[group.number], groups.metric, _best(groups, group)
    tags = {
        "kind": "row",
        "row": name,
        "verdict": f"untested: {group.untested}" if group.mark == "untested" else group.mark,
        "compared_with": best if group.comparison else "",
        "winner": str(group.winner["trial"]) if group.winner else "",
        "note": group.note,
        **dict(zip(groups.fields, group.key, strict=True)),
    }
    interval, one = group.interval, group.comparison
    values = {
        **({f"{metric}_mean": interval.mean, "n": interval.runs} if interval else {}),
        **({f"{metric}_low": interval.low, f"{metric}_high": interval.high} if interval else {}),
        **({"difference_to_best": one.difference, "corrected_p": one.corrected_p} if one else {}),
        **({"difference_low": one.low, "difference_high": one.high} if one else {}),
    }
    return ExportedRow(group.number, key, name, tags, _numbers(values))


def _best(groups: Groups, group: Group) -> str:
    known = (one for one in groups.groups if one.mark == "best" and one.family == group.family)
    return next((groups.names[one.number] for one in known), "")


def _trials(
    sweeps: Sweeps, records: pd.DataFrame, verdicts: dict[int, str], weights: bool
) -> Iterator[ExportedTrial]:
    ((sweep, folder),), labels = sweeps.folders.items(), sweeps.only.labels
    epochs = {str(name): own for name, own in records.groupby("trial", observed=True)}
    quantities = _quantities(records)
    fields = [*FIELDS, *filter(is_option, map(str, sweeps.trials))]
    texts = {one: field_texts(sweeps.trials, one) for one in fields}
    for name, entries in sweeps.trials.groupby("trial", sort=False):
        trial, first, place = str(name), entries.iloc[0].to_dict(), entries.index[0]
        numbers = [int(row) for row in entries["row"].dropna().unique()]
        rows = [labels[number] for number in numbers if number < len(labels)]
        roles = list(dict.fromkeys(entries["role"]))
        tags = {
            "kind": "trial",
            "sweep": sweep,
            "trial": trial,
            "row": "; ".join(rows),
            "role": ", ".join(roles),
            "outcome": first["outcome"],
            "winner": format_value(bool(entries["winner"].any())),
            "verdict": verdicts.get(numbers[0], "") if numbers else "",
            "error": _text(first.get("error_message")),
        }
        known = isinstance(first["configuration"], str)
        yield ExportedTrial(
            key=f"{sweep}/{trial}",
            name=" · ".join([*(rows[:1] or roles[:1]), *([roles[0]] if rows else []), trial]),
            row=numbers[0] if numbers else None,
            parameters={one: texts[one][place] for one in fields} if known else {},
            tags=tags,
            epochs=list(_epochs(epochs.get(trial), quantities)),
            results=_results(first),
            files=_files(folder.run(trial), weights) if known else [],
            is_over=first["outcome"] not in RUNNING,
            is_good=first["outcome"] in ("finished", "stopped"),
        )


def _files(run: Run, weights: bool) -> list[Inside]:
    """Return the files of a run that are copied; a link in the place of one is none."""
    found = []
    for file in run.artifacts(weights):
        with contextlib.suppress(OSError):
            found += [file] if file.is_file() else []
    return found


def _quantities(records: pd.DataFrame) -> list[str]:
    numbers = map(str, records.select_dtypes("number").columns)
    return [name for name in numbers if name not in NO_QUANTITY and NAME.fullmatch(name)]


def _epochs(own: pd.DataFrame | None, quantities: Sequence[str]) -> Iterator[Epoch]:
    for record in [] if own is None else own.to_dict("records"):
        moment = record["time"] if math.isfinite(record["time"] or math.nan) else 0.0
        values = _numbers({name: record[name] for name in quantities})
        yield Epoch(int(record["epoch"]), moment, values)


def _results(entry: dict[Any, Any]) -> dict[str, float]:
    own = {
        f"{RESULT}{name}": value
        for name, value in entry.items()
        if name not in (*COLUMNS, "sweep") and not is_field(str(name)) and NAME.fullmatch(str(name))
    }
    return _numbers(own)


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Return those of the values that are finite numbers."""
    kept = {}
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            kept[name] = float(value)
    return kept


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
