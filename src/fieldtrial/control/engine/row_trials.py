"""The trials of a search, and what is asked of them before each start, kept up to date.

Whoever sets an attribute of a trial is heard of here: nothing looks at all trials to find what has
changed, and what is saved is what has changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fieldtrial.control.engine.finalists import Finalist
from fieldtrial.control.engine.journal.replayed import News
from fieldtrial.control.engine.trial import Trial

Saved = Trial | str  # a trial that is new, or the trial_id of one that was saved before


class Keeper(Protocol):
    """What keeps the trials of several searches."""

    def join(self, row: Any, trial: Trial) -> None:
        """Take a trial of a search."""

    def leave(self, row: Any, trial: Trial) -> None:
        """Take that a trial is none of the search's any more."""

    def change(self, row: Any, trial: Trial, name: str) -> None:
        """Take that an attribute of a trial was set."""


class RowChange(NamedTuple):
    """What has changed of a search since it was saved last, as plain data and new trials.

    trials: new ones of the search. values: {trial_id: {attribute: value}}. chosen: finalists, as
    trial_id and runs, and final runs, where there are others than before. searcher, scheduler: what
    these were told.
    """

    trials: list[Trial]
    values: dict[str, dict[str, Any]]
    chosen: dict[str, list[Any] | None]
    searcher: News | None
    scheduler: News | None


@dataclass
class _Unsaved:
    trials: list[Trial] = field(default_factory=list)
    runs: set[Trial] = field(default_factory=set)
    names: dict[Trial, set[str]] = field(default_factory=dict)  # of the attributes that were set
    chosen: set[str] = field(default_factory=set)  # finalists, finals


class RowTrials:
    """The trials of a search, the runs of its finalists, and the final runs of its winner."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self._finalists: list[Finalist] | None = None
        self._finals: list[Trial] | None = None
        self._begin()

    def _begin(self) -> None:
        """Hear of all trials from now on. What there is counts as saved."""
        self._keeper: Keeper | None = None
        self._numbers: dict[Trial, int] = {}  # of the search's trials
        self._live: set[int] = set()
        self._untold: set[int] = set()
        self._by_name: dict[str, list[Trial]] = {}
        self._by_id: dict[str, Trial] = {}
        for trial in self.trials:
            self._number(trial)
        for trial in self.all_trials():
            self._join(trial)
        self._unsaved = _Unsaved()

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_keeper", "_numbers", "_live", "_untold", "_by_name", "_by_id", "_unsaved")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def keep(self, keeper: Keeper) -> None:
        """Tell `keeper` of all trials, and of what changes from now on."""
        self._keeper = keeper
        for trial in self.all_trials():
            keeper.join(self, trial)

    def all_trials(self) -> Iterator[Trial]:
        """Yield the trials of the search, the runs of the finalists, and the final runs."""
        yield from self.trials
        yield from self.finalist_runs
        yield from self._finals or []

    @property
    def has_live(self) -> bool:
        """Whether a trial of the search has not ended."""
        return bool(self._live)

    def has_live_before(self, number: int) -> bool:
        """Return whether one of the search's first `number` trials has not ended."""
        return any(one < number for one in self._live)

    def place_of(self, trial: Trial) -> tuple[int, int]:
        """Return where a trial stands in `all_trials`: in which part, and in it."""
        if trial in self._numbers:
            return 0, self._numbers[trial]
        is_final = trial in (self._finals or [])
        return 1 + is_final, (self._finals or [] if is_final else self.finalist_runs).index(trial)

    def untold(self) -> list[Trial]:
        """Return the search's trials of whose end the searcher does not know, in their order."""
        return [self.trials[number] for number in sorted(self._untold)]

    def twins_before(self, number: int, name: str) -> list[Trial]:
        """Return those of the search's first `number` trials that have the run `name`."""
        return [one for one in self._by_name.get(name, []) if self._numbers[one] < number]

    @property
    def finalists(self) -> list[Finalist] | None:
        """The best trials of the search and their runs; None before they are chosen."""
        return self._finalists

    @finalists.setter
    def finalists(self, finalists: list[Finalist] | None) -> None:
        before = self.finalist_runs
        self._finalists = finalists
        self._replace_runs(before, self.finalist_runs)
        self._unsaved.chosen.add("finalists")

    @property
    def finalist_runs(self) -> list[Trial]:
        """The runs of all finalists; none before the search is over."""
        return [run for finalist in self._finalists or [] for run in finalist.runs]

    @property
    def finals(self) -> list[Trial] | None:
        """The winner's runs with fresh seeds; None before it is known."""
        return self._finals

    @finals.setter
    def finals(self, finals: Sequence[Trial] | None) -> None:
        before = self._finals or []
        self._finals = None if finals is None else list(finals)
        self._replace_runs(before, self._finals or [])
        self._unsaved.chosen.add("finals")

    def add(self, trial: Trial) -> None:
        """Add a trial of the search."""
        self.trials.append(trial)
        self._unsaved.trials.append(trial)
        self._number(trial)
        self._join(trial)

    def take_change(self, searcher: News | None, scheduler: News | None) -> RowChange:
        """Return what is not saved yet, and count it as saved."""
        unsaved, self._unsaved = self._unsaved, _Unsaved()
        new = {*unsaved.trials, *unsaved.runs}
        finalists, finals = self._finalists, self._finals
        chosen = {
            "finalists": None
            if finalists is None
            else [(one.trial.trial_id, _saved(one.runs, new)) for one in finalists],
            "finals": None if finals is None else _saved(finals, new),
        }
        return RowChange(
            unsaved.trials,
            {
                trial.trial_id: {name: getattr(trial, name) for name in sorted(names)}
                for trial, names in unsaved.names.items()
                if trial not in new
            },
            {name: chosen[name] for name in sorted(unsaved.chosen)},
            searcher,
            scheduler,
        )

    def apply(self, change: RowChange) -> None:
        """Make the change that `take_change` returned, of the state before it."""
        known = self._by_id
        for trial in change.trials:
            self.add(trial)
        for what, chosen in change.chosen.items():
            if what == "finals":
                self.finals = None if chosen is None else [_found(run, known) for run in chosen]
            else:
                self.finalists = (
                    None
                    if chosen is None
                    else [
                        Finalist(known[one], [_found(run, known) for run in runs])
                        for one, runs in chosen
                    ]
                )
        for trial_id, values in change.values.items():
            for name, value in values.items():
                setattr(known[trial_id], name, value)
        self._unsaved = _Unsaved()

    def _replace_runs(self, before: Sequence[Trial], now: Sequence[Trial]) -> None:
        """Leave the runs that there were, and take those that there are now."""
        kept, known = set(now), set(before)
        for run in before:
            if run not in kept:
                run.listen(None)
                self._by_id.pop(run.trial_id, None)
                self._unsaved.names.pop(run, None)
                self._unsaved.runs.discard(run)
                if self._keeper:
                    self._keeper.leave(self, run)
        for run in now:
            if run not in known:
                self._unsaved.runs.add(run)
                self._join(run)

    def _number(self, trial: Trial) -> None:
        self._numbers[trial] = len(self._numbers)
        self._by_name.setdefault(trial.name, []).append(trial)

    def _join(self, trial: Trial) -> None:
        trial.listen(self._on_change)
        self._by_id[trial.trial_id] = trial
        self._settle(trial)
        if self._keeper:
            self._keeper.join(self, trial)

    def _on_change(self, trial: Trial, name: str) -> None:
        self._unsaved.names.setdefault(trial, set()).add(name)
        if name in ("status", "told"):
            self._settle(trial)
        if self._keeper:
            self._keeper.change(self, trial, name)

    def _settle(self, trial: Trial) -> None:
        number = self._numbers.get(trial)
        if number is not None:
            (self._live.add if trial.live else self._live.discard)(number)
            (self._untold.discard if trial.told else self._untold.add)(number)


def _saved(runs: Sequence[Trial], new: set[Trial]) -> list[Saved]:
    return [run if run in new else run.trial_id for run in runs]


def _found(run: Saved, known: dict[str, Trial]) -> Trial:
    return known[run] if isinstance(run, str) else run
