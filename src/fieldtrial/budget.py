"""A sweep's budget: how many trials its rows have, and with which seeds these are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

FIRST_SEEDS = 3  # that `until` begins with
LEAST = {"trials": 1, "seeds": 0, "folds": 0, "finalists": 1, "searches": 1, "max_failures": 0}
# No run of a row shares its seed with another purpose. Search number s of a row is trained with the
# row's own seed + 1000 s. The seeds after that are for its final runs, those from + 500 on for its
# finalists.
SEARCH_SEEDS, FINALIST_SEEDS = 1000, 500
AA_SEEDS = 10**6  # from a row to its repetition (see `Sweep.aa`)


class Until(int):
    """A number of seeds that every winner gets, with the most that one in the contest may get."""

    most: int

    def __new__(cls, most: int) -> "Until":
        """Return the number of seeds that it begins with."""
        made = super().__new__(cls, min(FIRST_SEEDS, most))
        made.most = most
        return made

    def __getnewargs__(self) -> tuple[int]:
        return (self.most,)

    def __repr__(self) -> str:
        return f"until({self.most})"

    __str__ = __repr__


def until(most: int) -> Until:
    """Return `seeds` for a sweep that spends them where it is undecided.

    Each winner is trained again with three seeds. Rows that are not shown to differ from the best
    get more, in rounds, up to `most`, as long as more can show it.
    """
    return Until(most)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sweep may spend.

    search: field -> what may be proposed for it.
    trials: configurations tried in each search.
    seeds: fresh seeds with which each winner is trained again and tested, for the error bars; a
        number, or `until(most)`.
    folds: how many folds all labelled images are cut into. A winner is trained once for each, with
        a fresh seed, and tested on it: `seeds` is then the number of these runs. 0: no folds.
    finalists: the best configurations of a search, which are trained again with as many fresh
        seeds; the best of them on average wins. With one, the search alone chooses the winner.
    searches: how often the whole search of a row is repeated, with other proposals and seeds. Each
        has its own winner and final runs, so that the luck of the search is in their spread (I.
        Gulrajani, D. Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021). With as many
        as folds, search number s sees what fold s is not tested on, and its winner is tested on
        that fold alone (nested cross-validation: S. Varma, R. Simon, BMC Bioinformatics 7, 2006).
    max_failures: failed trials after which the sweep stops. Diverged trials do not count, because
        divergence is a finding.
    """

    search: Mapping[str, object] = field(default_factory=dict)
    trials: int = 8
    seeds: int = FIRST_SEEDS
    folds: int = 0
    finalists: int = 1
    searches: int = 1
    max_failures: int | None = None

    @property
    def most_seeds(self) -> int:
        """How many fresh seeds a winner may get."""
        return self.seeds.most if isinstance(self.seeds, Until) else self.seeds

    @property
    def searches_folds(self) -> bool:
        """Whether each fold has a search of its own."""
        return self.folds > 0 and self.searches == self.folds

    @property
    def final_runs(self) -> int:
        """How many final runs a winner begins with: one for each seed, or each fold it is for."""
        return self.seeds if not self.folds else 1 if self.searches_folds else self.folds

    @property
    def trials_per_search(self) -> int:
        """How many configurations a search tries: one if nothing is searched."""
        return self.trials if self.search else 1

    @property
    def finalist_runs(self) -> int:
        """How many runs the finalists of a search have; a single one needs none to win."""
        return self.finalists * self.seeds if self.finalists > 1 else 0

    @property
    def runs_per_row(self) -> int:
        """How many trials a row has at most: of its searches, their finalists and winners."""
        return self.searches * (self.trials_per_search + self.finalist_runs + self.most_seeds)

    def budget_problems(self) -> list[str]:
        """Return what is wrong with the budget, a line for each problem."""
        values = {name: getattr(self, name) for name in LEAST}
        problems = [
            f"{name} = {value}: must be at least {LEAST[name]}"
            for name, value in values.items()
            if value is not None and value < LEAST[name]
        ]
        if isinstance(self.seeds, Until):
            if self.most_seeds <= FIRST_SEEDS:
                problems.append(
                    f"seeds = {self.seeds}: must be more than the {FIRST_SEEDS} that it begins with"
                )
            if self.searches > 1:
                problems.append(
                    f"seeds = {self.seeds}: must be a number with searches = {self.searches},"
                    " because the luck of a search is not reduced by seeds"
                )
        problems += self._fold_problems() if self.folds else []
        several = {name: values[name] for name in ("finalists", "searches") if values[name] > 1}
        for name, value in several.items():
            if not self.search:
                problems.append(f"{name} = {value}: must be 1, because nothing is searched")
        if self.search and self.finalists > max(1, self.trials):
            problems.append(f"finalists = {self.finalists}: must be at most trials = {self.trials}")
        if self.finalists > 1 and self.seeds == 0:
            problems.append(
                f"finalists = {self.finalists}: must be 1 with seeds = 0, because finalists are"
                " trained again with as many seeds"
            )
        if several and self.most_seeds >= FINALIST_SEEDS:
            problems.append(
                f"seeds = {self.seeds}: must be at most {FINALIST_SEEDS - 1} with finalists or"
                " searches, so that no two runs share a seed"
            )
        return problems

    def _fold_problems(self) -> list[str]:
        """Return what does not go with folds."""
        among = f"with folds = {self.folds}"
        problems = []
        if isinstance(self.seeds, Until) or self.seeds not in (FIRST_SEEDS, 1, self.folds):
            problems.append(
                f"seeds = {self.seeds}: must be left out {among}, because a winner is trained once"
                " for each fold"
            )
        if self.searches not in (1, self.folds):
            problems.append(
                f"searches = {self.searches}: must be 1 or {self.folds} {among}: one for all folds,"
                " or one for each"
            )
        return problems
