"""A sweep's budget: how many trials its rows have, and with which seeds these are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEAST = {"trials": 1, "seeds": 0, "finalists": 1, "searches": 1, "max_failures": 0}
# No run of a row shares its seed with another purpose. Search number s of a row is trained with the
# row's own seed + 1000 s. The seeds after that are for its final runs, those from + 500 on for its
# finalists.
SEARCH_SEEDS, FINALIST_SEEDS = 1000, 500


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sweep may spend.

    search: field -> what may be proposed for it.
    trials: configurations tried in each search.
    seeds: fresh seeds with which each winner is trained again and tested, for the error bars.
    finalists: the best configurations of a search, which are trained again with as many fresh
        seeds; the best of them on average wins. With one, the search alone chooses the winner.
    searches: how often the whole search of a row is repeated, with other proposals and seeds. Each
        has its own winner and final runs, so that the luck of the search is in their spread (I.
        Gulrajani, D. Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021).
    max_failures: failed trials after which the sweep stops. Diverged trials do not count, because
        divergence is a finding.
    """

    search: Mapping[str, object] = field(default_factory=dict)
    trials: int = 8
    seeds: int = 3
    finalists: int = 1
    searches: int = 1
    max_failures: int | None = None

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
        return self.searches * (self.trials_per_search + self.finalist_runs + self.seeds)

    def budget_problems(self) -> list[str]:
        """Return what is wrong with the budget, a line for each problem."""
        values = {name: getattr(self, name) for name in LEAST}
        problems = [
            f"{name} = {value}: must be at least {LEAST[name]}"
            for name, value in values.items()
            if value is not None and value < LEAST[name]
        ]
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
        if several and self.seeds >= FINALIST_SEEDS:
            problems.append(
                f"seeds = {self.seeds}: must be at most {FINALIST_SEEDS - 1} with finalists or"
                " searches, so that no two runs share a seed"
            )
        return problems
