"""What a table of ten thousand trials costs: seconds and memory of jobs/table.py.

python benchmarks/tables.py [--repeats 3] [--folder DIR]

The sweep is made up (see make_sweep.py), or the one in DIR. `first` reads all records, `again`
finds them kept. Beside the wall time stands the processor time, because other work may run on the
machine. Writes benchmarks/results/tables.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import HERE, spread, write_result
from make_sweep import make_sweep

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.records import load_records

COMMAND = [sys.executable, str(HERE.parent / "jobs" / "table.py")]
PIVOT = ["--rows", "model,freeze", "--columns", "optimizer,batch_size"]


def measure(folder: SweepFolder) -> dict[str, float]:
    """Return seconds, processor seconds and the most memory (MB) of one table."""
    start = time.monotonic()
    process = subprocess.Popen([*COMMAND, str(folder.path), *PIVOT], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"the table was not made: exit status {os.waitstatus_to_exitcode(status)}")
    return {
        "wall": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a sweep that is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (
            SweepFolder(options.folder)
            if options.folder
            else make_sweep(Path(temporary) / "made_up")
        )
        runs: dict[str, list[dict[str, float]]] = {"first": [], "again": []}
        for _ in range(options.repeats):
            folder.records_path.unlink(missing_ok=True)
            runs["first"].append(measure(folder))
            runs["again"].append(measure(folder))
        trials, records = (
            len({entry["trial"] for entry in folder.trials()}),
            len(load_records(folder.path)),
        )
    result = {
        "what": (
            f"jobs/table.py on {trials:,} trials with {records:,} records: load, group, compare,"
            " print"
        ),
        "load_average": round(os.getloadavg()[0], 1),
        **{
            name: {key: spread([run[key] for run in measured]) for key in measured[0]}
            for name, measured in runs.items()
        },
    }
    write_result("tables", result)


if __name__ == "__main__":
    main()
