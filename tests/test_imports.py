"""No command imports a heavy library that it does not need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each takes a tenth of a second to several seconds to import.
HEAVY = (
    "av", "captum", "cv2", "deepspeed", "google.protobuf", "matplotlib", "networkx",
    "optuna", "pandas", "peft", "plotly", "pyarrow", "pycocotools", "ray", "scipy.special",
    "scipy.stats", "sklearn", "submitit", "supervision", "sympy", "tensorboard", "timm", "torch",
    "torch._dynamo.eval_frame", "torchmetrics", "torchvision", "trackers",
)  # fmt: skip
FRAMES = {"pandas", "pyarrow", "scipy.special"}
# Runs a command to its end, in a process of its own, and says which heavy libraries it has then.
SCRIPT = f"""
import atexit, os, runpy, sys
found = lambda: " ".join(name for name in {HEAVY} if name in sys.modules)
atexit.register(lambda: os.write(2, f"\\nimported: {{found()}}\\n".encode()))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def imported(folder: Path, script: str, *arguments: str | Path) -> set[str]:
    """Run a script of the project in `folder`; return which heavy libraries it has imported."""
    command = [sys.executable, "-c", SCRIPT, str(ROOT / script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    *said, last = done.stderr.decode().splitlines()
    assert done.returncode == 0, said
    return set(last.removeprefix("imported:").split())


def test_the_package_itself_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import fieldtrial as ft\nassert 'load' in dir(ft)\nft.Sweep, ft.grid")
    assert imported(tmp_path, str(script)) == set()
    script.write_text("import fieldtrial as ft\nft.load, ft.table")
    assert imported(tmp_path, str(script)) <= FRAMES


def test_what_is_imported_is_seen(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import torch")
    assert {"torch"} <= imported(tmp_path, str(tmp_path / "script.py"))


def test_the_list_of_commands_needs_no_library_at_all(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom fieldtrial.commands.program import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "fieldtrial" in names
    assert names & {"msgspec", "re2", "numpy", "rich", "filelock", "argcomplete"} == set()


@pytest.mark.parametrize(
    "script",
    ["sweeps/digits_transfer.py", *(f"jobs/{path.name}" for path in (ROOT / "jobs").glob("*.py"))],
)
def test_help_needs_no_heavy_library(tmp_path: Path, script: str) -> None:
    assert imported(tmp_path, script, "--help") == set()


def test_a_dry_run_needs_none_itself(tmp_path: Path) -> None:
    """The check of the rows is a process of its own, which has torch."""
    arguments = ["--dry-run", "--rows", "model=mlp"]
    assert imported(tmp_path, "sweeps/digits_transfer.py", *arguments) == set()


@pytest.mark.parametrize("job", ["status", "table"])
def test_what_reads_files_needs_frames_alone(tmp_path: Path, job: str) -> None:
    make = ["--rows", "2", "--trials", "3", "--seeds", "2", "--epochs", "3"]
    imported(tmp_path, "benchmarks/make_sweep.py", "made", *make)
    assert imported(tmp_path, f"jobs/{job}.py", "made") <= FRAMES


def test_a_worker_needs_torch_alone_before_its_first_task(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("import fieldtrial.worker.__main__")
    assert imported(tmp_path, str(tmp_path / "worker.py")) - {"sympy"} == {"torch"}
