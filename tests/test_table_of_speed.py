"""benchmarks/table_of_speed.py, as a command."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "table_of_speed.py"
COMMITTED = ROOT / "benchmarks" / "results"
# What `make bench` runs, and the cached views, as small as they can be.
SMALLEST = (
    "startup.py",
    "heads.py --epochs 1",
    "input.py --photos 64 --small 256",
    "probe.py --epochs 1 --images 64",
    "step.py",
    "views.py --photos 80 --epochs 2 --views 4",
    "driver.py --trials 300,1000",
)


def table(results: Path) -> dict[str, str]:
    """Return the last cell of each line by its first."""
    command = [sys.executable, str(SCRIPT), "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, _, *lines = (line.strip("|").split("|") for line in done.stdout.splitlines())
    return {cells[0].strip(): cells[-1].strip() for cells in lines}


def starts() -> list[str]:
    """Return how the lines begin that have figures."""
    for node in ast.parse(SCRIPT.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "LINES":
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(key) for key in node.value.keys if key]
    raise AssertionError("no LINES")


def test_every_line_with_figures_is_one_of_the_page(tmp_path: Path) -> None:
    lines = table(tmp_path)
    assert len(lines) >= 17
    assert starts()
    for start in starts():
        assert len([line for line in lines if line.startswith(start)]) == 1, start


def test_what_no_file_has_is_not_measured(tmp_path: Path) -> None:
    assert set(table(tmp_path).values()) == {"not measured"}


def test_figures_have_unit_and_repetitions(tmp_path: Path) -> None:
    wall = {"median": 0.1915, "n": 5, "min": 0.1, "max": 0.2}
    known = {"commands": {"help": {"wall": wall}}}
    (tmp_path / "startup.json").write_text(json.dumps(known))
    (cell,) = (cell for line, cell in table(tmp_path).items() if line.startswith("`--help`"))
    assert cell == "0.192 s (n = 5)" + 3 * "; not in startup.json"


def test_the_committed_results_have_what_the_table_asks_them_for() -> None:
    cells = table(COMMITTED).values()
    assert [cell for cell in cells if "not in" in cell] == []
    assert [cell for cell in cells if cell != "not measured"] != []


@pytest.mark.chaos
@pytest.mark.slow
def test_the_quick_benchmarks_run_and_write_what_the_table_asks_them_for(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in COMMITTED.iterdir()}
    for words in SMALLEST:
        subprocess.run(
            [sys.executable, *f"benchmarks/{words} --repeats 1".split()],
            cwd=ROOT,
            env=os.environ | {"BENCHMARK_RESULTS": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    written = {path.name.removesuffix(".json") for path in tmp_path.iterdir()}
    assert written == {words.split(".")[0] for words in SMALLEST}
    cells = " ".join(table(tmp_path).values())
    assert cells.count("not in") == cells.count("not in driver.json") == 2  # 10,000 and 30,000
    assert {path: path.read_bytes() for path in COMMITTED.iterdir()} == before
