"""One or several sweeps' folders -> their trials in one frame; conditions on trials."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
from pandas.api.types import is_scalar

from fieldtrial.config import FIELDS, HINTS, ConfigError, unknown_field
from fieldtrial.disk.sweep_description import Mode, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.values import format_value, parse
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.trials import load
from fieldtrial.results.read.wording import counted

SWEEP = "sweep"  # the column with a trial's sweep, which can be grouped by like a field


@dataclass(frozen=True)
class Sweeps:
    """The trials of sweeps that are read together.

    descriptions, folders, frames: what each sweep is, where it is, and what `load` returned of it.
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
        return [name for name in FIELDS if len({getattr(base, name) for base in bases}) > 1]

    def _of_rows(self, names: Iterable[str]) -> list[str]:
        apart = {*self.searched, "seed", "select"}
        return [name for name in dict.fromkeys(names) if name not in apart]

    def records(self) -> pd.DataFrame:
        """Return the records of the trials, as `load_records` does, with the column `sweep`."""
        frames = []
        for name, folder in self.folders.items():
            own = self.trials.loc[self.trials[SWEEP] == name, "trial"]
            records = load_records(folder.path)
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


def read_sweeps(paths: Sequence[Path | str]) -> Sweeps:
    """Return the sweeps in the folders `paths`, each once.

    Raises:
        ValueError: a path is not a sweep's folder, a description cannot be read, or winners are
            chosen by different metrics; all problems at once, a line each.
    """
    folders = list({Path(path).resolve(): SweepFolder(path) for path in paths}.values())
    names = [folder.name for folder in folders]
    named = {
        folder.name if names.count(folder.name) == 1 else str(folder.path): folder
        for folder in folders
    }  # the paths tell runs/x and old/x apart
    problems: list[str] = []
    descriptions: dict[str, SweepDescription] = {}
    for name, folder in named.items():
        try:
            descriptions[name] = folder.require_description()
        except (OSError, ValueError) as error:
            problems.append("; ".join(str(error).splitlines()))
    selects = {description.select for description in descriptions.values()}
    if len(selects) > 1:
        said = ", ".join(
            f"{named[name].path} by {one.select}" for name, one in descriptions.items()
        )
        problems.append(
            f"winners are chosen by different metrics ({said}), so there is no best among them all"
        )
    if problems:
        raise ValueError("\n".join(problems))
    frames = {name: load(folder.path) for name, folder in named.items()}
    first = next(iter(descriptions.values()))
    trials = _join([frame.assign(**{SWEEP: name}) for name, frame in frames.items()])
    return Sweeps(descriptions, named, frames, trials, first.select, first.mode)


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
            parsed: object = value if name == SWEEP else parse(value, HINTS[name])
            conditions.setdefault(name, []).append(parsed)
        except ValueError as error:
            problems.append(f"{text}: {error}" if name in HINTS and equals else str(error))
    if problems:
        raise ConfigError(problems, "--where")
    return conditions


def check_field(name: str) -> None:
    """Raise ValueError unless trials can be grouped by `name`: a config field or sweep."""
    if name == "seed":
        raise ValueError(
            "seed: the mean is taken over it, so nothing can be grouped or chosen by it"
        )
    if name != SWEEP and name not in FIELDS:
        raise ValueError(unknown_field(name))


def field_texts(trials: pd.DataFrame, name: str) -> "pd.Series[str]":
    """Return the values of a field as they stand on a command line; what is missing is none."""
    return trials[name].map(
        lambda value: "none" if is_scalar(value) and pd.isna(value) else format_value(value)
    )
