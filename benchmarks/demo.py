"""What `make demo` takes after the install, beside its epochs alone.

python benchmarks/demo.py [--repeats 1]

Runs sweeps/digits_transfer.py to its end in a new folder, with its table and report. Its epochs are
the seconds that trials recorded for them, shared out to as many slots as the machine has cores.
Writes benchmarks/results/demo.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from machine import HERE, spread, write_result

from fieldtrial.results.read.records import load_records

SWEEP = HERE.parent / "sweeps" / "digits_transfer.py"


def measure() -> dict[str, float]:
    """Return the seconds of the command and of its epochs."""
    with tempfile.TemporaryDirectory() as runs:
        start = time.monotonic()
        command = [sys.executable, str(SWEEP), "--runs", runs]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - start
        records = load_records(f"{runs}/{SWEEP.stem}")
    slots = len(os.sched_getaffinity(0))
    epochs = float((records["seconds"] + records["repeated_seconds"]).sum()) / slots
    return {"wall": wall, "epochs": epochs, "wall_over_epochs": wall / epochs}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1)
    runs = [measure() for _ in range(parser.parse_args().repeats)]
    result = {
        "what": "seconds of sweeps/digits_transfer.py to its end, and of its epochs on all slots",
        "load_average": round(os.getloadavg()[0], 1),
        **{name: spread([run[name] for run in runs]) for name in runs[0]},
    }
    write_result("demo", result)


if __name__ == "__main__":
    main()
