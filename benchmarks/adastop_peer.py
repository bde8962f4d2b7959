"""Runs the package adastop on tables: stdin has their values as JSON, stdout gets its decisions.

Run by benchmarks/verdicts.py with a Python that has the package (T. Mathieu et al. 2023). Each
table is a list of rows, each a list of ten values. A row gets five values and, if it is not
decided, five more: with three, no permutation test can reject at 5 %. All rows are compared with
the first.
"""

import contextlib
import importlib.metadata
import io
import json
import sys

import numpy as np
from adastop import MultipleAgentsComparator

STEP, MOST = 5, 10


def decide(rows: list[list[float]]) -> tuple[int, int]:
    """Return the runs that were taken, and how many rows are shown to differ from the first."""
    pairs = np.array([[0, number] for number in range(1, len(rows))])
    comparator = MultipleAgentsComparator(
        n=STEP, K=MOST // STEP, B=2000, alpha=0.05, comparisons=pairs, seed=0
    )
    given = {f"row {number}": np.empty(0) for number in range(len(rows))}
    for look in range(MOST // STEP):
        in_contest = set(range(len(rows))) if not look else {*comparator.current_comparisons.flat}
        for number, name in enumerate(given):
            if number in in_contest:
                given[name] = np.array(rows[number][: STEP * (look + 1)])
        comparator.partial_compare(given, verbose=False)
        if comparator.is_finished:
            break
    shown = sum(decision in ("larger", "smaller") for decision in comparator.decisions.values())
    return sum(len(values) for values in given.values()), shown


def main() -> None:
    """Read tables, write the totals."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = [decide(rows) for rows in json.load(sys.stdin)]
    runs, shown = (sum(part) for part in zip(*found, strict=True))
    version = importlib.metadata.version("adastop")
    json.dump({"runs": runs, "shown": shown, "version": version}, sys.stdout)


if __name__ == "__main__":
    main()
