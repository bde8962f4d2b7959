"""The notebook runs, and the pages made from sweeps have what the notebook and the sweeps have."""

import json
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "demo.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"


def test_the_notebook_runs_on_a_sweep_and_is_kept_without_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sweep = runpy.run_path(str(ROOT / "benchmarks" / "make_sweep.py"))["make_sweep"]
    folder = make_sweep(tmp_path / "made", rows=8, trials=4, seeds=3, epochs=4)
    monkeypatch.setenv("SWEEP", str(folder.path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
    shown = [cell.outputs[-1].data for cell in cells]
    assert "56 trials, 8 rows" in shown[0]["text/plain"]
    assert "all_but_head" in shown[2]["text/plain"]
    figures = [one[PLOTLY] for one in shown if PLOTLY in one]
    assert len(figures) == 2
    rows = sum(len(trace["y"]) for trace in figures[0]["data"])
    assert rows == 8


def test_the_page_of_the_notebook_has_its_cells() -> None:
    page = (ROOT / "docs" / "notebook.md").read_text()
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert len(cells) > 8
    assert ["".join(one["source"]) for one in cells if "".join(one["source"]) not in page] == []


def test_the_gallery_has_every_sweep() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text()
    heads = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert heads == sorted(path.stem for path in (ROOT / "sweeps").glob("*.py"))
