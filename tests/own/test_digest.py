"""Which files an own part consists of, and how their changes show."""

import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from fieldtrial.own.digest import (
    code_digest,
    project_sources,
    reached,
    release,
    without_comments,
)
from fieldtrial.own.find import _installed, require
from fieldtrial.own.load import load
from fieldtrial.own.project import PROJECT, TRUSTED, enter_project
from fieldtrial.processes import python
from tests.own.projects import RAN, forget_code, make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "project")
    enter_project(folder / "sweeps" / "first.py")
    return folder


@pytest.fixture
def digest() -> Callable[[], str]:
    """The digest of a part, as a process has it that begins now."""

    def of_now() -> str:
        forget_code()
        return code_digest("nets:Net")

    return of_now


def test_it_covers_what_the_module_reaches_in_its_project(
    project: Path, digest: Callable[[], str]
) -> None:
    names = [one.name for one in reached("nets", (project,))]
    assert names == ["layers.py", "nets.py", "pkg/__init__.py", "pkg/far.py", "pkg/inner.py",
                     "pkg/leaf.py"]  # fmt: skip
    first = digest()
    for name in names:
        content = (project / name).read_text()
        (project / name).write_text(f"{content}CHANGED = 1\n")
        assert digest() != first, name
        (project / name).write_text(content)
    (project / "pkg" / "unused.py").write_text("TWO = 3\n")
    assert digest() == first
    assert not (project / RAN).exists()


PLAIN = """def net(shape):
    text = "# no comment"
    sizes = [1,
             2]
    return f"{text} # none" + '''
# none either
'''


SIZE = 1
"""
COMMENTED = """#!/usr/bin/env python
def net(shape):  # of a kind
    # which is new
    text = "# no comment"  # a comment
    sizes = [1,  # one
             # and
             2]
    return f"{text} # none" + '''
# none either
'''   # end


# before
SIZE = 1
# the end"""


def test_comments_do_not_count(project: Path, digest: Callable[[], str]) -> None:
    def of(text: bytes) -> str:
        (project / "layers.py").write_bytes(b"class Block: ...\n" + text)
        return digest()

    first = of(PLAIN.encode())
    assert of(COMMENTED.encode()) == first
    assert without_comments(COMMENTED.encode()) == PLAIN.encode()
    for old, new in (("SIZE", "\nSIZE"), ("# none either", "# another"), ("no comment", "new")):
        assert of(PLAIN.replace(old, new).encode()) != first, old
    assert of(PLAIN.replace("\n", "\r\n").encode()) != first
    latin = "# -*- coding: latin-1 -*-\nNAME = 'é'  # é\n".encode("latin-1")
    assert without_comments(latin) == "NAME = 'é'\n".encode()
    for strange in (b"'\n", b"\xff = 1  # a\n", b"# coding: none\n", b"a = 1 # b\rc = 2 # d\n"):
        assert without_comments(strange) in (strange, b"a = 1\rc = 2\n")
    assert without_comments(b"") == b""


def test_it_is_the_same_wherever_the_project_is(
    project: Path, digest: Callable[[], str], tmp_path: Path
) -> None:
    first = digest()
    project.rename(tmp_path / "elsewhere")
    enter_project(tmp_path / "elsewhere")
    assert digest() == first


def test_a_process_keeps_the_digest_of_what_it_began_with(project: Path) -> None:
    forget_code()
    first = code_digest("nets:Net")
    (project / "layers.py").write_text("class Block: ...\n")
    assert code_digest("nets:Net") == first


def test_jobs_get_whole_packages(project: Path) -> None:
    sources = project_sources(["nets:Net", "torch.optim:SGD"])
    assert set(sources) == {path.relative_to(project).as_posix() for path in project.rglob("*.py")}
    assert (release(require("torch.optim", (project,))) or "").startswith("torch ")


def test_installs_of_one_version_with_other_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: Callable[[], str]
) -> None:
    (tmp_path / "nets.py").write_text("class Net: ...\n")
    about = tmp_path / "nets-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")

    def installed(content: str) -> str:
        lines = f"nets.py,sha256={content},15\nnets-1.0.dist-info/RECORD,,\n"
        (about / "RECORD").write_text(lines)
        return digest()

    monkeypatch.setenv(PROJECT, "[]")
    monkeypatch.syspath_prepend(tmp_path)
    _installed.cache_clear()
    assert release(require("nets", ())) == "nets 1.0"
    assert installed("one") != installed("another")
    _installed.cache_clear()


def test_editable_packages_that_only_their_own_finder_knows_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_project(tmp_path / "source") / "pkg"

    class EditableFinder:
        @staticmethod
        def find_spec(name: str, *_: object) -> ModuleSpec | None:
            file = package / "__init__.py"
            return spec_from_file_location(name, file) if name == "far_package" else None

    package.rename(package := tmp_path / "source" / "far_package")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, EditableFinder])
    assert require("far_package.inner", ()).path == package / "inner.py"
    assert release(require("far_package.inner", ())) is None


USE = """
from fieldtrial.own.load import load
try:
    print(load("model", {name!r}).__module__)
except ValueError as error:
    print(error)
"""


def used(name: str, folder: Path) -> str:
    """Return what a process of its own says that loads a part, with `folder` as the current one."""
    done = subprocess.run(
        python("-c", USE.format(name=name)), cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_parts_are_imported_from_the_project_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "strangers"
    elsewhere.mkdir()
    (elsewhere / "layers.py").write_text("raise SystemExit('a stranger')\n")
    (project / "random.py").write_text("raise SystemExit('hides a module of Python')\n")
    (project / "numpy").mkdir()  # a folder without modules hides no package
    with (project / "nets.py").open("a") as file:
        file.write("import random, numpy\nnumpy.zeros(1)\n")
    monkeypatch.setenv(TRUSTED, "nets:Net")
    assert used("nets:Net", elsewhere) == "nets"
    assert (project / RAN).exists()


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ("raise KeyError('a\\nb')", "nets:Net", "importing nets failed in {project}/nets.py, line"),
        ("import lacking", "nets:Net", "ModuleNotFoundError: No module named 'lacking'"),
        ("exit(3)", "nets:Net", "SystemExit: 3"),
        ("del Net", "nets:Net", "{project}/nets.py has no Net"),
        ("Net = 3", "nets:Net", "must be callable, and is int"),
        ("", "nets:build", "is code that this command was not told to run"),
        ("", "lacking:Net", "no module lacking; looked in {project}, {project}/sweeps, the inst"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str, name: str, said: str
) -> None:
    with (project / "nets.py").open("a") as file:
        file.write(f"{change}\n")
    monkeypatch.setenv(TRUSTED, "nets:Net,lacking:Net")
    for module in ("nets", "layers", "pkg", "pkg.inner", "pkg.far", "pkg.leaf"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    with pytest.raises(ValueError, match="model = ") as caught:
        load("model", name)
    assert said.format(project=project) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (project / RAN).exists() is (name == "nets:Net")
    for module in ("nets", "layers", "pkg", "pkg.inner", "pkg.far", "pkg.leaf"):
        sys.modules.pop(module, None)
