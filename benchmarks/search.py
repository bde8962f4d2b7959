"""How near searches come to the best accuracy, over random search, on 34 tasks of LCBench.

    python benchmarks/search.py --data FOLDER [--seeds 5] [--searchers gp,tpe] [--at-once 1,8]

A row is simulated as the engine runs it, with its searcher and its early stopping, until as many
epochs were trained as 20 whole trials have. Random search trains whole trials. The distance of a
search is that of the configuration it would choose, trained to the end, from the best accuracy that
a long search finds. The regret of a task is the mean distance over that of random search after the
same epochs. Each task has other seeds. Half of the tasks were looked at while the searcher was
chosen.
"""

import argparse
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lcbench import EPOCHS, SPACE, Surrogate
from machine import write_result
from ray.tune.schedulers import TrialScheduler

from fieldtrial.control.engine.journal.replayed import ReplayedSearcher
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler, build_searcher
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.fields.choices import SearcherName
from fieldtrial.search_domains import Range

WHOLE_TRIALS = 20
QUARTERS = 4
RANDOM_SEEDS = 20  # of random search, with which all others are compared


@dataclass
class Searched:
    """What a sweep says of a search."""

    searcher: SearcherName
    search: dict[str, Range] = field(default_factory=lambda: dict(SPACE))
    mode: Mode = "max"
    trials: int = 2 * WHOLE_TRIALS  # of which early stopping pays for the second half


@dataclass
class Trial:
    """A trial of the simulation. Of it, Ray Tune's scheduler reads the trial_id alone."""

    trial_id: str
    curve: np.ndarray
    epoch: int = 0

    @property
    def best(self) -> float:
        """The best accuracy so far, that of chance before the first epoch."""
        return float(self.curve[self.epoch - 1]) if self.epoch else 0.0


class RandomSearch:
    """Proposes at random, as TPE does at first, and stops nothing."""

    def __init__(self, seed: int) -> None:
        self._source = build_searcher(Searched("tpe", trials=10**6), EPOCHS, seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return random values."""
        return self._source.suggest(trial_id)

    def on_trial_result(self, *_: object) -> None:
        """Learn nothing."""

    def on_trial_complete(self, *_: object, **__: object) -> None:
        """Learn nothing."""


def search(
    surrogate: Surrogate, task: str, name: str, at_once: int, seed: int
) -> tuple[list[float], float, int]:
    """Simulate a search.

    Returns for each quarter of the budget the accuracy at the end of the configuration that it
    would choose then; the searcher's CPU seconds; and the number of trials.
    """
    made: Any = RandomSearch(seed)
    scheduler: TrialScheduler | None = None
    if name != "random":
        made = build_searcher(Searched(name), EPOCHS, seed)  # type: ignore[arg-type]
        scheduler = build_scheduler(EPOCHS, "max")
    searcher = ReplayedSearcher(made)  # as a row has it
    trials: list[Trial] = []
    queue: list[tuple[int, int, Trial]] = []  # when its next epoch ends, in which order, whose
    found: list[float] = []
    spent, seconds = 0, 0.0

    def start(now: int) -> None:
        nonlocal seconds
        begun, trial_id = time.process_time(), str(len(trials))
        values = searcher.suggest(trial_id)
        seconds += time.process_time() - begun
        trials.append(Trial(trial_id, surrogate.curve(task, values)))
        if scheduler:
            scheduler.on_trial_add(None, trials[-1])
        heapq.heappush(queue, (now + 1, len(trials), trials[-1]))

    for _ in range(at_once):
        start(0)
    while len(found) < QUARTERS:
        now, order, trial = heapq.heappop(queue)
        trial.epoch += 1
        spent += 1
        result = {TIME: trial.epoch, SCORE: trial.best, "trial_id": trial.trial_id}
        decision = scheduler.on_trial_result(None, trial, result) if scheduler else None
        begun = time.process_time()
        decisions = {decision, searcher.call("on_trial_result", trial.trial_id, result)}
        is_over = TrialScheduler.STOP in decisions or trial.epoch == EPOCHS
        if is_over:
            searcher.call("on_trial_complete", trial.trial_id, result=result)
        seconds += time.process_time() - begun
        if spent * QUARTERS % (WHOLE_TRIALS * EPOCHS) == 0:
            found.append(float(max(trials, key=lambda one: one.best).curve[-1]))
        if is_over:
            if scheduler:
                scheduler.on_trial_complete(None, trial, result)
            start(now)
        else:
            heapq.heappush(queue, (now + 1, order, trial))
    return found, seconds, len(trials)


def regrets(
    surrogate: Surrogate, name: str, at_once: int, seeds: int, best: dict[str, float]
) -> tuple[np.ndarray, float, float]:
    """Return distances [task, quarter], means over seeds; CPU ms a proposal; trials of a search."""
    distances, seconds, trials = [], 0.0, 0
    for number, task in enumerate(surrogate.tasks):
        of_task = []
        for seed in range(seeds):
            found, took, count = search(surrogate, task, name, at_once, 1000 * number + seed)
            of_task.append(best[task] - np.array(found))
            seconds, trials = seconds + took, trials + count
        distances.append(np.mean(of_task, 0))
    return np.array(distances), 1000 * seconds / trials, trials / seeds / len(surrogate.tasks)


def interval(ratios: np.ndarray) -> list[float]:
    """Return the 95 % interval of the mean over tasks, from 2,000 bootstrap samples of them."""
    drawn = np.random.default_rng(0).integers(len(ratios), size=(2000, len(ratios)))
    return [round(float(one), 3) for one in np.quantile(ratios[drawn].mean(1), [0.025, 0.975])]


def summary(distances: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """Return regrets over all tasks, over those looked at, and over those kept aside."""
    ratios = distances / random
    parts = {"all": slice(None), "looked_at": slice(0, None, 2), "kept_aside": slice(1, None, 2)}
    return {
        part: {
            "regret": round(float(ratios[tasks, -1].mean()), 3),
            "interval": interval(ratios[tasks, -1]),
            "by_quarter": [round(float(one), 3) for one in ratios[tasks].mean(0)],
            "mean_distances_ratio": round(
                float(distances[tasks, -1].mean() / random[tasks, -1].mean()), 3
            ),
        }
        for part, tasks in parts.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write benchmarks/results/search.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder with model.onnx")
    parser.add_argument("--seeds", "--repeats", type=int, default=5)
    parser.add_argument("--searchers", default="gp,tpe")
    parser.add_argument("--at-once", default="1,8")
    options = parser.parse_args(arguments)
    surrogate = Surrogate(options.data)
    best = {task: surrogate.best(task) for task in surrogate.tasks}
    found = []
    for at_once in map(int, options.at_once.split(",")):
        random, _, _ = regrets(surrogate, "random", at_once, RANDOM_SEEDS, best)
        for name in options.searchers.split(","):
            distances, cost, trials = regrets(surrogate, name, at_once, options.seeds, best)
            found.append(
                {
                    "searcher": name,
                    "at_once": at_once,
                    "trials": round(trials, 1),
                    "cpu_ms_per_proposal": round(cost, 2),
                    **summary(distances, random),
                }
            )
            print(found[-1], flush=True)
    write_result(
        "search",
        {
            "tasks": len(surrogate.tasks),
            "seeds": options.seeds,
            "seeds_of_random_search": RANDOM_SEEDS,
            "budget": f"{WHOLE_TRIALS} whole trials of {EPOCHS} epochs",
            "searches": found,
        },
    )


if __name__ == "__main__":
    main()
