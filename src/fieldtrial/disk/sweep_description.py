"""What sweep.json holds: everything that decides which trials a sweep has."""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from fieldtrial.budget import LEAST, Budget, Until
from fieldtrial.config import (
    EARLIER,
    ConfigError,
    TrainConfig,
    is_field,
    typed_values,
    unknown_field,
)
from fieldtrial.disk.schemas import BY_CONTENT, BY_POSITION, Cut
from fieldtrial.fields.choices import Criterion, SearcherName
from fieldtrial.fields.row_names import LABEL, is_label, name_rows, names_head
from fieldtrial.fields.task_metrics import MODES
from fieldtrial.fields.values import check_type, format_value

Mode = Literal["max", "min"]
DomainKind = Literal["uniform", "loguniform", "choice"]
SWITCHES = ("deterministic", "aa", "pairs")
RULES = (*SWITCHES, "searcher", "cut")  # which are written as they are
MOST_ROWS = 1000  # a table takes time for each of them
REQUIRED = ("name", "base", "rows", "search", "trials", "seeds", "select")
# What earlier versions wrote; the first one did not tell apart the domains that have steps.
RANGE = re.compile(
    r"(uniform|loguniform|quantized)\(\(?([^,()]+), ([^,()]+)\)?\)(?: in steps of (\S+))?"
)
CHOICE = re.compile(r"(choice)\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class SearchDomain:
    """The values that a search may propose for one field.

    low, high: the bounds of a range, which is uniform or loguniform. step: the distance between
    its values, None without steps. choices: the values of a choice, as texts of a command line.
    """

    kind: DomainKind
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"choice({', '.join(self.choices)})"
        step = "" if self.step is None else f" in steps of {self.step}"
        return f"{self.kind}({self.low}, {self.high}){step}"

    @classmethod
    def from_json(cls, value: object) -> "SearchDomain":
        """Return the domain that `to_json` gave, or the text of it, which earlier versions wrote.

        Raises:
            ValueError: `value` is neither; the message is the rule.
        """
        known = _read_text(value) if isinstance(value, str) else value
        if isinstance(known, dict):
            kind, low, high, step, choices = (known.get(one.name) for one in fields(cls))
            if kind == "choice" and _are_texts(choices):
                return cls(kind, choices=tuple(choices or ()))
            numbers = [low, high, *([] if step is None else [step])]
            if kind in ("uniform", "loguniform") and all(map(_is_number, numbers)):
                return cls(kind, low, high, step)
        raise ValueError("must be uniform or loguniform with low and high, or choice with choices")

    def to_json(self) -> dict[str, Any]:
        """Return the domain as plain data, without what is not given."""
        plain = asdict(self) | {"choices": list(self.choices)}
        return {name: value for name, value in plain.items() if value not in (None, [])}


@dataclass(frozen=True, kw_only=True)
class SweepDescription(Budget):
    """A sweep as its folder describes it; fieldtrial.sweep.Sweep is where it comes from.

    base: the config that the rows start from. rows: the fields that each row sets.
    search: the domain of each searched field. select: the metric that chooses the winner.
    trials, seeds, folds, finalists, searches, max_failures (None: not known): see `Budget`.
    source: the fields of the trial whose weights the rows start from, None without one.
    deterministic, aa, pairs, searcher: see `Sweep`; with `aa`, `rows` has the first row twice.
    earlier_seeds: numbers of seeds that were raised after final runs had begun. cut: see Inputs.
    row_labels: the names that the first rows were given, empty for a row without one.
    """

    name: str
    base: TrainConfig
    rows: tuple[Mapping[str, Any], ...]
    search: Mapping[str, SearchDomain]
    select: Criterion
    source: Mapping[str, Any] | None = None
    deterministic: bool = False
    aa: bool = False
    pairs: bool = False
    searcher: SearcherName = "gp"
    earlier_seeds: tuple[int, ...] = ()
    row_labels: tuple[str, ...] = ()
    cut: Cut = BY_CONTENT

    @property
    def mode(self) -> Mode:
        """Whether `select` is best when it is large or when it is small."""
        return MODES[self.select]

    @cached_property
    def digest(self) -> str:
        """A hash of what may not change while the sweep runs: all but its name and budget."""
        plain = {
            "rows": [config.id for config in self.row_configs],
            "search": {name: str(domain) for name, domain in self.search.items()},
            "source": None if self.source is None else _plain(self.source),
            "rules": [self.select, self.deterministic, self.aa],
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def compared(self) -> list[str]:
        """The fields that rows set, in the order in which they come up."""
        return compared_fields(self.rows)

    @cached_property
    def row_configs(self) -> list[TrainConfig]:
        """The config of each row before anything is searched."""
        return [TrainConfig.from_dict(row, self.base) for row in self.rows]

    def cells(self, row: int) -> tuple[str, ...]:
        """Return a row's values of the compared fields, as texts of a command line."""
        config = self.row_configs[row]
        return tuple(format_value(getattr(config, name)) for name in self.compared)

    @cached_property
    def labels(self) -> list[str]:
        """A short name for each row: its label, or what `name_rows` makes of its fields."""
        labels = name_rows(*self._named_by)
        return [*labels, f"{labels[0]} again"] if self.aa else labels

    @property
    def labels_head(self) -> str:
        """What the labels are values of: 'model · freeze', or 'row'."""
        return names_head(*self._named_by) or "row"

    @cached_property
    def _named_by(self) -> tuple[list[dict[str, object]], list[str], list[tuple[str, ...]]]:
        """The arguments of `name_rows`, without a row that is the first once more."""
        given = [*self.row_labels, *[""] * (len(self.rows) - len(self.row_labels))]
        pairs = zip(self.rows, given, strict=True)
        own = [dict(row) | ({LABEL: label} if label else {}) for row, label in pairs]
        end = len(own) - self.aa
        return own[:end], self.compared, [self.cells(row) for row in range(end)]

    @classmethod
    def from_json(cls, values: object, where: str) -> "SweepDescription":
        """Return what `to_json` gave, of this version or an earlier one.

        Raises:
            ConfigError: something is missing, or has a value that this version does not know; all
                problems at once, each line starting with `where`.
        """
        if not isinstance(values, dict):
            raise ConfigError(["must be a JSON object that describes a sweep"], where)
        if missing := [name for name in REQUIRED if name not in values]:
            raise ConfigError([f"lacks {', '.join(missing)}"], where)
        reader = _Reader(values)
        base = reader.config("base", values["base"], EARLIER)
        known = cls(
            name=reader.checked("name", str),
            base=base,
            rows=tuple(reader.rows(base)),
            search=reader.search(),
            trials=reader.checked("trials", int),
            seeds=reader.seeds(),
            folds=base.folds,
            finalists=reader.checked("finalists", int, 1),
            searches=reader.checked("searches", int, 1),
            select=reader.checked("select", Criterion),
            source=reader.source(),
            max_failures=reader.checked("max_failures", int | None),
            **{name: reader.checked(name, bool, False) for name in SWITCHES},
            searcher=reader.checked("searcher", SearcherName, "tpe"),  # that of earlier versions
            earlier_seeds=reader.checked("earlier_seeds", tuple[int, ...], ()),
            row_labels=reader.labels(),
            cut=reader.checked("cut", Cut, BY_POSITION),  # earlier versions wrote none
        )
        if reader.problems:
            raise ConfigError(reader.problems, where)
        return known

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain data: tuples as lists, configs as dictionaries."""
        return {
            "name": self.name,
            "base": self.base.to_dict(),
            "rows": [_plain(row) for row in self.rows],
            "search": {name: domain.to_json() for name, domain in self.search.items()},
            "trials": self.trials,
            "seeds": int(self.seeds),
            "most_seeds": self.most_seeds,
            "earlier_seeds": list(self.earlier_seeds),
            "row_labels": list(self.row_labels),
            "finalists": self.finalists,
            "searches": self.searches,
            "max_failures": self.max_failures,
            "select": self.select,
            "mode": self.mode,
            "source": None if self.source is None else _plain(self.source),
            **{name: getattr(self, name) for name in RULES},
        }


class _Reader:
    """Reads the parts of a description, and collects the problems with them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.problems: list[str] = []

    def checked(self, name: str, hint: Any, default: object = None) -> Any:
        value = self._values.get(name, default)
        try:
            checked = check_type(value, hint)
            if name in LEAST and checked is not None and checked < LEAST[name]:
                raise ValueError(f"must be at least {LEAST[name]}")
        except ValueError as error:
            self.problems.append(f"{name} = {value!r}: {error}")
            return None
        return checked

    def seeds(self) -> int:
        seeds, most = self.checked("seeds", int), self.checked("most_seeds", int | None)
        return Until(most) if seeds is not None and most is not None and most > seeds else seeds

    def labels(self) -> tuple[str, ...]:
        labels: tuple[str, ...] = self.checked("row_labels", tuple[str, ...], ()) or ()
        rows = self._values["rows"]
        is_fit = isinstance(rows, list) and len(labels) <= len(rows)
        if not is_fit or not all(is_label(label) for label in labels if label):
            self.problems.append("row_labels: must be names of rows, empty for one that has none")
        return labels

    def config(self, name: str, values: object, base: TrainConfig) -> TrainConfig:
        if not isinstance(values, dict):
            self.problems.append(f"{name} = {values!r}: must be an object of config fields")
            return base
        try:
            return TrainConfig.from_dict(values, base)
        except ConfigError as error:
            self.problems += [f"{name}: {problem}" for problem in error.problems]
            return base

    def rows(self, base: TrainConfig) -> Iterable[Mapping[str, Any]]:
        rows = self._values["rows"]
        if not isinstance(rows, list) or not rows:
            self.problems.append(f"rows = {rows!r}: must be a list of at least one row")
            return
        if problems := row_count_problems(len(rows)):
            self.problems += problems
            return
        known = len(self.problems)
        for number, row in enumerate(rows):
            config = self.config(f"row {number}", row, base)
            if len(self.problems) == known:
                yield {name: getattr(config, name) for name in row}

    def search(self) -> dict[str, SearchDomain]:
        search, domains = self._values["search"], {}
        if not isinstance(search, dict):
            self.problems.append(f"search = {search!r}: must be an object of fields")
            return {}
        for name, value in search.items():
            try:
                if not is_field(name):
                    raise ValueError(unknown_field(name))
                domains[name] = SearchDomain.from_json(value)
            except ValueError as error:
                self.problems.append(f"search {name} = {value!r}: {error}")
        return domains

    def source(self) -> dict[str, Any] | None:
        source = self._values.get("source")
        if source is not None and not isinstance(source, dict):
            self.problems.append(f"source = {source!r}: must be an object of config fields")
            return None
        try:
            return None if source is None else typed_values(source)
        except ValueError as error:
            self.problems.append(f"source: {error}")
            return None


def row_count_problems(rows: int) -> list[str]:
    """Return what is wrong with a number of rows: nothing, or a line."""
    if rows > MOST_ROWS:
        return [f"rows: {rows:,}; there must be at most {MOST_ROWS:,}"]
    return [] if rows else ["rows: there must be at least one"]


def compared_fields(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the fields that rows set, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row if name != LABEL))


def _read_text(text: str) -> dict[str, Any] | None:
    if match := RANGE.fullmatch(text):
        low, high, step = (None if part is None else _number(part) for part in match.groups()[1:])
        kind = match[1].replace("quantized", "uniform")
        return {"kind": kind, "low": low, "high": high, "step": step}
    if match := CHOICE.fullmatch(text):
        return {"kind": match[1], "choices": match[2].split(", ")}
    return None


def _number(text: str) -> float:
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return math.nan


def _is_number(value: object) -> bool:
    with contextlib.suppress(ValueError):
        check_type(value, float)
        return True
    return False


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    return {**values, **lists}
