"""What a trial costs beyond its training, in local mode and in plain Ray Tune, one trial at a time,
in one run.

python benchmarks/overhead.py [--trials 20] [--repeats 5]

Three cases in turn: this project with a worker that does nothing, this project with the real worker
(one epoch of a perceptron on the digits; the seconds that its records account for are taken off),
and tune.Tuner with a function that reports once. Ours are counted after the first trial, which
warms the place up; Tune has nothing that stays warm. Writes benchmarks/results/overhead.json.
"""

import argparse
import logging
import os
import tempfile
import time

import ray
from machine import HERE, spread, write_result
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.local import WORKER, LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep, grid

STAND_IN = (str(HERE / "stand_in_worker.py"),)


def ours(worker: tuple[str, ...], trials: int) -> float:
    """Return the seconds per trial, beyond what its records account for, of a sweep with one trial
    at a time.
    """
    rows = grid(model=["mlp"], batch_size=range(64, 64 + trials + 1))
    sweep = Sweep(base=TrainConfig(epochs=1), rows=rows, seeds=0)
    with tempfile.TemporaryDirectory() as folder:
        place = LocalPlace(LocalSettings(most_trials=1), worker)
        ends: list[float] = []

        def hear(event: str, _trial: Trial) -> None:
            if event == "done":
                ends.append(time.monotonic())

        engine = Engine(sweep, SweepFolder(folder), place, hear)
        engine.run()
        place.close()
        runs = [SweepFolder(folder).run(trial.name) for trial in engine.trials()][1:]
        trained: float = sum(record["seconds"] for run in runs for record in run.records())
    return (ends[-1] - ends[0] - trained) / trials


def plain_tune(trials: int) -> float:
    """Return the seconds per trial of tune.Tuner with a function that reports once."""

    def report_once(_config: dict[str, object]) -> None:
        tune.report({"score": 1.0})

    with tempfile.TemporaryDirectory() as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        settings = tune.TuneConfig(num_samples=trials, max_concurrent_trials=1)
        tuner = tune.Tuner(
            report_once,
            tune_config=settings,
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        start = time.monotonic()
        tuner.fit()
        seconds = time.monotonic() - start
        ray.shutdown()
    return seconds / trials


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ["EPOCH_SECONDS"] = "0"
    seconds: dict[str, list[float]] = {
        "worker that does nothing": [],
        "real worker": [],
        "plain Ray Tune": [],
    }
    for _ in range(options.repeats):
        seconds["worker that does nothing"].append(ours(STAND_IN, options.trials))
        seconds["real worker"].append(ours(WORKER, options.trials))
        seconds["plain Ray Tune"].append(plain_tune(options.trials))
    result = {
        "what": "seconds per trial beyond its training, one at a time",
        "trials": options.trials,
        "seconds": {name: spread(values) for name, values in seconds.items()},
    }
    write_result("overhead", result)


if __name__ == "__main__":
    main()
