"""Pages of docs/ that are made from sweeps that have run: the notebook, and the gallery.

python benchmarks/pages.py notebook runs/digits_transfer
python benchmarks/pages.py gallery runs/digits_transfer ...

The notebook is executed on the sweep, and its outputs are kept as text and small drawings. The
gallery has every sweep in sweeps/, with table and figure where its folder is named. Of the others
it keeps what an earlier call has made, or says that they have not been run.
"""

import argparse
import ast
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import plotly.graph_objects as go
from matplotlib.figure import Figure

import fieldtrial as ft
from fieldtrial.results.notebook.loaded import Loaded
from fieldtrial.results.table.render import render_markdown

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOK = ROOT / "examples" / "demo.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"
MARKERS = {"circle": "o", "circle-open": "o", "diamond": "D", "x-thin": "x"}
MOST_COLUMNS = 8  # of a table in the gallery
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fieldtrial",  # names in a drawing are the same each time
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Arial"],
}
WIDE = 'import pandas as pd; pd.set_option("display.width", 140)'  # letters of a line of a frame
HEAD = """# Gallery

Each sweep that comes with Fieldtrial, with its table and figure if it has been run for this page.
Most have not been: they need data or GPUs that were not at hand. `benchmarks/pages.py` makes the
page from the sweeps' folders.
"""


def drawing(figure: go.Figure) -> str:
    """Return a figure of points and lines as SVG, small enough to be committed."""
    layout = figure.layout
    height = (layout.height or 380) / 100
    mpl.rcParams.update(STYLE)
    drawn = Figure(figsize=(7.6, height), layout="constrained")
    axes = drawn.add_subplot()
    for trace in figure.data:
        colour = (trace.marker.color if "markers" in trace.mode else None) or trace.line.color
        points = [(x, y) for x, y in zip(trace.x, trace.y, strict=True) if x is not None]
        x, y = zip(*points, strict=True)
        errors = None
        if trace.error_x.array is not None:
            errors = [list(trace.error_x.arrayminus), list(trace.error_x.array)]
        line = "-" if "lines" in trace.mode else ""
        axes.errorbar(
            x, y, xerr=errors, color=colour, linestyle=line, label=trace.name, capsize=2,
            marker=MARKERS.get(str(trace.marker.symbol), "o"), markersize=3.5, linewidth=1,
        )  # fmt: skip
    axes.set_xlabel(layout.xaxis.title.text or "")
    axes.set_ylabel(layout.yaxis.title.text or "")
    if layout.yaxis.tickvals:
        axes.set_yticks(layout.yaxis.tickvals, layout.yaxis.ticktext)
        axes.set_ylim(*layout.yaxis.range)
    axes.grid(color="#dfe3e7", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if 1 < len(figure.data) <= 8:
        axes.legend(frameon=False, fontsize=8)
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", buffer.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def write_notebook(sweep: Path) -> list[Path]:
    """Execute the notebook on the sweep's folder and write it as a page with its drawings."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    os.environ["SWEEP"] = str(sweep.resolve())
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WIDE))
    NotebookClient(notebook, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    written = list[Path]()
    for cell in notebook.cells[1:]:
        outputs = cell.get("outputs", [])
        outputs[:] = [one for one in outputs if one.output_type != "stream"]  # of libraries
        for output in outputs:
            known = output.get("data", {})
            if PLOTLY in known:
                name = f"notebook-{len(written) + 1}.svg"
                figure = go.Figure({key: known[PLOTLY][key] for key in ("data", "layout")})
                written.append(DOCS / "gallery" / name)
                written[-1].write_text(drawing(figure))
                output.data = {"text/markdown": f"![What the cell above draws](gallery/{name})"}
            elif "text/html" in known:  # a page of text has no use for it
                del output.data["text/html"]
    del notebook.cells[0]
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    (DOCS / "notebook.md").write_text(re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n")
    return [DOCS / "notebook.md", *written]


def write_gallery(folders: Sequence[Path]) -> list[Path]:
    """Write the page of all sweeps, with those in the folders that have run."""
    page, written = DOCS / "gallery.md", list[Path]()
    earlier = _sections(page.read_text()) if page.exists() else {}
    run = {folder.name: folder for folder in folders}
    parts = [HEAD]
    for file in sorted((ROOT / "sweeps").glob("*.py")):
        name, said = file.stem, (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()
        about = f"## {name}\n\n{said[0]}\n"
        if name in run:
            own = ft.load(run[name])
            drawn = DOCS / "gallery" / f"{name}.svg"
            drawn.write_text(drawing(ft.plot.estimates(own)))
            written.append(drawn)
            parts.append(f"{about}\n{_made(own, drawn.name)}")
        elif "\n|" in earlier.get(name, ""):
            parts.append(earlier[name])
        else:
            parts.append(f"{about}\nNot run for this page.\n")
    page.write_text("\n".join(parts))
    return [page, *written]


def _sections(text: str) -> dict[str, str]:
    """Return the page's sections by the names of their sweeps."""
    parts = re.split(r"(?m)^(?=## )", text)[1:]
    return {part.split("\n", 1)[0].removeprefix("## "): part.strip() + "\n" for part in parts}


def _made(own: Loaded, drawing_name: str) -> str:
    """Return a sweep's figure, table and conditions."""
    grid = own.made.grid
    name = own.description.name
    lines = render_markdown(grid).split("\n\n")
    table = [_columns(line, MOST_COLUMNS) for line in lines[2].splitlines()]
    trials = own.trials.drop_duplicates("trial")
    finals = int((trials["role"] == "final").sum())
    first = own.folder.run(str(trials["trial"].iloc[0])).environment().get("1", {})
    devices = ", ".join(dict.fromkeys(first.get("devices", []))) or "unknown devices"
    versions = ", ".join(f"{key} {one}" for key, one in sorted(first.get("versions", {}).items()))
    return "\n".join(
        [
            f"![Test results of {name}: means with 95 % intervals](gallery/{drawing_name})",
            "",
            *table,
            "",
            f"{len(trials):,} trials, of which {finals} are final runs, on {devices}; commit"
            f" {str(first.get('commit'))[:7]}; {versions}. Bold: no comparison shows that another"
            " row is better.",
            "",
        ]
    )


def _columns(line: str, most: int) -> str:
    return "|".join(line.split("|")[: most + 1]) + "|"


def main() -> None:
    """Write the notebook's page or the gallery, and print the paths of the files."""
    parser = argparse.ArgumentParser(description="Make pages of docs/ from sweeps that have run.")
    parser.add_argument("page", choices=("notebook", "gallery"))
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    (DOCS / "gallery").mkdir(exist_ok=True)
    if options.page == "gallery":
        written = write_gallery(options.folders)
    else:
        (folder,) = options.folders
        written = write_notebook(folder)
    print("\n".join(map(str, written)))


if __name__ == "__main__":
    main()
