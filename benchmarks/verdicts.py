"""Whether verdicts can be believed: simulated tables of which it is known what differs.

python benchmarks/verdicts.py [--tables 400] [--again 1500] [--processes 2] [--counts FILE]

Counted are tables of equal rows with any difference shown (false alarms, of rows and of fields), in
all cells of a grid. Cells with so many that they may have more than 6 % are counted anew, with more
tables and other draws. Then: how often a row's interval holds its true accuracy, how often true
differences are shown, beside other rules, what `until` takes, and pairs of identical rows. Writes
benchmarks/results/verdicts.json. It takes hours; with --counts, cells that are in FILE are not
counted again.
"""

import argparse
import itertools
import json
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import spread, write_result
from scipy import stats  # noqa: TID253 (nothing of this runs in a worker)
from simulated_tables import (
    UNTIL,
    Cell,
    Values,
    dunnett,
    mcnemar,
    paired_holm,
    simulate,
    with_best,
    with_fields,
)

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import Runs, contrasts_of, family_of
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.joint import judge
from fieldtrial.results.verdicts.sequential import hold_contest, looks

MOST = 0.06  # of false alarms: the upper bound that a cell must not exceed
DRAWS = 5000  # of each table's joint distribution: a tenth of what a real table takes
METRIC = "test_accuracy"


def is_shown(rows: list[Runs], weights: Values) -> Values:
    """Return which contrasts the product's rule shows."""
    judged = judge(contrasts_of(family_of(rows), weights), draws=DRAWS)
    return np.asarray(judged.corrected_p < LEVEL)


def until(rows: list[Runs], best: int, most: int = UNTIL) -> tuple[Values, int]:
    """Return what `until` shows of each other row, and the runs that it took."""
    stages = [[_first(row, count) for count in looks(most)] for row in rows]
    weights = with_best(len(rows), best)
    pairs = [(row, best) for row in range(len(rows)) if row != best]
    contest = hold_contest(stages, [most] * len(rows), weights, pairs, most, draws=DRAWS)
    return np.array(contest.shown), sum(contest.given)


def _first(row: Runs, runs: int) -> Runs:
    if row.is_deterministic or row.scores is None:
        return row
    return replace(row, values=row.values[:runs], scores=row.scores[:runs])


def false_alarms(cell: Cell, tables: int, seed: int) -> dict[str, float]:
    """Return how many of the tables have a false alarm, of rows alone and with fields."""
    random = np.random.default_rng(seed)
    of_rows = with_all = 0
    for _ in range(tables):
        rows = simulate(random, cell)
        best = int(random.integers(cell.rows))
        if cell.seeds:
            shown = is_shown(rows, with_fields(cell.rows, best))
            of_rows += bool(shown[: cell.rows - 1].any())
            with_all += bool(shown.any())
        else:
            of_rows += bool(until(rows, best)[0].any())
            with_all = of_rows
    return {"tables": tables, "rows": of_rows, "rows and fields": with_all}


def coverage(cell: Cell, tables: int, seed: int) -> dict[str, float]:
    """Return how many of the rows' intervals hold the true accuracy."""
    random = np.random.default_rng(seed)
    intervals = [estimate(row, METRIC) for _ in range(tables) for row in simulate(random, cell)[:2]]
    held = sum(
        one.low <= cell.accuracy <= one.high
        for one in intervals
        if one.low is not None and one.high is not None
    )
    return {"intervals": len(intervals), "held": held}


def bound(count: float, tables: float) -> float:
    """Return the upper end of the one-sided 95 % interval of a share (Clopper and Pearson)."""
    found = stats.binomtest(int(count), int(tables), alternative="less")
    return float(found.proportion_ci(0.95, method="exact").high)


RULES: dict[str, Callable[[list[Runs], int], Values]] = {
    "this project": lambda rows, best: is_shown(rows, with_best(len(rows), best)),
    "t tests paired by seed, Holm": paired_holm,
    "Dunnett": dunnett,
    "McNemar on single runs, Holm": mcnemar,
}


def power(cell: Cell, below: float, tables: int, seed: int) -> dict[str, Any]:
    """Return the share of rows shown to be worse, half of the rows being so much worse."""
    random = np.random.default_rng(seed)
    worse = np.arange(cell.rows) >= cell.rows - cell.rows // 2
    shown = dict.fromkeys(RULES, 0.0)
    false = dict.fromkeys(RULES, 0)
    for _ in range(tables):
        rows = simulate(random, cell, below * worse)
        for name, rule in RULES.items():
            found = rule(rows, 0)
            shown[name] += found[worse[1:]].mean() / tables
            false[name] += bool(found[~worse[1:]].any())
    return {
        "cell": asdict(cell), "below": below, "tables": tables,
        "shown": {name: round(float(share), 3) for name, share in shown.items()},
        "tables with a false alarm": {name: count / tables for name, count in false.items()},
    }  # fmt: skip


def spending(cell: Cell, below: float, tables: int, seed: int) -> dict[str, Any]:
    """Return the decisions of `until` beside those of ten seeds for all rows, and its runs."""
    random = np.random.default_rng(seed)
    lower = below * (np.arange(cell.rows) / max(1, cell.rows - 1))
    runs = agreed = shown = at_once = 0
    for _ in range(tables):
        rows = simulate(random, replace(cell, seeds=UNTIL), lower)
        fixed = is_shown(rows, with_best(cell.rows, 0))
        found, taken = until(rows, 0)
        runs, agreed = runs + taken, agreed + int((found == fixed).sum())
        shown, at_once = shown + int(found.sum()), at_once + int(fixed.sum())
    every = tables * (cell.rows - 1)
    return {
        "cell": asdict(cell), "below, at most": below, "tables": tables,
        "runs over those of ten seeds": round(runs / (tables * cell.rows * UNTIL), 3),
        "decisions as with ten seeds": round(agreed / every, 3),
        "shown": round(shown / every, 3), "shown with ten seeds": round(at_once / every, 3),
    }  # fmt: skip


def adastop(cell: Cell, below: float, tables: int, seed: int, python: str) -> dict[str, Any]:
    """Return what the package adastop takes and decides, on the values of the same tables."""
    script = Path(__file__).with_name("adastop_peer.py")
    random = np.random.default_rng(seed)
    lower = below * (np.arange(cell.rows) / max(1, cell.rows - 1))
    given = [
        [row.values.tolist() for row in simulate(random, replace(cell, seeds=UNTIL), lower)]
        for _ in range(tables)
    ]
    done = subprocess.run(
        [python, script], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    every = tables * (cell.rows - 1)
    return {
        "cell": asdict(cell), "below, at most": below, "tables": tables,
        "runs over those of ten seeds": round(found["runs"] / (tables * cell.rows * UNTIL), 3),
        "shown": round(found["shown"] / every, 3), "version": found["version"],
    }  # fmt: skip


def identical_rows(cell: Cell, tables: int, seed: int) -> dict[str, Any]:
    """Return the share of pairs that are shown among all pairs of equal rows."""
    random = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(cell.rows), 2))
    weights = np.zeros((len(pairs), cell.rows))
    for number, (one, other) in enumerate(pairs):
        weights[number, one], weights[number, other] = 1, -1
    shown = sum(int(is_shown(simulate(random, cell), weights).sum()) for _ in range(tables))
    return {
        "cell": asdict(cell), "tables": tables,
        "share of pairs shown": round(shown / (tables * len(pairs)), 5),
    }  # fmt: skip


def grid() -> list[Cell]:
    """Return the cells in which false alarms are counted; the luck of runs alternates."""
    cells = [
        Cell(*values)
        for values in itertools.product(
            (2, 4, 8, 24), (3, 5, 10, 0), (0.0, 0.03, 0.15, 0.45), (153, 1000, 10_000),
            (False, True), (0.6, 0.9, 0.99),
        )
    ]  # fmt: skip
    known = [one for one in cells if one.share or (one.seeds and not one.unequal)]
    return [replace(one, luck=(1.0, 10.0)[number % 2]) for number, one in enumerate(known)]


Job = tuple[Cell, int, int]
Counted = tuple[Cell, dict[str, float]]


def _alarm(job: Job) -> Counted:
    return job[0], false_alarms(*job)


def count(jobs: Sequence[Job], pool: ProcessPoolExecutor, kept: Path | None) -> list[Counted]:
    """Return the false alarms of each job's cell; counts are read from `kept`, and added to it."""
    known: dict[str, dict[str, float]] = {}
    if kept and kept.exists():
        known = dict(map(json.loads, kept.read_text().splitlines()))
    missing = [job for job in jobs if repr(job) not in known]
    for job, (_, counts) in zip(missing, pool.map(_alarm, missing), strict=True):
        known[repr(job)] = counts
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps([repr(job), counts]) + "\n")
    return [(job[0], known[repr(job)]) for job in jobs]


def _with_bound(cell: Cell, counts: dict[str, float]) -> dict[str, Any]:
    of_all = counts["rows and fields"], counts["tables"]
    return {
        "cell": asdict(cell), **counts,
        "share": of_all[0] / of_all[1], "upper bound, 95 %": round(bound(*of_all), 4),
    }  # fmt: skip


def _summary(found: Sequence[Counted]) -> dict[str, Any]:
    """Return the shares over all cells, and by the values of each factor."""

    def shares(some: list[dict[str, float]]) -> dict[str, float]:
        tables = sum(one["tables"] for one in some)
        return {
            "tables": tables,
            **{
                name: round(sum(one[name] for one in some) / tables, 4)
                for name in ("rows", "rows and fields")
            },
        }

    by_factor = {
        name: {
            str(value): shares([one for cell, one in found if getattr(cell, name) == value])
            for value in dict.fromkeys(getattr(cell, name) for cell, _ in found)
        }
        for name in asdict(found[0][0])
    }
    return {"all": shares([one for _, one in found]), **by_factor}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=400, help="in each cell of the grid")
    parser.add_argument("--again", type=int, default=1500, help="of cells that are counted anew")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--counts", type=Path, help="a file that counts are kept in")
    parser.add_argument("--adastop", help="a Python that has the package adastop")
    options = parser.parse_args()
    cells = grid()
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [(cell, options.tables, number) for number, cell in enumerate(cells)]
        found = count(jobs, pool, options.counts)
        unsure = [
            (cell, options.again, 10**6 + number)
            for number, (cell, counts) in enumerate(found)
            if bound(counts["rows and fields"], counts["tables"]) > MOST
        ]
        again = count(unsure, pool, options.counts)
    anew = [_with_bound(*one) for one in again]
    beyond = [one for one in anew if one["upper bound, 95 %"] > MOST]
    many, few = options.tables, max(1, options.tables // 4)
    held: list[dict[str, Any]] = []
    for cell in (
        Cell(2, seeds, share, images, accuracy=accuracy, luck=luck)
        for seeds, share, images, accuracy, luck in itertools.product(
            (3, 5, 10), (0.03, 0.15, 0.45), (153, 1000), (0.6, 0.9, 0.99), (1.0, 10.0)
        )
    ):
        counts = coverage(cell, many, 7)
        held.append({"cell": asdict(cell), "share": counts["held"] / counts["intervals"], **counts})
    three_deviations = Cell(share=0.45, images=1000, luck=10.0)
    deviation = float(
        np.mean([row.values.std(ddof=1) for row in simulate(np.random.default_rng(1), replace(
            three_deviations, seeds=200))])
    )  # fmt: skip
    contest = [Cell(share=share, images=1000, luck=10.0) for share in (0.03, 0.45)]
    result = {
        "false alarms": {"cells": len(cells), **_summary(found)},
        "false alarms, cells counted anew": {
            "cells": len(anew),
            "shares": spread([one["share"] for one in anew]) if anew else {},
            "with an upper bound beyond 6 %": beyond,
        },
        "coverage": {
            "least": min(held, key=lambda one: one["share"]),
            "most": max(held, key=lambda one: one["share"]),
            "mean": round(float(np.mean([one["share"] for one in held])), 4),
            "by accuracy": {
                str(right): round(float(np.mean(
                    [one["share"] for one in held if one["cell"]["accuracy"] == right])), 4)
                for right in (0.6, 0.9, 0.99)
            },
            "cells": len(held), "intervals in each": 2 * many,
        },
        "power": [
            power(Cell(images=180), 0.10, few, 1),
            power(Cell(images=500), 0.10, few, 2),
            {"deviations": 3, **power(three_deviations, 3 * deviation, few, 3)},
        ],
        "until": [spending(cell, 0.1, few, 4) for cell in contest],
        "adastop": [
            adastop(cell, 0.1, max(1, few // 6), 4, options.adastop)
            for cell in contest if options.adastop
        ],
        "identical rows": [
            identical_rows(Cell(rows=16, share=share, images=500), few, 5)
            for share in (0.0, 0.03, 0.45)
        ],
    }  # fmt: skip
    write_result("verdicts", result)


if __name__ == "__main__":
    main()
