"""What the report costs at ten thousand trials: time, memory and size to write it; a sort, a filter
and a brush in it.

python benchmarks/report.py [--rows 40] [--trials 247] [--repeats 3] [--folder DIR]

Makes a sweep up (see make_sweep.py; in DIR it stays, and is taken if it is there), writes its
report in a process of its own, once from the files alone and then with the records that were kept,
opens it in headless Chromium, and sorts, filters, brushes and scrolls there. A gesture is over when
the browser has painted what came of it. Writes benchmarks/results/report.json.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import spread, write_result
from make_sweep import make_sweep
from playwright.sync_api import Page, sync_playwright

from fieldtrial.disk.sweep_folder import SweepFolder

COMMAND = (sys.executable, "-m", "fieldtrial.results.report.command")
SETTLED = (
    "() => new Promise((done) => requestAnimationFrame(() => setTimeout(() =>"
    " done(performance.now()), 0)))"
)
SORT = """() => { window.begun = performance.now();
  document.querySelector('#trials-table th[data-name=lr] button').click() }"""
FILTER = (
    "() => { window.begun = performance.now(); selection.text = 'model=resnet50 lr>0.001';"
    " select() }"
)
BRUSH = """(share) => { window.begun = performance.now();
  setRange(parallelAxes.find((axis) => axis.column.name === 'lr'), [0.2, share]) }"""


def write(folder: SweepFolder) -> dict[str, float]:
    """Write the report in a process of its own; return its seconds and the processor's, and its
    megabytes at most.
    """
    started = time.monotonic()
    process = subprocess.Popen([*COMMAND, str(folder.path)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the report of {folder.path} could not be written")
    return {
        "seconds": time.monotonic() - started,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
    }


def gesture(page: Page, script: str, argument: object = None) -> float:
    """Return the milliseconds from a gesture to the picture of what came of it."""
    page.evaluate(script, argument)
    return float(page.evaluate(SETTLED)) - float(page.evaluate("window.begun"))


def read(path: Path, repeats: int) -> dict[str, Any]:
    """Open the report and use it; return milliseconds."""
    found: dict[str, list[float]] = {
        name: [] for name in ("open", "sort", "filter", "brush", "scroll")
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            started = time.monotonic()
            page.goto(path.as_uri())
            page.evaluate(SETTLED)
            found["open"].append(1000 * (time.monotonic() - started))
            found["sort"] += [gesture(page, SORT) for _ in range(2)]
            page.locator("#parallel").scroll_into_view_if_needed()
            page.wait_for_timeout(1000)
            found["brush"] += [gesture(page, BRUSH, share) for share in (0.9, 0.8, 0.7, 0.6)]
            page.wait_for_timeout(1000)
            found["filter"].append(gesture(page, FILTER))
            page.wait_for_timeout(1000)
            for _ in range(10):
                scroll = "() => { window.begun = performance.now(); scrollBy(0, 400) }"
                found["scroll"].append(gesture(page, scroll))
            page.close()
        browser.close()
    return {name: spread(values) for name, values in found.items()}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--trials", type=int, default=247)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = options.folder or Path(temporary) / "sweep"
        folder = (
            SweepFolder(path) if path.exists() else make_sweep(path, options.rows, options.trials)
        )
        folder.records_path.unlink(missing_ok=True)
        first = write(folder)
        again = [write(folder) for _ in range(options.repeats)]
        size = folder.report_path.stat().st_size
        milliseconds = read(folder.report_path.path, options.repeats)
        trials = len([entry for entry in folder.trials() if entry["role"] != "winner"])
    result = {
        "what": (
            "the report of a made-up sweep: to write it, and to use it in headless Chromium without"
            " a GPU"
        ),
        "trials": trials,
        "report_megabytes": round(size / 1e6, 2),
        "write_from_the_files_alone": {name: round(value, 2) for name, value in first.items()},
        "write_with_kept_records": {name: spread([one[name] for one in again]) for name in first},
        "milliseconds_to_the_picture": milliseconds,
    }
    write_result("report", result)


if __name__ == "__main__":
    main()
