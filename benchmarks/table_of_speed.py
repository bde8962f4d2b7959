"""The table of docs/measured.md on speed, with what was measured here beside it.

python benchmarks/table_of_speed.py --results DIR

Figures come from the files in DIR, which other scripts here write with BENCHMARK_RESULTS=DIR;
`make bench` runs the quick ones of these first. Those without a file are "not measured".
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import HERE

PAGE = HERE.parent / "docs" / "measured.md"
HEAD = "| what | before | peer or limit | now | n |"
UNKNOWN = "not measured"
Key = str | Mapping[str, object]  # of an object, or what an entry of a list has


@dataclass(frozen=True)
class Figure:
    """A figure in a result: NAME.json's entry behind `keys`, times `factor`, with a unit.

    over: the keys of another entry, by which it is divided; `spread` gives median, min and max.
    """

    file: str
    keys: tuple[Key, ...]
    unit: str = ""
    factor: float = 1.0
    over: tuple[Key, ...] = ()

    def text(self, results: Path) -> str:
        """Return it with its unit and number of repetitions."""
        path = results / f"{self.file}.json"
        if not path.exists():
            return UNKNOWN
        known = json.loads(path.read_text())
        found = entry(known, self.keys)
        divisor = entry(known, self.over) if self.over else 1.0
        if found is None or divisor is None:
            return f"not in {path.name}"
        median, count = middle(found)
        value = self.factor * median / middle(divisor)[0]
        return f"{value:.3g}{self.unit}" + (f" (n = {count})" if count else "")


def entry(known: Any, keys: tuple[Key, ...]) -> Any:
    """Return what is behind `keys`, None if it is not there."""
    for key in keys:
        if isinstance(key, str):
            known = known.get(key) if isinstance(known, dict) else None
        else:
            items = known if isinstance(known, list) else []
            known = next((one for one in items if key.items() <= one.items()), None)
    return known


def middle(found: Any) -> tuple[float, int | None]:
    """Return the median and n of what `spread` gave, or a plain number and None."""
    if isinstance(found, dict):
        return float(found["median"]), int(found["n"])
    return float(found), None


def startup(name: str) -> Figure:
    """Return the seconds of a command to its end."""
    return Figure("startup", ("commands", name, "wall"), " s")


def regret(at_once: int) -> Figure:
    """Return the regret of the default searcher over random search."""
    one = {"searcher": "gp", "at_once": at_once}
    return Figure("search", ("searches", one, "all", "regret"), f" with {at_once} at once")


# By how the line of the page begins.
LINES: dict[str, tuple[Figure, ...]] = {
    "a further trial of a linear probe": (
        Figure("probe", ("worker", "seconds", "further", "cpu"), " s CPU"),
        Figure("heads", ("cpu", "plain loop, no files"), " s CPU, a plain loop"),
    ),
    "the same trial in a batch of 32": (Figure("heads", ("cpu", "32 together"), " s CPU"),),
    "the same over a trial without any cache": tuple(
        Figure("probe", ("worker", "ratios", f"without features over {one}", "cpu"), " times")
        for one in ("first", "further")
    ),
    "linear probe as one process": tuple(
        Figure("probe", ("command", "ratios", f"script over {one}", "cpu"), " times")
        for one in ("first", "further")
    ),
    "probe with random-resized crop": (
        Figure("probe", ("crops", "ratios", "script over further", "cpu"), " times"),
        Figure("views", ("new views over it", "4 views, further"), " times with 4 cached views"),
    ),
    "random-resized crop 224 and flip: building": (
        Figure("input", ("photos", "store, wall ms an image"), " ms"),
        Figure("input", ("photos", "decoding alone, wall ms an image"), " ms, decoding alone"),
    ),
    "the same from the store": (
        Figure("input", ("photos", "crops from it, wall ms an image"), " ms"),
        Figure("input", ("photos", "DataLoader over crops from it, wall"), " times the DataLoader"),
    ),
    "small images": (
        Figure("input", ("small images", "DataLoader over fieldtrial, wall"), " times"),
    ),
    "training step of an MLP": (Figure("step", ("ratios", "MLP", "ours over by hand"), " times"),),
    "five-block CNN": tuple(
        Figure("step", ("ratios", "five-block CNN, augmented", f"ours over {peer}"), f" of {peer}")
        for peer in ("plain", "by hand")
    ),
    "AdamW step": (Figure("step", ("milliseconds", "AdamW's step, ResNet-18", "ours"), " ms"),),
    "driver, CPU a trial": tuple(
        Figure("driver", ("figures", f"{trials} trials", "cpu_ms_per_trial"), f" ms at {trials:,}")
        for trials in (300, 1000, 10_000, 30_000)
    ),
    "`make demo`": (
        Figure("demo", ("wall",), " s"),
        Figure("demo", ("epochs",), " s, its epochs"),
    ),
    "`--help`; `--dry-run`": tuple(map(startup, ("help", "dry_run", "status", "table"))),
    "imports of a worker": (
        Figure("startup", ("worker", "beyond_torch"), " s beyond torch"),
        Figure("startup", ("worker", "torch"), " s torch"),
    ),
    "regret over random search": (regret(1), regret(8)),
}


def page_lines() -> list[list[str]]:
    """Return the cells of the page's table, a list for each line."""
    text = PAGE.read_text().split(HEAD, 1)[1].split("\n\n", 1)[0]
    _, _, *lines = text.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def table(results: Path) -> str:
    """Return the page's table with a further column: the figures in the folder `results`."""
    lines = [HEAD + " here |", "|---" * (HEAD.count("|")) + "|"]
    for cells in page_lines():
        figures = next((own for start, own in LINES.items() if cells[0].startswith(start)), ())
        texts = [figure.text(results) for figure in figures]
        here = "; ".join(texts) if {*texts} - {UNKNOWN} else UNKNOWN
        lines.append(f"| {' | '.join((*cells, here))} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    print(table(parser.parse_args().results))


if __name__ == "__main__":
    main()
