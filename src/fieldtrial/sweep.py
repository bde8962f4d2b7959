"""Sweep: the rows of a table, the search inside each row, and the budget."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fieldtrial.budget import AA_SEEDS, Budget
from fieldtrial.config import (
    FIELDS,
    ConfigError,
    TrainConfig,
    is_field,
    typed_values,
    unknown_field,
)
from fieldtrial.disk.sweep_description import (
    Mode,
    SweepDescription,
    compared_fields,
    row_count_problems,
)
from fieldtrial.fields.choices import Criterion, SearcherName
from fieldtrial.fields.row_names import LABEL, given_labels, label_problems, name_rows, rows_text
from fieldtrial.fields.rules import RUN_PREFIX
from fieldtrial.fields.task_metrics import MODES, criteria, select_problems
from fieldtrial.fields.values import format_value, is_numeric
from fieldtrial.own.names import KINDS, is_option, kind_of
from fieldtrial.parts.typed import with_types
from fieldtrial.rows.decided import ARCHITECTURE, OWN_FIELDS
from fieldtrial.rows.grid import grid
from fieldtrial.rows.idle import idle_fields, idle_source_fields
from fieldtrial.rows.planned_row import PlannedRow
from fieldtrial.search_domains import (
    Domain,
    domain_problem,
    extremes,
    to_domain,
    to_search_domain,
    typed_domain,
)

__all__ = ("PlannedRow", "Sweep", "grid")  # what a sweep's file needs

OF_BASE: Any = None  # until `select` is known by the base
MOST_FAILURES = 10  # or a tenth of the trials, if that is more


@dataclass(frozen=True, kw_only=True)
class Sweep(Budget):
    """A comparison: `rows` are compared, `search` is tuned inside each row.

    base: the config that the rows start from.
    rows: the fields of each row of the table (see `grid`); `label` beside them is the row's name.
    search: field -> a domain, such as loguniform(1e-4, 1e-1); see `search_domains`. Those of Ray
        Tune are taken too.
    trials, seeds, folds, finalists, searches, max_failures (None: MOST_FAILURES): see `Budget`.
    select: the metric that chooses the winner, and each trial's epoch unless `base` says last.
        Left out: that of `base`; where this is last, the usual one of its task.
    source: fields of a source trial. One is trained first for each architecture in the rows, which
        start from its weights.
    searcher: what proposes trials: "gp", a Gaussian process, or "tpe", Optuna's Parzen estimator.
    deterministic: whether proposals and early stopping do not depend on how many trials run at once
        (see `control.engine.rounds`).
    aa: whether the first row is run once more, as a last row of its own with other proposals and
        seeds. What these two differ by is the table's noise.
    pairs: whether every pair of rows is compared, not only each row with the best.
    run_only: the numbers of the rows that are run now; None for all. It changes no row.
    planned: the rows as they will be run; made here, not given.

    Raises:
        ConfigError: invalid rows, unknown fields, impossible searches, idle fields; all at once.
    """

    base: TrainConfig
    rows: Sequence[Mapping[str, object]]
    search: Mapping[str, Domain] = field(default_factory=dict)
    select: Criterion = OF_BASE
    source: Mapping[str, object] | None = None
    searcher: SearcherName = "gp"
    deterministic: bool = False
    aa: bool = False
    pairs: bool = False
    run_only: frozenset[int] | None = None
    planned: tuple[PlannedRow, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.rows, Mapping):  # a single row
            object.__setattr__(self, "rows", [self.rows])
        domains = {name: to_domain(domain) for name, domain in self.search.items()}
        object.__setattr__(self, "search", domains)
        choices, own = criteria(self.base.task), self.base.select
        if self.select is None:
            object.__setattr__(self, "select", choices[0] if own == "last" else own)
        is_known = self.select in choices
        if is_known and self.base.select != "last":  # it keeps what is chosen by
            object.__setattr__(self, "base", replace(self.base, select=self.select))
        if self.folds and not self.base.folds:
            object.__setattr__(self, "base", replace(self.base, folds=self.folds))
        problems = self.budget_problems() + self._base_problems()
        object.__setattr__(self, "seeds", self.final_runs)
        problems += self._row_problems() + self._search_problems() + self._source_problems()
        if not problems:
            planned = [self._plan(number) for number in range(len(self.rows))]
            labels = name_rows(self.rows, self.compared, [row.cells for row in planned])
            named = tuple(replace(row, label=labels[row.number]) for row in planned)
            object.__setattr__(self, "planned", named)
            problems = idle_fields(self.base, self.rows, named, self._searched_values())
            problems += idle_source_fields(self.base, named, self.source or ())
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")
        if self.aa:
            first, number = self.planned[0], len(self.rows)
            config = replace(first.config, seed=first.config.seed + AA_SEEDS)
            cells = (*first.cells[:-1], f"{first.cells[-1]} again") if first.cells else ()
            said = f"{first.label} again"
            again = replace(first, number=number, label=said, cells=cells, config=config)
            object.__setattr__(self, "planned", (*self.planned, again))

    @property
    def mode(self) -> Mode:
        """Whether `select` is best when it is large or when it is small."""
        return MODES[self.select]

    @property
    def compared(self) -> list[str]:
        """The fields that rows set, in order of first use: the table's columns."""
        return compared_fields(self.rows)

    def is_run(self, row: int) -> bool:
        """Return whether the row with this number is run now."""
        return self.run_only is None or row in self.run_only

    @property
    def run_now(self) -> list[PlannedRow]:
        """The rows that are run now."""
        return [row for row in self.planned if self.is_run(row.number)]

    @property
    def most_failures(self) -> int:
        """How many failed trials stop the sweep."""
        most = max(MOST_FAILURES, (len(self.rows) + self.aa) * self.runs_per_row // 10)
        return most if self.max_failures is None else self.max_failures

    def _plan(self, number: int) -> PlannedRow:
        config = with_types(TrainConfig.from_dict(self._own(number), self.base), self.search)
        source = self._source_config(number)
        if source is not None:
            config = replace(config, weights=f"{RUN_PREFIX}{source.id}")
        searched = self._searched_values()
        largest = {
            name: (min if name == "validation_fraction" else max)(values)  # the rest is trained on
            for name, values in searched.items()
            if FIELDS[kind_of(name)].metadata["group"] in ("data", "model")
            and all(map(is_numeric, values))
        }
        return PlannedRow(
            number=number,
            label="",
            cells=tuple(format_value(getattr(config, name)) for name in self.compared),
            config=config,
            source=source,
            largest=TrainConfig.from_dict(largest, config),
            most_epochs=max(searched.get("epochs", [config.epochs])),
            smallest_batch=min(searched.get("batch_size", [config.batch_size])),
        )

    def _own(self, number: int) -> dict[str, object]:
        return {name: value for name, value in self.rows[number].items() if name != LABEL}

    def _source_config(self, number: int) -> TrainConfig | None:
        if self.source is None:
            return None
        row = self.rows[number].items()
        shape = {name: value for name, value in row if kind_of(name) in ARCHITECTURE}
        return with_types(
            TrainConfig.from_dict({**shape, "folds": 0, **self.source}, self.base, where="source")
        )

    def _searched_values(self) -> dict[str, list[Any]]:
        return {name: extremes(domain) for name, domain in self.search.items()}

    def describe(self, sweep_name: str) -> SweepDescription:
        """Return what sweep.json holds: everything that decides which trials there are."""
        return SweepDescription(
            name=sweep_name,
            base=self.base,
            rows=tuple(
                {name: getattr(row.config, name) for name in self._own(row.number % len(self.rows))}
                for row in self.planned
            ),
            search={name: to_search_domain(domain) for name, domain in self.search.items()},
            trials=self.trials,
            seeds=self.seeds,
            folds=self.folds,
            finalists=self.finalists,
            searches=self.searches,
            select=self.select,
            source=None if self.source is None else typed_values(self.source),
            max_failures=self.most_failures,
            searcher=self.searcher,
            deterministic=self.deterministic,
            aa=self.aa,
            pairs=self.pairs,
            row_labels=given_labels(self.rows),
        )

    def _base_problems(self) -> list[str]:
        """Give the base's options the types that its own parts take; return what is wrong."""
        try:
            object.__setattr__(self, "base", with_types(self.base, requires=False))
        except ConfigError as error:
            return [f"base {problem}" for problem in error.problems]
        return []

    def _row_problems(self) -> list[str]:
        problems = row_count_problems(len(self.rows) and len(self.rows) + self.aa)
        for number in range(0 if problems else len(self.rows)):
            try:
                with_types(TrainConfig.from_dict(self._own(number), self.base), self.search)
            except ConfigError as error:
                where = rows_text([number], self.rows)
                problems += [f"{where}: {problem}" for problem in error.problems]
            for name, instead in OWN_FIELDS.items():
                if name in self.rows[number]:
                    problems.append(f"row {number}: {name} is not a row's field; {instead}")
        last = len(self.rows) + self.aa - 1
        if self.run_only is not None and not self.run_only <= set(range(last + 1)):
            problems.append(f"run_only = {set(self.run_only)}: must be numbers from 0 to {last}")
        if (self.base.folds, self.base.fold) != (self.folds, 0):
            problems.append(f"base folds = {self.base.folds}: {OWN_FIELDS['folds']}")
        problems += select_problems(self.base.task, self.select, of_sweep=True)
        problems += label_problems(self.rows)
        return problems

    def _search_problems(self) -> list[str]:
        problems = []
        if self.searcher not in typing.get_args(SearcherName):
            problems.append(f"searcher = {self.searcher!r}: must be gp or tpe")
        in_rows = {name for row in self.rows for name in row}
        for name, domain in list(self.search.items()):
            if name in in_rows:
                problems.append(
                    f"search {name}: a row sets it too, and a field is compared or searched, not"
                    " both"
                )
            elif not is_field(name):
                problems.append(f"search: {unknown_field(name)}")
            elif name in OWN_FIELDS:
                problems.append(f"search {name}: is not searched; {OWN_FIELDS[name]}")
            elif problem := domain_problem(name, domain):
                problems.append(f"search {name} = {problem}")
            elif is_option(name):
                problems += self._option_problems(name, domain)
            else:
                for value in extremes(domain):
                    try:
                        config = TrainConfig.from_dict({name: value}, self.base)
                        with_types(config, self.search, requires=name in KINDS)
                    except ConfigError as error:
                        problems += [f"search {problem}" for problem in error.problems]
        return problems

    def _option_problems(self, name: str, domain: Domain) -> list[str]:
        """Give an option's choices the type that the rows' parts take; return what is wrong."""
        kind = kind_of(name)
        for number in range(len(self.rows)):
            for part in extremes(self.search[kind]) if kind in self.search else [None]:
                other = {} if part is None else {kind: part}
                try:
                    row = TrainConfig.from_dict({**self._own(number), **other}, self.base)
                    domain = typed_domain(name, domain, row)
                except ConfigError:
                    continue  # the row, or what is searched, has a line of its own
                except ValueError as error:
                    return [f"search {name}: {rows_text([number], self.rows)}: {error}"]
        object.__setattr__(self, "search", {**self.search, name: domain})
        return []

    def _source_problems(self) -> list[str]:
        if self.source is None:
            return []
        fixed = [name for name in self.search if kind_of(name) in ARCHITECTURE]
        problems = [f"search {name}: the source's weights fix it" for name in fixed]
        given = {name for row in self.rows for name in row} | set(self.search)
        if "weights" in given:
            problems.append(
                "weights: the rows start from the source's, so neither rows nor search can set them"
            )
        for number, row in enumerate(self.rows):
            try:
                source = self._source_config(number)
            except ConfigError as error:
                problems += [problem for problem in error.problems if problem not in problems]
                continue
            if self.folds and source and source.dataset == row.get("dataset", self.base.dataset):
                problems.append(
                    f"source: trains on images of {source.dataset} that folds are tested on; give"
                    " it another dataset, or leave folds out"
                )
        return problems
