"""The trials of a sweep: all of them, and which one comes next."""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from fieldtrial.control.engine.row import Row, search_config
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep


class Trials:
    """All trials: iteration yields the sources, then for each search its trials, runs of finalists
    and final runs.
    """

    def __init__(
        self, rows: list[Row], sources: dict[str, Trial], run_only: Collection[int] | None = None
    ) -> None:
        self.rows, self.sources = rows, sources
        self._run_only = {row.number for row in rows} if run_only is None else set(run_only)
        self._places = {(row.number, row.search): row for row in rows}

    @classmethod
    def begin(
        cls,
        sweep: Sweep,
        folder: SweepFolder,
        saved: tuple[list[Row], dict[str, Trial]] | None,
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
            kept.extend(sweep.trials_per_search, sweep.seeds, sweep.finalists)
        every = sorted((known | new).items())
        return cls(
            [row for _, row in every],
            {name: known_sources.get(name, source) for name, source in sources.items()},
            sweep.run_only,
        )

    def __iter__(self) -> Iterator[Trial]:
        yield from self.sources.values()
        for row in self.rows:
            yield from row.trials
            yield from row.finalist_runs
            yield from row.finals or []

    def row_of(self, trial: Trial) -> Row | None:
        """Return the search that a trial is of, or None for a source."""
        return None if trial.row is None else self._places[trial.row, trial.search]

    def running(self) -> list[Trial]:
        """Return the trials that run."""
        return [trial for trial in self if trial.status == "running"]

    def next_waiting(self, taken: set[str]) -> Trial | None:
        """Return the first waiting trial whose run is not `taken` by another trial."""
        return next((trial for trial in self._waiting() if trial.name not in taken), None)

    def propose(self) -> Trial | None:
        """Return a new trial of the search with the fewest trials, or None if none has one."""
        open_rows = self._open_rows()
        return min(open_rows, key=lambda row: len(row.trials)).propose() if open_rows else None

    def count_to_come(self) -> int:
        """Return how many trials could be started now if there were slots for them."""
        return len(list(self._waiting())) + sum(row.proposable for row in self._open_rows())

    def diverged_twin(self, trial: Trial) -> Trial | None:
        """Return a trial of the same configuration that has diverged, as this one would."""
        return next((twin for twin in self._twins(trial) if twin.diverged), None)

    def has_finished_twin(self, trial: Trial) -> bool:
        """Return whether another trial with the same run has ended without being stopped."""
        return any(twin.status == "done" and twin.stopped_at is None for twin in self._twins(trial))

    def rows_to_run(self) -> list[Row]:
        """Return the searches of the rows that are run now."""
        return [row for row in self.rows if row.number in self._run_only]

    def is_over(self) -> bool:
        """Return whether no trial runs and none waits to be run now."""
        return not self.running() and not any(self._waiting())

    def _waiting(self) -> Iterator[Trial]:
        """Yield the waiting trials that are to be run now: of the rows, and of their sources."""
        sources = {row.source for row in self.rows_to_run()}
        for trial in self:
            row = self.row_of(trial)
            is_to_run = trial.name in sources if row is None else row.number in self._run_only
            if trial.status == "waiting" and is_to_run and (row is None or self._has_source(row)):
                yield trial

    def _open_rows(self) -> list[Row]:
        return [row for row in self.rows_to_run() if row.proposable and self._has_source(row)]

    def _has_source(self, row: Row) -> bool:
        return row.source is None or self.sources[row.source].status == "done"

    def _twins(self, trial: Trial) -> Iterator[Trial]:
        return (other for other in self if other.name == trial.name and other is not trial)
