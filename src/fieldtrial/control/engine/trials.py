"""The trials of a sweep: all of them, and which one comes next."""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fieldtrial.control.engine.outcomes import Tally
from fieldtrial.control.engine.queue import OpenRows, Order, Waiting
from fieldtrial.control.engine.row import Row, search_config
from fieldtrial.control.engine.row_trials import RowChange
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Place
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep

State = tuple[list[Row], dict[str, Trial]]  # rows, and sources by name


class Change(NamedTuple):
    """What has changed of a sweep's trials since they were saved last.

    rows: by their places in the list of rows. sources: {name: {attribute: value}}.
    """

    rows: dict[int, RowChange]
    sources: dict[str, dict[str, Any]]

    def apply_to(self, state: State) -> None:
        """Make the change, of the state before it."""
        rows, sources = state
        for place, change in self.rows.items():
            rows[place].take_up(change)
        for name, values in self.sources.items():
            for attribute, value in values.items():
                setattr(sources[name], attribute, value)


class Trials:
    """All trials: iteration yields the sources, then for each search its trials, runs of finalists
    and final runs.

    What is asked before each start is kept up to date with each change of a trial; a sweep of
    thousands of trials is never searched for it.

    tally: how those that have ended did.
    """

    def __init__(
        self, rows: list[Row], sources: dict[str, Trial], run_only: Collection[int] | None = None
    ) -> None:
        self.rows, self.sources = rows, sources
        self._run_only = {row.number for row in rows} if run_only is None else set(run_only)
        self._places = {(row.number, row.search): row for row in rows}
        self._indices = {row: index for index, row in enumerate(rows)}
        self._dependents: dict[str | None, list[Row]] = {}
        for row in self.rows_to_run():
            self._dependents.setdefault(row.source, []).append(row)
        self._orders: dict[Trial, Order] = {}
        self._waiting, self._open = Waiting(self._orders.__getitem__), OpenRows()
        self._running: dict[str, Trial] = {}
        self._by_name: dict[str, list[Trial]] = {}
        self.tally = Tally()
        self._expected: dict[Row, int] = {}
        self._expected_runs = 0
        self._changed_rows: dict[Row, None] = {}
        self._changed_sources: dict[Trial, set[str]] = {}
        self._to_check = set(rows)  # whose searches may be over since they were looked at
        for number, source in enumerate(sources.values()):
            self._orders[source] = (0, number)
            source.listen(self._on_source)
            self._take(source, None)
        for row in rows:
            row.keep(self)
            self._refresh(row)

    @classmethod
    def begin(
        cls,
        sweep: Sweep,
        folder: SweepFolder,
        saved: State | None,
        entries: Sequence[Mapping[str, Any]] | None = None,
    ) -> "Trials":
        """Return the trials of a sweep from its saved state, as far as there is one.

        A row of the state is known by its config: it may have had another number. The trials of a
        search without a state are those that the folder lists. A deterministic search makes the
        same proposals again, and finds their results.

        entries: the folder's list of trials as it is to be, where that differs.
        """
        configs = [row.source for row in sweep.planned if row.source]
        sources = {c.id: Trial(f"source-{c.id}", "source", None, c) for c in configs}
        rows, known_sources = saved or ([], {})
        left: dict[str, list[Row]] = {}
        for saved_row in rows:
            left.setdefault(saved_row.config.id, []).append(saved_row)
        known, new = dict[tuple[int, int], Row](), dict[tuple[int, int], Row]()
        for planned, search in itertools.product(sweep.planned, range(sweep.searches)):
            place = planned.number, search
            same = left.get(search_config(planned, search).id)
            if same:
                known[place] = same.pop(0).at(planned.number)
            else:
                new[place] = Row(sweep, *place)
        listed = folder.trials() if entries is None else entries
        for entry in listed if new and not sweep.deterministic else []:
            row = new.get((entry["row"], entry.get("search", 0)))
            if row and entry["role"] == "search":
                run = folder.run(entry["trial"])
                # Another trial is proposed for one that is gone or cannot be read.
                with contextlib.suppress(FileNotFoundError, UnreadableError):
                    row.restore(run.config(), run.result())
        for kept in known.values():
            kept.take_over(sweep)
        every = sorted((known | new).items())
        return cls(
            [row for _, row in every],
            {name: known_sources.get(name, source) for name, source in sources.items()},
            sweep.run_only,
        )

    def __iter__(self) -> Iterator[Trial]:
        yield from self.sources.values()
        for row in self.rows:
            yield from row.all_trials()

    def row_of(self, trial: Trial) -> Row | None:
        """Return the search that a trial is of, or None for a source."""
        return None if trial.row is None else self._places[trial.row, trial.search]

    def room(self, place: Place) -> int:
        """Return how many parts of the place's slots are free; a slot has `together` of them."""
        taken = sum(trial.parts(place.together) for trial in self.running())
        return place.slots * place.together - taken

    def running(self) -> list[Trial]:
        """Return the trials that run."""
        return list(self._running.values())

    def running_in(self, name: str) -> Trial | None:
        """Return the trial that runs in the run `name`, None where none does."""
        return self._running.get(name)

    def next_waiting(self) -> Trial | None:
        """Return the first waiting trial whose run no other trial runs in."""
        return self._waiting.first(self._running.__contains__)

    def propose(self) -> Trial | None:
        """Return a new trial of the search whose turn it is, or None if none has one."""
        row = self._open.first()
        return row.propose() if row else None

    def gather(self, together: int) -> None:
        """Make searches propose so many trials in turn that may train together."""
        self._open.gather(together)

    def count_to_come(self) -> int:
        """Return how many trials could be started now if there were slots for them."""
        return len(self._waiting) + self._open.proposable

    def diverged_twin(self, trial: Trial) -> Trial | None:
        """Return a trial of the same configuration that has diverged, as this one would."""
        return next((twin for twin in self._twins(trial) if twin.diverged), None)

    def has_finished_twin(self, trial: Trial) -> bool:
        """Return whether another trial with the same run has ended without being stopped."""
        return any(twin.status == "done" and twin.stopped_at is None for twin in self._twins(trial))

    def rows_to_run(self) -> list[Row]:
        """Return the searches of the rows that are run now."""
        return [row for row in self.rows if row.number in self._run_only]

    def take_rows_to_check(self) -> list[Row]:
        """Return the searches that may be over or decided since the last call, in order."""
        to_check, self._to_check = self._to_check, set()
        return sorted(to_check, key=lambda row: (row.number, row.search))

    def is_over(self) -> bool:
        """Return whether no trial runs and none waits to be run now."""
        return not self._running and not self._waiting

    def expected(self) -> int:
        """Return how many trials there will be in the end, as far as is known now."""
        sources = self.sources.items()
        needed = sum(name in self._dependents or not source.live for name, source in sources)
        return needed + self._expected_runs

    def state(self) -> State:
        """Return what is saved."""
        return self.rows, self.sources

    def take_changes(self) -> Change:
        """Return what has changed since the last call, and count it as saved."""
        rows, self._changed_rows = self._changed_rows, {}
        sources, self._changed_sources = self._changed_sources, {}
        return Change(
            {self._indices[row]: row.take_news() for row in rows},
            {
                source.name: {name: getattr(source, name) for name in sorted(names)}
                for source, names in sources.items()
            },
        )

    # What the trials tell

    def join(self, row: Row, trial: Trial) -> None:
        """Take a trial of a search."""
        self._changed_rows[row] = None
        self._orders[trial] = (1, row.number, row.search, *row.place_of(trial))
        self._take(trial, row)
        self._refresh(row)

    def leave(self, row: Row, trial: Trial) -> None:
        """Take that a trial is none of the search's any more. One that runs has its slot and its
        run until it has ended: another trial may be of the same configuration.
        """
        self._changed_rows[row] = None
        if trial.status == "running":
            trial.listen(self._on_left)
        self._by_name[trial.name].remove(trial)
        self._waiting.settle(trial, may_run=False)
        self.tally.forget(trial)
        del self._orders[trial]
        self._refresh(row)

    def change(self, row: Row, trial: Trial, name: str) -> None:
        """Take that an attribute of a trial was set."""
        self._changed_rows[row] = None
        if name in ("status", "problem"):
            self._settle(trial, row)
            self._refresh(row)

    def _on_left(self, trial: Trial, name: str) -> None:
        if name == "status" and self._running.get(trial.name) is trial:
            trial.listen(None)
            del self._running[trial.name]
            self._waiting.free(trial.name)

    def _on_source(self, source: Trial, name: str) -> None:
        self._changed_sources.setdefault(source, set()).add(name)
        if name not in ("status", "problem"):
            return
        self._settle(source, None)
        for row in self._dependents.get(source.name, []):
            for trial in row.all_trials():
                self._waiting.settle(trial, self._has_source(row))
            self._refresh(row)

    def _take(self, trial: Trial, row: Row | None) -> None:
        self._by_name.setdefault(trial.name, []).append(trial)
        self._settle(trial, row)

    def _settle(self, trial: Trial, row: Row | None) -> None:
        if trial.status == "running":
            self._running[trial.name] = trial
        elif self._running.get(trial.name) is trial:
            del self._running[trial.name]
            self._waiting.free(trial.name)
        needed = trial.name in self._dependents if row is None else self._may_run(row)
        self._waiting.settle(trial, needed)
        self.tally.settle(trial)

    def _refresh(self, row: Row) -> None:
        self._to_check.add(row)
        self._open.settle(row, self._may_run(row))
        is_run = row.number in self._run_only
        expected = row.expected if is_run else sum(1 for _ in row.all_trials())
        self._expected_runs += expected - self._expected.get(row, 0)
        self._expected[row] = expected

    def _may_run(self, row: Row) -> bool:
        return row.number in self._run_only and self._has_source(row)

    def _has_source(self, row: Row) -> bool:
        return row.source is None or self.sources[row.source].status == "done"

    def _twins(self, trial: Trial) -> Iterator[Trial]:
        return (other for other in self._by_name.get(trial.name, []) if other is not trial)
