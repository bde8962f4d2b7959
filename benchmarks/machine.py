"""What a benchmark's result says about where it was measured, how it gives repeated figures, and
where it goes.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Where results go: an environment variable names another folder than that of the committed ones.
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or HERE / "results")
PACKAGES = ("ray", "optuna", "torch", "deepspeed", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory, versions and commit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=HERE, capture_output=True, text=True, check=False)
    return {
        "processor": next(
            (line.split(": ")[1] for line in lines if line.startswith("model name")),
            platform.machine(),
        ),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        **_versions(),
    }


def _versions() -> dict[str, str]:
    """Return the versions of PACKAGES, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write `result`, with the machine added, to NAME.json in RESULTS, and print it."""
    text = json.dumps(result | {"machine": describe_machine()}, indent=1)
    (RESULTS / f"{name}.json").write_text(f"{text}\n")
    print(text)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return n, median, least and most of repeated figures."""
    return {
        "n": len(values),
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }
