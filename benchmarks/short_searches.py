"""How near searches of few trials come to the best accuracy, over random search.

    python benchmarks/short_searches.py --data FOLDER [--repeats 200] [--searchers gp,tpe]

Most rows search one or two fields with few trials. Two kinds of them are simulated. The first is of
formulas: a learning rate over four decades, 10 epochs, where the accuracy has a peak somewhere, the
smaller rates learn slowly, and the others learn nothing. The second is of LCBench: some fields are
searched, the others have random values. Random search has as many trials, and stops none.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lcbench import EPOCHS, SPACE, Surrogate
from machine import write_result
from search import Searched, Simulation

from fieldtrial.search_domains import Range, loguniform

RATE: dict[str, Range] = {"lr": loguniform(1e-5, 1e-1)}
RATE_EPOCHS = 10
RATE_TRIALS = (5, 8, 15)
FIELDS = ((("lr",), 5), (("lr",), 8), (("lr", "batch_size"), 10))
LCBENCH_SEEDS = 5
GRID = 200  # points among which the best accuracy of a problem is looked for
Curve = Callable[[Mapping[str, Any]], np.ndarray]


def rate_problem(seed: int) -> Curve:
    """Return a problem: from a learning rate to the best accuracies so far, [RATE_EPOCHS]."""
    generator = np.random.default_rng(seed)
    centre, width = generator.uniform(-4.5, -1.5), generator.uniform(0.4, 1.2)
    height, speed, slow = (generator.uniform(*ends) for ends in ((0.2, 0.9), (0.1, 0.8), (-5, -3)))
    chance, images = generator.choice([0.01, 0.1, 0.5]), generator.choice([100, 360, 2000])
    noise, noise_seed = generator.choice([0, 0.01, 0.03]), int(generator.integers(2**30))

    def curve(values: Mapping[str, Any]) -> np.ndarray:
        power = math.log10(values["lr"])
        peak = (1 - chance) * height * math.exp(-(((power - centre) / width) ** 2) / 2)
        pace = speed * (0.2 + 1 / (1 + math.exp(-2 * (power - slow))))
        learned = chance + peak * (1 - np.exp(-np.arange(1, RATE_EPOCHS + 1) * pace))
        drawn = np.random.default_rng([noise_seed, int(1e4 * (power + 9))])
        learned = learned + noise * drawn.standard_normal(RATE_EPOCHS)
        return np.asarray(np.maximum.accumulate(np.rint(learned * images) / images))

    return curve


def lcbench_problem(surrogate: Surrogate, task: str, searched: Sequence[str], seed: int) -> Curve:
    """Return a problem: a task of which only some fields are searched."""
    generator = np.random.default_rng([int(task), seed])
    others = {name: drawn(SPACE[name], generator) for name in SPACE if name not in searched}
    return lambda values: surrogate.curve(task, {**others, **values})


def drawn(domain: Range, generator: np.random.Generator) -> float:
    """Return a random number of a domain."""
    low, high = domain.ends
    share = generator.random()
    return float(low * (high / low) ** share if domain.is_log else low + share * (high - low))


def chosen(curve: Curve, searched: Searched, epochs: int, seed: int) -> tuple[float, int]:
    """Return the last accuracy of the trial that a search chooses, and how many epochs it had."""
    simulation = Simulation(curve, searched, epochs, seed)
    *_, spent = simulation.epochs(1, searched.trials)
    whole = [trial for trial in simulation.trials if trial.epoch == epochs]
    return max(trial.best for trial in whole or simulation.trials), spent


def compare(
    problems: Sequence[Curve],
    space: Mapping[str, Range],
    trials: int,
    epochs: int,
    names: list[str],
) -> dict[str, Any]:
    """Return the mean distance from the best accuracy for each searcher, over random search's."""
    grid = [
        {name: drawn(domain, generator) for name, domain in space.items()}
        for generator in [np.random.default_rng(0)]
        for _ in range(GRID)
    ]
    best = np.array([max(float(problem(one)[-1]) for one in grid) for problem in problems])
    distances, spent = {}, {}
    for name in [*names, "random"]:
        found = [
            chosen(problem, Searched(name, space, trials=trials), epochs, seed)
            for seed, problem in enumerate(problems)
        ]
        accuracies, ran = np.array(found).T
        distances[name] = np.maximum(best - accuracies, 0)
        spent[name] = round(float(ran.mean()) / trials / epochs, 3)
    random = distances.pop("random")
    return {
        "fields": list(space),
        "trials": trials,
        "searches": len(problems),
        "distance_of_random_search": round(float(random.mean()), 4),
        "over_random_search": {
            name: round(float(own.mean() / random.mean()), 3) for name, own in distances.items()
        },
        "intervals": {name: interval(own, random) for name, own in distances.items()},
        "share_of_epochs": {name: spent[name] for name in names},
    }


def interval(distances: np.ndarray, random: np.ndarray) -> list[float]:
    """Return the 95 % interval of the ratio of means, from 2,000 bootstrap samples of searches."""
    sample = np.random.default_rng(0).integers(len(random), size=(2000, len(random)))
    ratios = distances[sample].mean(1) / random[sample].mean(1)
    return [round(float(one), 3) for one in np.quantile(ratios, [0.025, 0.975])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write benchmarks/results/short_searches.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder with model.onnx")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--searchers", default="gp,tpe")
    options = parser.parse_args(arguments)
    names = options.searchers.split(",")
    problems = [rate_problem(seed) for seed in range(options.repeats)]
    rates, tasks = [], []
    for trials in RATE_TRIALS:
        rates.append(compare(problems, RATE, trials, RATE_EPOCHS, names))
        print(rates[-1], flush=True)
    surrogate = Surrogate(options.data)
    for searched, trials in FIELDS:
        problems = [
            lcbench_problem(surrogate, task, searched, seed)
            for task in surrogate.tasks
            for seed in range(LCBENCH_SEEDS)
        ]
        space = {name: SPACE[name] for name in searched}
        tasks.append(compare(problems, space, trials, EPOCHS, names))
        print(tasks[-1], flush=True)
    write_result("short_searches", {"learning_rates": rates, "lcbench": tasks})


if __name__ == "__main__":
    main()
