"""A sweep's folder of any size, made up: for what tables and reports cost at ten thousand trials.

python benchmarks/make_sweep.py FOLDER [--rows 40] [--trials 247] [--seeds 3] [--epochs 68]

By default 40 rows × (247 searched + 3 final) = 10,000 trials of up to 68 epochs: 50 on the average,
because some end early. Accuracies rise as learning curves do; how high depends on the row, the
learning rate, the dropout and luck. Trials that are not among the good ones may be stopped early,
large learning rates diverge, a few trials die, and a few are preempted and resumed. All of it goes
through the project's own writers, with a clock of its own.
"""

import argparse
import heapq
import math
import random
from pathlib import Path
from typing import Any
from unittest import mock

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder

COMPARED: dict[str, list[Any]] = {
    "model": ["resnet18", "resnet50", "squeezenet1_1", "vit_b_16", "cnn"],
    "freeze": ["none", "all_but_head"],
    "optimizer": ["sgd", "adamw"],
    "batch_size": [16, 64],
}
BEST = {"resnet18": 0.80, "resnet50": 0.86, "squeezenet1_1": 0.72, "vit_b_16": 0.88, "cnn": 0.45}
MILLIONS = {"resnet18": 11.2, "resnet50": 23.5, "squeezenet1_1": 0.73, "vit_b_16": 85.8, "cnn": 1.9}
RUNGS = (10, 20, 40)  # where the worse trials are stopped
DEVICES = 32  # that share the trials
START = 1.76e9  # when the sweep began, in seconds since 1970
CLASS_NAMES = [f"class {number}" for number in range(10)]


class Clock:
    """The time that the made-up sweep takes place at, instead of the real one."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Return it in seconds since 1970."""
        return self.now


def rows_of(count: int) -> list[dict[str, Any]]:
    """Return the fields of the sweep's first `count` rows."""
    rows: list[dict[str, Any]] = [{}]
    for name, values in COMPARED.items():
        rows = [{**row, name: value} for row in rows for value in values]
    if not 1 <= count <= len(rows):
        raise ValueError(f"--rows {count}: must be from 1 to {len(rows)}")
    return rows[:count]


def make_sweep(
    path: Path, rows: int = 40, trials: int = 247, seeds: int = 3, epochs: int = 68
) -> SweepFolder:
    """Write the sweep into `path`, which must not be there yet, and return its folder."""
    if path.exists():
        raise ValueError(f"{path}: is there already; name a folder that is not")
    folder, clock = SweepFolder(path), Clock()
    base, compared = TrainConfig(dataset="folder:flowers", epochs=epochs), rows_of(rows)
    free = [(START, number) for number in range(DEVICES)]  # when each device is free
    with mock.patch("os.fsync", return_value=None), mock.patch("time.time", clock):
        folder.write_description(
            SweepDescription(
                name=folder.name,
                base=base,
                rows=tuple(compared),
                search={
                    "lr": SearchDomain("loguniform", 1e-05, 1.0),
                    "dropout": SearchDomain("uniform", 0.0, 0.5),
                },
                trials=trials,
                seeds=seeds,
                select="validation_accuracy",
            )
        )
        best: dict[int, tuple[float, TrainConfig]] = {}
        for trial in range(trials):
            for number, row in enumerate(compared):
                luck = random.Random(f"{number} {trial}")
                searched = {"lr": 10 ** luck.uniform(-5, 0), "dropout": luck.uniform(0, 0.5)}
                config = TrainConfig.from_dict({**row, **searched}, base)
                value = make_trial(folder, config, number, "search", clock, free)
                if value is not None and value > best.get(number, (0.0, config))[0]:
                    best[number] = value, config
        for number, (_value, config) in sorted(best.items()):
            folder.list_trial(config.id, number, "winner")
            for seed in range(1, seeds + 1):
                final = TrainConfig.from_dict({"seed": seed}, config)
                make_trial(folder, final, number, "final", clock, free)
    return folder


def make_trial(
    folder: SweepFolder,
    config: TrainConfig,
    row: int,
    role: str,
    clock: Clock,
    free: list[tuple[float, int]],
) -> float | None:
    """Write a trial's files; return its validation accuracy if it was trained to the end."""
    clock.now, device = heapq.heappop(free)
    luck = random.Random(config.id)
    folder.list_trial(config.id, row, role)
    run = Run.create(folder.path / config.id, config)
    run.write_command(f"fieldtrial train --run {run.path} {' '.join(config.to_flags())}")
    records = records_of(config, luck)
    last, outcome = len(records) - 1, "finished"
    diverges, dies = config.lr > 0.5, luck.random() < 0.01
    if role == "search" and (diverges or dies):
        last, outcome = luck.randint(1, last), "failed"
    elif role == "search" and luck.random() < 1 / 3:
        chances = [rung for rung in RUNGS if rung < last and luck.random() < 1 - height(config) / 2]
        last, outcome = (chances[0], "stopped") if chances else (last, outcome)
    resumes_at = luck.randint(1, last) if luck.random() < 0.03 else None
    attempts = [(1, records[: last + 1])]
    if (
        resumes_at is not None
    ):  # the second attempt begins with the record of the checkpoint that it found
        found = resumes_at - luck.randint(0, 1)
        again = [
            {**record, "seconds": 1.1 * record["seconds"]}
            for record in records[found + 1 : last + 1]
        ]
        attempts = [(1, records[: resumes_at + 1]), (2, [records[found], *again])]
    for attempt, part in attempts:
        run.write_environment(attempt, environment(attempt, device))
        with run.recorder(attempt) as recorder:
            for record in part:
                clock.now += record["seconds"]
                recorder.write(record)
    if outcome == "failed":
        kind, message = (
            ("diverged", f"the loss is nan at step {last * 100}")
            if diverges
            else ("died", "exit status 1")
        )
        run.write_error(kind, message, attempts[-1][0])
    else:
        run.write_result(
            result_of(config, records[: last + 1], outcome, luck, role == "final")
            | {"attempt": attempt}
        )
    heapq.heappush(free, (clock.now + 1, device))
    return float(records[-1]["validation_accuracy"]) if outcome == "finished" else None


def height(config: TrainConfig) -> float:
    """Return how good a configuration gets without luck, as a share of its row's best."""
    peak = -2.0 if config.optimizer == "sgd" else -3.2
    dropout = config.dropout or 0
    return math.exp(-((math.log10(config.lr) - peak) ** 2) / 3) * (1 - (dropout - 0.2) ** 2)


def records_of(config: TrainConfig, luck: random.Random) -> list[Record]:
    """Return the records of all epochs, if nothing stops the trial."""
    frozen = config.freeze != "none"
    top = BEST[config.model] * (0.92 if frozen else 1.0) * height(config) + luck.gauss(0, 0.008)
    speed, seconds = luck.uniform(2, 6), (4 if frozen else 9) + MILLIONS[config.model] / 10
    records: list[Record] = []
    best_epoch, best = 0, 0.0
    for epoch in range(config.epochs + 1):
        learned = 1 - math.exp(-epoch / speed)
        accuracy = round(min(1.0, max(0.0, 0.1 + (top - 0.1) * learned + luck.gauss(0, 0.006))), 4)
        best_epoch, best = (epoch, accuracy) if accuracy > best and epoch else (best_epoch, best)
        taken = seconds * luck.uniform(0.95, 1.1)
        records.append(
            {
                "epoch": epoch,
                "step": epoch * 100,
                "train_loss": 2.3 * (1 - 0.95 * learned * top) + 0.01 * luck.random(),
                "train_accuracy": min(1.0, accuracy + 0.1 * learned * luck.random()),
                "validation_loss": 2.3 * (1 - 0.85 * learned * top)
                + 0.002 * epoch
                + 0.02 * luck.random(),
                "validation_accuracy": accuracy,
                "lr": config.lr,
                "seconds": taken,
                "images_per_second": 5000 / taken,
                "data_wait": 0.02 * luck.random(),
                "peak_memory_mb": 1200 + 30 * MILLIONS[config.model],
                "gradient_norm": 3.0 / (1 + epoch) + 0.2 * luck.random(),
                "update_ratio": config.lr / (1 + epoch) ** 0.5,
                "best_epoch": best_epoch,
            }
        )
    return records


def result_of(
    config: TrainConfig, records: list[Record], outcome: str, luck: random.Random, test: bool
) -> dict[str, Any]:
    """Return what result.json says of a trial that ended well."""
    kept = records[records[-1]["best_epoch"]]
    parameters = int(MILLIONS[config.model] * 1e6)
    scores = {
        "validation_accuracy": kept["validation_accuracy"],
        "validation_loss": kept["validation_loss"],
    }
    if test:
        scores |= {
            "test_accuracy": round(kept["validation_accuracy"] - 0.01 + luck.gauss(0, 0.004), 4)
        }
        scores |= {"test_loss": kept["validation_loss"] + 0.03}
    return {
        "outcome": outcome,
        "reason": "epochs" if outcome == "finished" else "stop file",
        "epochs": records[-1]["epoch"],
        "best_epoch": kept["epoch"],
        **scores,
        "parameters": parameters,
        "trainable_parameters": parameters if config.freeze == "none" else 20_490,
        "flops": 160 * parameters,
        "classes": len(CLASS_NAMES),
        "class_names": CLASS_NAMES,
        "train_images": 4500,
        "validation_images": 500,
        "test_images": 1000,
        "minutes": sum(record["seconds"] for record in records) / 60,
        "peak_memory_mb": kept["peak_memory_mb"],
    }


def environment(attempt: int, device: int) -> dict[str, Any]:
    """Return what env.json says of an attempt."""
    return {
        "commit": "0" * 40,
        "dirty": False,
        "host": f"node{device // 8}",
        "platform": "Linux",
        "cores": 8,
        "threads": 8,
        "devices": ["made-up device"],
        "world_size": 1,
        "python": "3.11.7",
        "versions": {"torch": "2.15.0", "numpy": "2.4.6"},
        "process": 1000 + device,
        "job": {"SLURM_JOB_ID": str(1000 * attempt + device)},
    }


def main() -> None:
    """Write the sweep that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make up a sweep's folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=40, help="rows of the table, at most 40")
    parser.add_argument("--trials", type=int, default=247, help="searched in each row")
    parser.add_argument("--seeds", type=int, default=3, help="final runs of each row's winner")
    parser.add_argument("--epochs", type=int, default=68)
    options = parser.parse_args()
    try:
        make_sweep(options.folder, options.rows, options.trials, options.seeds, options.epochs)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
