"""Libraries that a process and all that it starts cannot import, as if they were not installed."""

from collections.abc import Sequence
from pathlib import Path

TORCH = ("torch", "torchvision", "timm", "deepspeed", "captum", "safetensors")
RAY = ("ray", "submitit", "optuna", "pandas", "pyarrow", "plotly", "jinja2")
HIDING = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec


def find_others(name, *arguments):
    return None if name.partition(".")[0] in {names} else find(name, *arguments)


PathFinder.find_spec = find_others
"""


def hiding(names: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the variables of a Python that cannot import these; `folder` gets what hides them."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDING.format(names=tuple(names)))
    return {"PYTHONPATH": str(folder)}
