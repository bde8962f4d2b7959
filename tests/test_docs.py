"""The pages agree with the program: messages, flags, keys, environment variables and links."""

import ast
import dataclasses
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldtrial.control.places.settings import LocalSettings, SlurmSettings
from fieldtrial.sweep import Sweep
from fieldtrial.training.contracts import DataShape
from fieldtrial.training.freezing.depth_axis import Unit
from fieldtrial.training.loop.optimizers import Moment

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
README_LINES = 130


def page(name: str) -> str:
    return (DOCS / name).read_text()


def literals() -> list[str]:
    """Return the texts in the program, with a zero byte where an f-string has a value."""
    texts = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "\0" for part in node.values
                )
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def quoted(name: str, head: str) -> Iterator[str]:
    """Yield what the tables of a page quote in the columns whose head begins with `head`."""
    column = None
    for line in page(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line[:1] != "|":
            column = None
        elif column is None:
            column = next((n for n, cell in enumerate(cells) if cell.startswith(head)), len(cells))
        elif column < len(cells):
            yield from re.findall(r"`([^`]+)`", cells[column])


def is_said(message: str, texts: list[str]) -> bool:
    """Return whether one text has all of `message`; … stands for anything."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip(" :;,.()")]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts)


def test_every_message_of_the_page_on_failures_is_in_the_program() -> None:
    texts, messages = literals(), list(quoted("failures.md", "message"))
    assert len(messages) > 100
    assert not is_said("this … is said nowhere in it", texts)
    assert [message for message in messages if not is_said(message, texts)] == []


@pytest.mark.parametrize("settings", [(LocalSettings, "sweeps.md"), (SlurmSettings, "slurm.md")])
def test_every_key_of_a_place_is_explained(settings: tuple[type, str]) -> None:
    kind, name = settings
    keys = [item.name for item in dataclasses.fields(kind)]
    text = page(name).replace("`[", "`").replace("]`", "`")
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_each_part_on_the_page_about_your_own_runs_when_it_is_copied_alone(tmp_path: Path) -> None:
    text = page("extend.md").partition("## Your own parts")[2].partition("## Adding to")[0]
    parts = dict[str, Any]()
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
        parts |= runpy.run_path(str(written(tmp_path / f"{number}.py", snippet)))
    written(tmp_path / "leaves.csv", "a.png,oak\nb.png,elm\n")
    assert parts["leaves"](tmp_path).labels == [1, 0]
    model, images = parts["Net"](DataShape(3, 1, 8)), torch.rand(4, 1, 8, 8)
    outputs, labels = model(images), torch.tensor([0, 1, 2, 0])
    assert parts["focal"](outputs, labels).shape == (4,)
    assert parts["noise"](images, torch.Generator()).shape == images.shape
    parts["Heavy"]([{"params": list(model.parameters())}], lr=0.1, weight_decay=0.0).step()
    assert parts["exponential"](Moment(1.0, 3, 0)) == 0.01
    assert parts["brier"](outputs.softmax(1).detach().numpy(), labels.numpy()) > 0
    units = [Unit("stem", ("stem.weight",), ()), Unit("norm", ("norm.weight",), ())]
    assert parts["filters"](model, units) == ["stem.weight"]
    called = ("Net", "leaves", "focal", "noise", "Heavy", "exponential", "brier", "filters")
    assert {*called} == {
        name for name, one in parts.items() if getattr(one, "__module__", "") == "<run_path>"
    }


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_line_below_a_table_that_the_page_on_results_quotes_is_in_the_program() -> None:
    texts, lines = literals(), list(quoted("results.md", "line"))
    assert len(lines) > 10
    assert [line for line in lines if not is_said(line, texts)] == []


def test_every_argument_and_flag_of_a_sweep_is_explained() -> None:
    text = page("sweeps.md")
    names = [item.name for item in dataclasses.fields(Sweep) if item.init]
    assert [name for name in names if f"| `{name}` |" not in text] == []
    command = (ROOT / "src" / "fieldtrial" / "control" / "flags.py").read_text()
    flags = re.findall(r"\"(--[a-z-]+)\"", command)
    assert "--dry-run" in flags
    assert [flag for flag in flags if f"`{flag}" not in text] == []


def test_every_environment_variable_of_the_program_is_explained() -> None:
    found = {name for text in literals() for name in re.findall(r"FIELDTRIAL_[A-Z]+", text)}
    assert "FIELDTRIAL_DATA" in found
    assert [name for name in sorted(found) if name not in page("environment.md")] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = [one or other for one, other in LINK.findall(path.read_text())]
    files = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [name for name in files if name and not (path.parent / name).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES
