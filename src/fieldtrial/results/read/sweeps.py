"""One or several sweeps' folders -> their trials in one frame; conditions on trials."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_scalar

from fieldtrial.config import HINTS, ConfigError, field_names, is_field, unknown_field
from fieldtrial.disk.found import Found, find
from fieldtrial.disk.sweep_description import Mode, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.choices import Criterion
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.options import typed
from fieldtrial.fields.printable import counted
from fieldtrial.fields.task_metrics import choosing_metric
from fieldtrial.fields.values import format_value, parse
from fieldtrial.results.read.by_hand import MOST_NAMED, read_runs
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.trials import load
from fieldtrial.results.read.wording import few, listed

_Known = tuple[SweepFolder, SweepDescription, pd.DataFrame]
SWEEP = "sweep"  # the column with a trial's sweep, which can be grouped by like a field


@dataclass(frozen=True)
class Sweeps:
    """The trials of sweeps that are read together.

    descriptions, folders, frames: what each sweep is, where it is, and what `load` returned of it.
    Runs of no sweep are together one of them.
    trials: of all sweeps, with the column `sweep`. left_out: lines on what is not among them.
    conditions: {field: its admitted values as texts}, where not all trials were taken.
    select, mode: what chooses winners, and whether it is best when large or small.
    """

    descriptions: dict[str, SweepDescription]
    folders: dict[str, SweepFolder]
    frames: dict[str, pd.DataFrame]
    trials: pd.DataFrame
    select: str
    mode: Mode
    left_out: tuple[str, ...] = ()
    conditions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def only(self) -> SweepDescription:
        """The description of the sweep, where it is the only one."""
        (description,) = self.descriptions.values()
        return description

    @property
    def searched(self) -> list[str]:
        """The fields that a sweep searches."""
        return list(
            dict.fromkeys(name for one in self.descriptions.values() for name in one.search)
        )

    @property
    def compared(self) -> list[str]:
        """The fields that a sweep's rows set, and those in which the sweeps' bases differ."""
        in_rows = (name for one in self.descriptions.values() for name in one.compared)
        return self._of_rows((*self._differing, *in_rows))

    @property
    def unequal(self) -> list[str]:
        """The fields in which the sweeps' bases differ, and that no sweep compares or searches."""
        in_rows = {name for one in self.descriptions.values() for name in one.compared}
        return self._of_rows(name for name in self._differing if name not in in_rows)

    @property
    def _differing(self) -> list[str]:
        bases = [one.base for one in self.descriptions.values()]
        names = field_names(bases)
        return [name for name in names if len({getattr(base, name) for base in bases}) > 1]

    def _of_rows(self, names: Iterable[str]) -> list[str]:
        apart = {*self.searched, *REPEATED, "select"}
        return [name for name in dict.fromkeys(names) if name not in apart]

    def records(self) -> pd.DataFrame:
        """Return the records of the trials, as `load_records` does, with the column `sweep`."""
        frames = []
        for name, folder in self.folders.items():
            own = self.trials.loc[self.trials[SWEEP] == name, "trial"]
            records = load_records(folder)
            frames.append(records[records["trial"].isin(own)].assign(**{SWEEP: name}))
        return pd.concat(frames, ignore_index=True)

    def where(self, conditions: Mapping[str, Sequence[object]]) -> "Sweeps":
        """Return the sweeps with those trials only whose fields have one of the values named.

        Raises:
            ValueError: no trial has them; the message says which there are.
        """
        if not conditions:
            return self
        known = self.trials["configuration"].notna()
        chosen = known.copy()
        for name, values in conditions.items():
            texts = field_texts(self.trials, name)
            matching = texts.isin([format_value(value) for value in values])
            if not (chosen & matching).any():
                there = ", ".join(dict.fromkeys(texts[chosen]))
                asked = " or ".join(map(format_value, values))
                raise ValueError(
                    f"--where {name}={asked}: no trial is left; there are: {there or 'none'}"
                )
            chosen &= matching
        unknown = int((~known).sum())
        lines = [
            f"{counted(unknown)} left out: without a config that can be read, so --where has no"
            " answer."
        ]
        return replace(
            self,
            trials=self.trials[chosen],
            left_out=(*self.left_out, *(lines if unknown else [])),
            conditions={
                name: [format_value(value) for value in values]
                for name, values in conditions.items()
            },
        )


def read_sweep(folder: SweepFolder) -> Sweeps:
    """Return the sweep in the folder. Raises what `require_description` raises."""
    return _read({folder.name: (folder, folder.require_description(), load(folder))})


def read_sweeps(paths: Sequence[Path | str]) -> Sweeps:
    """Return the sweeps, and the runs of no sweep, that are in the folders `paths`, each once.

    Runs of no sweep are together another sweep, without a search: see `by_hand`.

    Raises:
        ValueError: there is neither in a path, the description of a sweep that is named cannot be
            read, or named sweeps choose winners by different metrics; all problems at once, a line
            each.
    """
    found = find(paths)
    problems = [_nothing(path) for path in found.missing if found.is_nothing or not path.is_file()]
    lines = [f"{path} left out: it is no folder." for path in found.missing]
    folders = [folder for folder, _ in found.sweeps] + ([found.runs] if found.runs else [])
    names = [folder.name for folder in folders]
    descriptions: dict[SweepFolder, SweepDescription] = {}
    for folder, is_named in found.sweeps:
        try:
            descriptions[folder] = folder.require_description()
        except (OSError, ValueError) as error:
            said = "; ".join(str(error).splitlines())
            if is_named:
                problems.append(said)
            else:
                lines.append(f"A sweep is left out: {said}")
    named = [folder for folder, is_named in found.sweeps if is_named and folder in descriptions]
    selects = {descriptions[folder].select for folder in named}
    if len(selects) > 1:
        said = ", ".join(f"{one.path} by {descriptions[one].select}" for one in named)
        problems.append(
            f"winners are chosen by different metrics ({said}), so there is no best among them all"
        )
    if not descriptions and not found.runs:
        problems += lines[len(found.missing) :]
    if problems:
        raise ValueError("\n".join(problems))
    select: Criterion | None = next(iter(selects), None)
    known: dict[str, _Known] = {}
    if found.runs:
        description, frame, more = read_runs(found.runs, select)
        descriptions[found.runs], select = description, description.select
        lines += more
    select = select or Counter(one.select for one in descriptions.values()).most_common(1)[0][0]
    for folder in folders:
        if folder not in descriptions:
            continue
        if descriptions[folder].select != select:
            lines.append(
                f"A sweep is left out: {folder.path} chooses winners by"
                f" {descriptions[folder].select}, and others by {select}."
            )
            continue
        # the paths tell runs/x and old/x apart
        name = folder.name if names.count(folder.name) == 1 else str(folder.path)
        is_sweep = folder is not found.runs
        known[name] = (folder, descriptions[folder], load(folder) if is_sweep else frame)
    return _read(known, (*_found_lines(found), *lines))


def read_each(path: Path) -> tuple[list[Sweeps], list[str]]:
    """Return each sweep in a folder, and its runs of no sweep, by itself; and lines on problems.

    The problems are of the sweeps whose descriptions cannot be read.

    Raises:
        ValueError: there is nothing that can be read.
    """
    found = find([path])
    problems, parts = [_nothing(one) for one in found.missing], list[Sweeps]()
    for folder, _ in found.sweeps:
        try:
            parts.append(read_sweep(folder))
        except (OSError, ValueError) as error:
            problems.append("; ".join(str(error).splitlines()))
    lines = _found_lines(found)
    if found.runs:
        description, frame, more = read_runs(found.runs, None)
        parts.append(_read({found.runs.name: (found.runs, description, frame)}))
        lines += more
    if not parts:
        raise ValueError("\n".join(problems))
    return [replace(part, left_out=tuple(lines)) for part in parts], problems


def places(folders: Sequence[SweepFolder]) -> list[Path]:
    """Return where files of each of the folders go below another one, so that none meet.

    It is the folder's name or, where several have it, its path below all folders' parent.
    """
    paths = [Path(os.path.normpath(folder.path.absolute())) for folder in folders]
    common = os.path.commonpath([path.parent for path in paths])
    names = Counter(path.name for path in paths)
    return [
        Path(path.name) if names[path.name] == 1 else path.relative_to(common) for path in paths
    ]


def _read(known: Mapping[str, _Known], lines: Sequence[str] = ()) -> Sweeps:
    frames = {name: _with_select(frame, one.select) for name, (_, one, frame) in known.items()}
    descriptions = {name: description for name, (_, description, _) in known.items()}
    first = next(iter(descriptions.values()))
    return Sweeps(
        descriptions,
        {name: folder for name, (folder, _, _) in known.items()},
        frames,
        _join([frame.assign(**{SWEEP: name}) for name, frame in frames.items()]),
        first.select,
        first.mode,
        tuple(lines),
    )


def _with_select(trials: pd.DataFrame, select: Criterion) -> pd.DataFrame:
    """Return the trials with columns for what selects and for its test result, from the start."""
    names = (select, f"test_{choosing_metric(select)}")
    missing = dict.fromkeys(name for name in names if name not in trials)
    return trials.assign(**missing) if missing else trials


def _nothing(path: Path) -> str:
    """Return the line on a path without a sweep or a run."""
    try:
        SweepFolder(path).require()
    except (OSError, ValueError) as error:
        return f"{error}; there is no run directory in it either"
    return ""


def _found_lines(found: Found) -> list[str]:
    """Return lines on what was found in folders that are no sweeps, and what was left out."""
    lines = []
    inside = [str(folder.path) for folder, is_named in found.sweeps if not is_named]
    if inside or found.runs:
        runs = counted(len(found.runs.folders()), "run") if found.runs else ""
        parts = [f"{runs} of no sweep"] if runs else []
        parts += [f"{counted(len(inside), 'sweep')} ({few(inside, MOST_NAMED)})"] if inside else []
        lines.append(f"Found: {listed(parts)}.")
    if found.links:
        lines.append(
            f"{counted(len(found.links), 'link')} not followed: {few(found.links, MOST_NAMED)}."
        )
    if found.left_out:
        lines.append(f"Left out: {few(found.left_out, MOST_NAMED)}.")
    return lines


def _join(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the frames as one; columns that one of them has nothing in do not decide the type."""
    filled = [frame.dropna(axis="columns", how="all") for frame in frames if len(frame)]
    columns = list(dict.fromkeys(name for frame in frames for name in frame))
    return pd.concat(filled or frames, ignore_index=True).reindex(columns=columns)


def parse_conditions(texts: Sequence[str]) -> dict[str, list[object]]:
    """Return {field: values, one of which it must have} of texts like dataset=mnist.

    Raises:
        ConfigError: unknown fields and impossible values, all at once.
    """
    conditions: dict[str, list[object]] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            check_field(name if equals else text)
            if not equals:
                raise ValueError(f"{name}: must be FIELD=VALUE")
            parsed: object = value
            if name != SWEEP:
                parsed = parse(value, HINTS[name]) if name in HINTS else typed(value, None)
            conditions.setdefault(name, []).append(parsed)
        except ValueError as error:
            problems.append(f"{text}: {error}" if name in HINTS and equals else str(error))
    if problems:
        raise ConfigError(problems, "--where")
    return conditions


def check_field(name: str) -> None:
    """Raise ValueError unless trials can be grouped by `name`: a config field or sweep."""
    if name in REPEATED:
        raise ValueError(
            f"{name}: the mean is taken over it, so nothing can be grouped or chosen by it"
        )
    if name != SWEEP and not is_field(name):
        raise ValueError(unknown_field(name))


def field_texts(trials: pd.DataFrame, name: str) -> "pd.Series[str]":
    """Return the values of a field as they stand on a command line; what is missing is none.

    An option is missing in trials without an own part that takes it, and perhaps in all.
    """
    if name not in trials:
        return pd.Series("none", trials.index, dtype=object)

    @functools.lru_cache(maxsize=None, typed=True)  # columns of many trials have few values
    def text(value: Any) -> str:
        return "none" if is_scalar(value) and pd.isna(value) else format_value(value)

    return trials[name].map(text)
