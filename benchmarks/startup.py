"""What is waited for before anything happens: seconds of short commands, and a worker's start.

python benchmarks/startup.py [--repeats 5]

Commands run to their end on a small sweep (24 rows of digits; the folder for status and table is
made up, 264 trials), one after the other in each round. A worker's start is what it imports and
does once, beside `import torch` alone: a process that is asked for two equal small trials of a
ResNet-18 takes longer for the first by what it imports after its start. Beside the wall time stands
the processor time, because other work may run on the machine.
Writes benchmarks/results/startup.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import HERE, spread, write_result
from make_sweep import make_sweep

ROOT = HERE.parent
SWEEP = str(ROOT / "sweeps" / "digits_transfer.py")
ROWS, TRIALS, EPOCHS = 24, 8, 10  # of the made-up sweep
# Prints the processor seconds of the import of a worker, of a first trial and of a second one.
WORKER = """
import json, sys, time
start = time.process_time()
import fieldtrial.worker.__main__
imported = time.process_time()
from pathlib import Path
from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt
times = [imported]
for name in ("first", "second"):
    config = TrainConfig(model="resnet18", image_size=32, images_per_class=2, classes="2", epochs=1)
    list(train(Attempt.at(Run.create(Path(sys.argv[1]) / name, config), test=True)))
    times.append(time.process_time())
begins = [start, *times]
print(json.dumps([end - begin for begin, end in zip(begins, times)]))
"""
TORCH = "import time; start = time.process_time(); import torch; print(time.process_time() - start)"


def command(*arguments: str) -> dict[str, float]:
    """Return wall and processor seconds of a Python command, with those of its own processes."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: exit status {os.waitstatus_to_exitcode(status)}")
    return {"wall": time.monotonic() - start, "processor": usage.ru_utime + usage.ru_stime}


def printed(script: str, *arguments: str) -> str:
    """Return the last line that a script prints, on one thread."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    commands: dict[str, list[dict[str, float]]] = {}
    imports: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_sweep(Path(temporary) / "made_up", ROWS, TRIALS, 3, EPOCHS)
        jobs = ROOT / "jobs"
        lines = {
            "help": (SWEEP, "--help"),
            "dry_run": (SWEEP, "--dry-run", "--runs", temporary),
            "status": (str(jobs / "status.py"), str(folder.path)),
            "table": (str(jobs / "table.py"), str(folder.path)),
        }
        for number in range(-1, options.repeats):  # the first round fills caches
            round_of = {name: command(*line) for name, line in lines.items()}
            torch = float(printed(TORCH))
            worker, first, second = json.loads(printed(WORKER, f"{temporary}/runs{number}"))
            if number < 0:
                continue
            for name, measured in round_of.items():
                commands.setdefault(name, []).append(measured)
            beyond = worker + first - second - torch
            for name, seconds in (("torch", torch), ("worker", worker), ("beyond_torch", beyond)):
                imports.setdefault(name, []).append(seconds)
    result = {
        "what": "seconds of short commands; processor seconds of a worker's imports",
        "load_average": round(os.getloadavg()[0], 1),
        "commands": {
            name: {key: spread([one[key] for one in runs]) for key in ("wall", "processor")}
            for name, runs in commands.items()
        },
        "worker": {name: spread(seconds) for name, seconds in imports.items()},
        "worker_over_torch": round(
            1 + statistics.median(imports["beyond_torch"]) / statistics.median(imports["torch"]), 2
        ),
    }
    write_result("startup", result)


if __name__ == "__main__":
    main()
