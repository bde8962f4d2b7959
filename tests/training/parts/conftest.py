"""Projects of users, whose code this process may run: a module each, of another name each."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fieldtrial.own.digest import code_digest
from fieldtrial.own.project import PROJECT, TRUSTED, enter_project, trust
from fieldtrial.training.parts import part

Project = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Write a module of a user, and return its name; all that it defines may be run."""
    monkeypatch.setenv(PROJECT, "[]")
    monkeypatch.setenv(TRUSTED, "")
    folder = tmp_path / "project"
    (folder / "cluster").mkdir(parents=True)
    written: list[str] = []

    def write(source: str, *names: str) -> str:
        module = f"{tmp_path.name.replace('-', '_')}_{len(written)}"
        written.append(module)
        (folder / f"{module}.py").write_text(source)
        enter_project(folder)
        trust(f"{module}:{name}" for name in names)
        return module

    yield write
    for module in written:
        sys.modules.pop(module, None)
    code_digest.cache_clear()
    part._loaded.cache_clear()
