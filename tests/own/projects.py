"""A user's project, as tests make it: its parts would leave a file if anything ran them."""

from pathlib import Path

from fieldtrial.own.digest import code_digest, first_content

RAN = "ran"  # the file
NETS = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
from dataclasses import dataclass
from typing import Literal, Optional

from layers import Block
from pkg.inner import Deep as Renamed, deeper

class Base:
    def __init__(self, shape, width: int = 8, rate: float = 0.5):
        self.shape = shape

class Net(Base):
    pass

@dataclass
class Field:
    shape: object
    depth: int
    kind: Literal["plain", "gated"] = "plain"
    sizes: tuple[int, ...] = (1,)
    note: "Optional[str]" = None

def build(shape, /, *, width: int | None = None, plain=3, other: Block = None):
    return shape

def any_of(shape, **more):
    return shape

def none(): ...

alias = build
SIZE = 3
made = Block()
"""


def make_project(folder: Path) -> Path:
    """Write a project with own parts into `folder`, and return it."""
    (folder / "sweeps").mkdir(parents=True)
    (folder / "pkg").mkdir()
    (folder / "nets.py").write_text(NETS)
    (folder / "layers.py").write_text("import pkg.leaf\n\nclass Block:\n    pass\n")
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "leaf.py").write_text("ONE = 1\n")
    (folder / "pkg" / "unused.py").write_text("TWO = 2\n")
    (folder / "pkg" / "inner.py").write_text(
        "from . import leaf\nfrom .far import *\n\n"
        "class Deep:\n    def __init__(self, shape, depth: int):\n        pass\n"
    )
    (folder / "pkg" / "far.py").write_text("def deeper(shape, steps: int = 2):\n    pass\n")
    return folder


def forget_code() -> None:
    """Digest own code anew, as a process does that begins now."""
    code_digest.cache_clear()
    first_content.cache_clear()
