"""How near searches of few trials come to the best accuracy, over random search.

    python benchmarks/short_searches.py --data FOLDER [--repeats 200] [--searchers gp,tpe]

Many rows search one or two fields with few trials. Two kinds of them are simulated. The first are
artificial problems: formulas from a learning rate, over four decades, to the accuracies of 10
epochs. The accuracy has a peak somewhere, smaller rates learn slowly, and the others learn nothing;
most have noise. The second are tasks of LCBench of which some fields are searched and the others
have random values.

The distance of a search is that of its choice, trained to the end, from the best of 200 random
configurations and of itself; noise is in what the search sees, and not in the distance. Random
search has as many trials, and stops none.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lcbench import EPOCHS, SPACE, Surrogate, scaled
from machine import write_result
from search import Curve, Simulation

from fieldtrial.search_domains import Range, loguniform

RATE: dict[str, Range] = {"lr": loguniform(1e-5, 1e-1)}
RATE_EPOCHS = 10
RATE_TRIALS = (5, 8, 15)
FIELDS = ((("lr",), 5), (("lr",), 8), (("lr", "batch_size"), 10))
LCBENCH_SEEDS = 5
GRID = 200


@dataclass
class Problem:
    """A function from configurations to learning curves, of which a search looks for the best.

    curve: the best accuracies so far of a configuration, as a search sees them. end: its accuracy
    at the last epoch, without noise.
    """

    curve: Curve
    end: Callable[[Mapping[str, Any]], float]


def rate_problem(seed: int) -> Problem:
    """Return an artificial problem: learning rates with 10 epochs."""
    generator = np.random.default_rng(seed)
    centre, width = generator.uniform(-4.5, -1.5), generator.uniform(0.4, 1.2)
    height, speed, slow = (generator.uniform(*ends) for ends in ((0.2, 0.9), (0.1, 0.8), (-5, -3)))
    chance, images = generator.choice([0.01, 0.1, 0.5]), generator.choice([100, 360, 2000])
    noise, noise_seed = generator.choice([0, 0.01, 0.03]), int(generator.integers(2**30))

    def learned(values: Mapping[str, Any]) -> np.ndarray:
        power = math.log10(values["lr"])
        peak = (1 - chance) * height * math.exp(-(((power - centre) / width) ** 2) / 2)
        pace = speed * (0.2 + 1 / (1 + math.exp(-2 * (power - slow))))
        return np.asarray(chance + peak * (1 - np.exp(-np.arange(1, RATE_EPOCHS + 1) * pace)))

    def curve(values: Mapping[str, Any]) -> np.ndarray:
        drawn = np.random.default_rng([noise_seed, int(1e4 * (math.log10(values["lr"]) + 9))])
        seen = learned(values) + noise * drawn.standard_normal(RATE_EPOCHS)
        return np.asarray(np.maximum.accumulate(np.rint(seen * images) / images))

    return Problem(curve, lambda values: float(learned(values)[-1]))


def lcbench_problem(surrogate: Surrogate, task: str, searched: Sequence[str], seed: int) -> Problem:
    """Return a problem: a task of which only some fields are searched."""
    generator = np.random.default_rng([int(task), seed])
    others = drawn({name: SPACE[name] for name in SPACE if name not in searched}, generator)

    def curve(values: Mapping[str, Any]) -> np.ndarray:
        return surrogate.curve(task, {**others, **values})

    return Problem(curve, lambda values: float(curve(values)[-1]))


def drawn(space: Mapping[str, Range], generator: np.random.Generator) -> dict[str, float]:
    """Return a random configuration."""
    return {name: float(scaled(domain, generator.random(1))[0]) for name, domain in space.items()}


def chosen(
    problem: Problem, name: str, space: Mapping[str, Range], trials: int, epochs: int, seed: int
) -> tuple[float, int]:
    """Return the end of what a search chooses, and the epochs of all its trials."""
    simulation = Simulation(problem.curve, name, space, trials, epochs, seed)
    *_, spent = simulation.epochs(1, trials)
    whole = [trial for trial in simulation.trials if trial.epoch == epochs]
    best = max(whole or simulation.trials, key=lambda trial: trial.best)
    return problem.end(best.values), spent


def compare(
    problems: Sequence[Problem],
    space: Mapping[str, Range],
    trials: int,
    epochs: int,
    names: Sequence[str],
    together: int = 1,
) -> dict[str, Any]:
    """Return the mean distance from the best accuracy for each searcher, over random search's.

    together: how many problems in succession are of one task, and so alike.
    """
    generator = np.random.default_rng(0)
    grid = [drawn(space, generator) for _ in range(GRID)]
    best = np.array([max(map(problem.end, grid)) for problem in problems])
    distances, shares = dict[str, np.ndarray](), dict[str, float]()
    for name in [*names, "random"]:
        found = [
            chosen(problem, name, space, trials, epochs, seed)
            for seed, problem in enumerate(problems)
        ]
        accuracies, spent = np.array(found).T
        distances[name] = np.maximum(best - accuracies, 0).reshape(-1, together).mean(1)
        shares[name] = round(float(spent.mean()) / trials / epochs, 3)
    random = distances.pop("random")
    return {
        "fields": list(space),
        "trials": trials,
        "searches": len(problems),
        "distance_of_random_search": round(float(random.mean()), 4),
        "over_random_search": {
            name: {
                "ratio": round(float(own.mean() / random.mean()), 3),
                "interval": interval(own, random),
                "share_of_epochs": shares[name],
            }
            for name, own in distances.items()
        },
    }


def interval(distances: np.ndarray, random: np.ndarray) -> list[float]:
    """Return the 95 % interval of the ratio of means, from 2,000 bootstrap samples."""
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
        tasks.append(compare(problems, space, trials, EPOCHS, names, LCBENCH_SEEDS))
        print(tasks[-1], flush=True)
    write_result("short_searches", {"artificial": rates, "lcbench": tasks})


if __name__ == "__main__":
    main()
