"""Whether the tables' comparisons can be believed: simulated tables, in which it is known what
differs.

python benchmarks/comparisons.py [--tables 1000]

Each table has some rows with a few seeds each. The first is the one that validation chose; of the
others all (none differs) or half (the others are worse by a margin) have its true accuracy. A seed
moves all rows alike (its validation split and order are shared) and each row by itself; the test
counts right answers among its images. Counted are tables with at least one false alarm, a
difference shown where there is none, and the share of true differences that is shown. Writes
benchmarks/results/comparisons.json.
"""

import argparse
import itertools

import numpy as np
from machine import write_result

from fieldtrial.results.analysis.statistics import SIGNIFICANCE, compare

SHARED, OWN = 0.005, 0.006  # standard deviations of what a seed does to all rows, and to each
# true accuracy, images in the test, whether rows share seeds, whether rows differ in their spread
SCENES = {
    "usual": (0.90, 1000, True, False),
    "near 100 %, few images": (0.995, 180, True, False),
    "unequal spreads": (0.90, 1000, True, True),
    "other seeds in each row": (0.90, 1000, False, False),
    "other seeds, unequal spreads": (0.90, 1000, False, True),
}
MARGINS = (0.02, 0.05)


def simulate(
    random: np.random.Generator,
    rows: int,
    seeds: int,
    margin: float,
    scene: tuple[float, int, bool, bool],
) -> tuple[int, int]:
    """Return the false alarms and the true differences shown in one table; with a margin, its later
    half is worse.
    """
    accuracy, images, shared, unequal = scene
    worse = np.arange(rows) >= rows - rows // 2 if margin else np.zeros(rows, bool)
    own = OWN * (np.linspace(0.3, 3, rows) if unequal else np.ones(rows))
    common = random.normal(0, SHARED, seeds) if shared else random.normal(0, SHARED, (rows, seeds))
    true = (
        accuracy
        - margin * worse[:, None]
        + common
        + own[:, None] * random.normal(size=(rows, seeds))
    )
    measured = random.binomial(images, np.clip(true, 0, 1)) / images
    first = [0 if shared else seeds * row for row in range(rows)]
    values = {
        row: {first[row] + i: float(measured[row, i]) for i in range(seeds)} for row in range(rows)
    }
    found = compare(values, [(0, row) for row in range(1, rows)], 1 / images)
    shown = [row for row, comparison in enumerate(found, 1) if comparison.shown]
    return sum(not worse[row] for row in shown), sum(bool(worse[row]) for row in shown)


def main() -> None:
    """Simulate and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=1000)
    tables = parser.parse_args().tables
    random = np.random.default_rng(0)
    false_alarms: dict[str, dict[str, float]] = {}
    detected: dict[str, dict[str, float]] = {}
    for (name, scene), rows, seeds in itertools.product(SCENES.items(), (2, 4, 12), (3, 5)):
        found = [simulate(random, rows, seeds, 0.0, scene) for _ in range(tables)]
        share = sum(alarms > 0 for alarms, _ in found) / tables
        false_alarms.setdefault(name, {})[f"{rows} rows, {seeds} seeds"] = round(share, 4)
    for margin, rows, seeds in itertools.product(MARGINS, (2, 4, 12), (3, 5, 10)):
        found = [simulate(random, rows, seeds, margin, SCENES["usual"]) for _ in range(tables)]
        share = sum(hits for _, hits in found) / (tables * (rows // 2))
        detected.setdefault(f"{margin:.0%} worse", {})[f"{rows} rows, {seeds} seeds"] = round(
            share, 4
        )
        alarms = sum(alarms > 0 for alarms, _ in found) / tables
        false_alarms.setdefault(f"half of the rows {margin:.0%} worse", {})[
            f"{rows} rows, {seeds} seeds"
        ] = alarms
    result = {
        "what": (
            f"share of {tables} simulated tables with a false alarm at {SIGNIFICANCE}; share of"
            " differences shown"
        ),
        "tables": tables,
        "standard_error_of_a_share_of_5_percent": round(float(np.sqrt(0.05 * 0.95 / tables)), 4),
        "false_alarms": false_alarms,
        "detected": detected,
    }
    write_result("comparisons", result)


if __name__ == "__main__":
    main()
