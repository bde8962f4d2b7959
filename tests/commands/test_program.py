"""The command `fieldtrial`: its list of commands, fieldtrial run, and what a shell is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.commands.program import COMMANDS, main

PROGRAM = (sys.executable, "-P", "-m", "fieldtrial")
SWEEP = """
import json, os, sys
from fieldtrial.control.running.again import own_command
import beside
print(json.dumps([sys.argv, own_command(), beside.VALUE]))
"""


def run(*words: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *map(str, words)], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [[], ["tabel"], ["--unheard-of"]])
def test_no_command_or_an_unknown_one_is_bad_input(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: fieldtrial COMMAND ...\n")
    if words == ["tabel"]:
        assert "invalid choice: 'tabel' (choose from " in said
        assert all(name in said for name in COMMANDS)


def test_a_command_says_its_own_name_in_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fieldtrial"])
    with pytest.raises(SystemExit) as caught:
        main(["table", "--unheard-of"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fieldtrial table ")


def test_run_is_python_with_the_sweep_file(tmp_path: Path) -> None:
    """Its folder is on the import path, and the command that resumes it is the one typed."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "beside.py").write_text("VALUE = 3\n")
    (tmp_path / "sweeps" / "x.py").write_text(SWEEP)
    done = run("run", "sweeps/x.py", "--help", "--retry", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    argv, command, value = json.loads(done.stdout)
    assert (argv, value) == (["sweeps/x.py", "--help", "--retry"], 3)
    assert command == [*PROGRAM, "run", "sweeps/x.py", "--help"]


def test_a_sweep_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    done = run("run", "first.py", cwd=tmp_path)
    told = "first.py: no such file; no folder here or above has sweeps/: fieldtrial new DIR"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {told} makes a project\n"
    for name in ("sweeps", "deep"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / "sweeps" / f"{name}.py").touch()
    done = run("run", "first.py", cwd=tmp_path / "deep")
    folder = tmp_path / "sweeps"
    assert done.stderr == f"error: first.py: no such file; in {folder}: a.py, b.py\n"


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("fieldtrial ta", {"table"}),
        ("fieldtrial train --dense_w", {"--dense_width"}),
        ("fieldtrial run x.py --dry", {"--dry-run"}),
        ("fieldtrial evaluate --split ", {"test", "validation", "all"}),
    ],
)
def test_a_shell_is_told_how_a_line_may_go_on(line: str, answers: set[str], tmp_path: Path) -> None:
    """As argcomplete's code in the shell asks. A sweep file is not run for that."""
    (tmp_path / "x.py").write_text("open('ran', 'w')")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    told = {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "told"), "_ARGCOMPLETE_IFS": "\n"}
    run(cwd=tmp_path, **asked, **told)
    found = (tmp_path / "told").read_text().split("\n")
    assert {answer.strip() for answer in found} == answers
    assert not (tmp_path / "ran").exists()
