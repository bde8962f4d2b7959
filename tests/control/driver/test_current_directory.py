"""Commands that are started where a stranger has put modules: none of them is imported."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldtrial import processes

SOURCES = Path(processes.__file__).parent
NAMES = ["fieldtrial/__init__", "torch", "pandas", "numpy", "rich", "ray", "json", "pickle"]
NAMES += ["jinja2", "plotly", "scipy", "sitecustomize", "usercustomize", "pyarrow", "submitit"]


def test_a_sweep_imports_nothing_from_the_current_directory(
    tmp_path: Path, make_driver: Callable[..., Any]
) -> None:
    driver = make_driver(tmp_path / "project", {"most_trials": 2}, REPORT="1")
    for name in NAMES:
        planted = driver.project / f"{name}.py"
        planted.parent.mkdir(exist_ok=True)
        planted.write_text(
            f"with open({str(tmp_path / 'ran')!r}, 'a') as file:\n    file.write({name!r})\n"
        )
    done = driver.run("--trials", "1")
    assert done.returncode == 0, done.stderr
    assert driver.folder().report_path.exists()
    assert len(driver.table().splitlines()) == 3
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_python_is_started_in_one_way() -> None:
    """One runs a script of the user, and one restarts itself with the words of its command."""
    naming = [
        (path.relative_to(SOURCES).as_posix(), line.strip())
        for path in sorted(SOURCES.rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"sys\.executable|torchrun.*Popen|\"python[0-9.]*\", \"-", line)
    ]
    assert naming == [
        ("processes.py", 'return [sys.executable, "-P", *arguments]'),
        ("processes.py", "os.execv(sys.executable, sys.orig_argv)"),
        ("processes.py", "os.execv(sys.executable, [sys.executable, *words])"),
    ]
