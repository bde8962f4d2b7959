"""jobs/cancel.py where it cannot do anything."""

import os
import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).parents[2] / "jobs" / "cancel.py"


def test_a_machine_without_slurm_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "sweep.json").write_text('{"of": "another version"}')
    outcome = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path / "x")],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)},
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "error: squeue: no such command: this machine has no SLURM\n"
