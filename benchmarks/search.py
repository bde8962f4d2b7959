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
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from lcbench import EPOCHS, SPACE, Surrogate
from machine import write_result
from ray.tune.schedulers import TrialScheduler

from fieldtrial.control.engine.journal.replayed import ReplayedSearcher
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler, build_searcher
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.fields.choices import SearcherName
from fieldtrial.search_domains import Range

Curve = Callable[[Mapping[str, Any]], np.ndarray]  # values -> best accuracies so far, [epochs]
WHOLE_TRIALS = 20
QUARTERS = 4
RANDOM_SEEDS = 20  # of random search, with which all others are compared


@dataclass
class Searched:
    """What a sweep says of a search."""

    searcher: SearcherName
    search: Mapping[str, Range]
    trials: int
    mode: Mode = "max"


@dataclass
class Trial:
    """A trial of the simulation. Of it, Ray Tune's scheduler reads the trial_id alone."""

    trial_id: str
    values: Mapping[str, Any]
    curve: np.ndarray
    epoch: int = 0

    @property
    def best(self) -> float:
        """The best accuracy so far, that of chance before the first epoch."""
        return float(self.curve[self.epoch - 1]) if self.epoch else 0.0


class RandomSearch:
    """Proposes at random, as TPE does at first, and stops nothing."""

    def __init__(self, space: Mapping[str, Range], seed: int) -> None:
        self._source = build_searcher(Searched("tpe", space, 10**6), EPOCHS, seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return random values."""
        return self._source.suggest(trial_id)

    def on_trial_result(self, *_: object) -> None:
        """Learn nothing."""

    def on_trial_complete(self, *_: object, **__: object) -> None:
        """Learn nothing."""


class Simulation:
    """A search as the engine runs it, with its searcher and its early stopping.

    curve: returns a configuration's best accuracies so far, [epochs]. name: of a searcher, or
    "random". trials: of the search so far. seconds: of CPU that the searcher has used.
    """

    def __init__(
        self,
        curve: Curve,
        name: str,
        space: Mapping[str, Range],
        trials: int,
        epochs: int,
        seed: int,
    ) -> None:
        self._curve, self._epochs = curve, epochs
        made: Any = RandomSearch(space, seed)
        self._scheduler = None
        if name != "random":
            searched = Searched(cast(SearcherName, name), space, trials)
            made = build_searcher(searched, epochs, seed)
            self._scheduler = build_scheduler(epochs, searched.mode)
        self._searcher = ReplayedSearcher(made)  # as a row has it
        self.trials: list[Trial] = []
        self.seconds = 0.0

    def epochs(self, at_once: int, trials: float = math.inf) -> Iterator[int]:
        """Run a search of so many trials. Yields the number of epochs so far, over all trials."""
        queue: list[tuple[int, int, Trial]] = []  # when its next epoch ends, in which order, whose
        for _ in range(int(min(at_once, trials))):
            self._start(queue, 0)
        for spent in itertools.count(1):
            if not queue:
                return
            now, order, trial = heapq.heappop(queue)
            trial.epoch += 1
            is_over, end = self._tell(trial)
            yield spent
            if not is_over:
                heapq.heappush(queue, (now + 1, order, trial))
                continue
            if self._scheduler:
                self._scheduler.on_trial_complete(None, trial, end)
            if len(self.trials) < trials:
                self._start(queue, now)

    def _start(self, queue: list[tuple[int, int, Trial]], now: int) -> None:
        begun, trial_id = time.process_time(), str(len(self.trials))
        values = self._searcher.suggest(trial_id)
        self.seconds += time.process_time() - begun
        trial = Trial(trial_id, values, self._curve(values))
        self.trials.append(trial)
        if self._scheduler:
            self._scheduler.on_trial_add(None, trial)
        heapq.heappush(queue, (now + 1, len(self.trials), trial))

    def _tell(self, trial: Trial) -> tuple[bool, dict[str, Any]]:
        result = {TIME: trial.epoch, SCORE: trial.best, "trial_id": trial.trial_id}
        told = self._scheduler.on_trial_result(None, trial, result) if self._scheduler else None
        begun = time.process_time()
        decisions = {told, self._searcher.call("on_trial_result", trial.trial_id, result)}
        is_over = TrialScheduler.STOP in decisions or trial.epoch == self._epochs
        if is_over:
            self._searcher.call("on_trial_complete", trial.trial_id, result=result)
        self.seconds += time.process_time() - begun
        return is_over, result


def search(
    surrogate: Surrogate, task: str, name: str, at_once: int, seed: int
) -> tuple[list[float], float, int]:
    """Simulate a search.

    Returns for each quarter of the budget the accuracy at the end of the configuration that it
    would choose then; the searcher's CPU seconds; and the number of trials.
    """
    curve = partial(surrogate.curve, task)
    trials = 2 * WHOLE_TRIALS  # early stopping pays for the second half
    simulation = Simulation(curve, name, SPACE, trials, EPOCHS, seed)
    found: list[float] = []
    for spent in simulation.epochs(at_once):
        if spent * QUARTERS % (WHOLE_TRIALS * EPOCHS) == 0:
            best = max(simulation.trials, key=lambda one: one.best)
            found.append(float(best.curve[-1]))
        if len(found) == QUARTERS:
            break
    return found, simulation.seconds, len(simulation.trials)


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
