"""The first step of a job, as its script has it: it imports what was taken, or nothing."""

import importlib.util
import os
import py_compile
import subprocess
from pathlib import Path

import pytest

from fieldtrial.control.places.slurm.sbatch import VERIFY
from fieldtrial.control.places.slurm.snapshot import Snapshot, take_snapshot
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.own.digest import code_digest
from fieldtrial.own.project import TRUSTED, enter_project
from fieldtrial.processes import python
from tests.own.projects import forget_code, make_project

WORKER = """
import json, pathlib, sys
import fieldtrial.disk.run as run, fieldtrial.training.attempt.environment as environment
from importlib.util import find_spec
found = {"run": run.__file__, "path": sys.path, "cached": run.__cached__}
found["commit"] = environment._copied("commit.txt").decode()
pathlib.Path(sys.argv[0]).with_name("found.json").write_text(json.dumps(found))
"""


@pytest.fixture
def taken(tmp_path: Path) -> Snapshot:
    return take_snapshot(SweepFolder(tmp_path).code_path)


def start(
    taken: Snapshot, folder: Path, worker: str = WORKER
) -> "subprocess.CompletedProcess[str]":
    """Start a job of one process, in the sweep's folder, as if it were a stranger's."""
    (folder / "worker.py").write_text(worker)
    job = {"JOB_ID": 7, "NTASKS": 1, "NNODES": 1, "PROCID": 0, "LOCALID": 0}
    own = os.environ | {f"SLURM_{name}": str(value) for name, value in job.items()}
    launch = [str(folder / "queue"), "now", "1", "1", "5", "5", str(folder / "worker.py")]
    command = python("-u", "-c", VERIFY, str(taken.folder), taken.digest, *launch)
    return subprocess.run(
        command, cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=120
    )


OWN_WORKER = """
import pathlib, sys
from fieldtrial.own.digest import code_digest
from fieldtrial.own.load import load
import nets, pkg.unused
said = [load("model", "nets:Net").__module__, nets.__file__, nets.Block.__module__]
said += [str(pkg.unused.TWO), code_digest("nets:Net")]
try:
    import pkg.lacking
except ModuleNotFoundError as error:
    said.append(str(error))
pathlib.Path(sys.argv[0]).with_name("found.txt").write_text("\\n".join(said))
"""


def test_own_parts_come_from_the_copy_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "mine")
    enter_project(project)
    monkeypatch.setenv(TRUSTED, "nets:Net")
    taken = take_snapshot(SweepFolder(tmp_path / "sweep").code_path)
    forget_code()
    digest = code_digest("nets:Net")
    (project / "layers.py").write_text("raise SystemExit('edited since')\n")
    done = start(taken, tmp_path / "sweep", OWN_WORKER)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep" / "found.txt").read_text().splitlines() == [
        *("nets", f"{taken.folder}/own/nets.py", "layers", "2", digest),
        f"{taken.folder}/own: no module pkg.lacking",
    ]
    (taken.folder / "own" / "layers.py").write_text(source(tmp_path / "strange"))
    done = start(taken, tmp_path / "sweep", OWN_WORKER)
    assert done.stderr.strip().endswith("not started: somebody has changed the program there")
    assert not (tmp_path / "strange").exists()


def source(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()\n"


def test_it_runs_the_program_that_was_taken(taken: Snapshot, tmp_path: Path) -> None:
    done = start(taken, tmp_path)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "found.json").read_text()
    assert f'"run": "{taken.folder}/fieldtrial/disk/run.py"' in found
    assert f'{tmp_path}"' not in found.partition('"path"')[2].partition("]")[0]
    assert not list(taken.folder.rglob("*.pyc")), "the copy stays as it was taken"


@pytest.mark.parametrize(
    "name",
    [
        "fieldtrial/disk/run.py",
        "fieldtrial/control/places/slurm/job_start.py",
        "fieldtrial/control/places/slurm/verified.py",
        "fieldtrial/__init__.py",
    ],
)
def test_a_changed_program_is_not_started(taken: Snapshot, tmp_path: Path, name: str) -> None:
    path = taken.folder / name
    path.write_text(source(tmp_path / "ran") + path.read_text())
    done = start(taken, tmp_path)
    assert done.returncode == 1
    message = "not started: somebody has changed the program there"
    assert done.stderr.strip() == f"{taken.folder}: {message}"
    assert not (tmp_path / "ran").exists()


def test_a_program_with_more_or_fewer_files_is_not_started(taken: Snapshot, tmp_path: Path) -> None:
    (taken.folder / "fieldtrial" / "disk" / "json.py").write_text(source(tmp_path / "ran"))
    assert start(taken, tmp_path).returncode == 1
    (taken.folder / "fieldtrial" / "disk" / "json.py").unlink()
    (taken.folder / "fieldtrial" / "insight" / "maps.py").unlink()
    assert start(taken, tmp_path).returncode == 1
    assert not (tmp_path / "ran").exists()


def test_a_link_in_the_place_of_a_file_is_not_read(taken: Snapshot, tmp_path: Path) -> None:
    path = taken.folder / "fieldtrial" / "disk" / "run.py"
    path.rename(tmp_path / "run.py")
    path.symlink_to(tmp_path / "run.py")
    done = start(taken, tmp_path)
    assert done.returncode == 1
    assert f"{taken.folder}: not started: " in done.stderr


def test_what_is_not_a_source_is_not_imported(taken: Snapshot, tmp_path: Path) -> None:
    """Compiled files that claim to be of the sources, libraries, and modules beside the package."""
    planted = tmp_path / "planted.py"
    planted.write_text(source(tmp_path / "ran"))
    for name in ("disk/run.py", "control/places/slurm/job_start.py", "__init__.py"):
        target = importlib.util.cache_from_source(str(taken.folder / "fieldtrial" / name))
        # Compiled files of this kind are used whatever the source is.
        py_compile.compile(
            str(planted), target, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    for folder in (tmp_path, taken.folder, taken.folder / "fieldtrial" / "disk"):
        for name in ("torch", "json", "runpy", "fieldtrial/__init__", "sitecustomize"):
            (folder / name).parent.mkdir(exist_ok=True)
            if folder != taken.folder or name != "fieldtrial/__init__":
                (folder / f"{name}.pyc").write_bytes(Path(target).read_bytes())
    for name in ("torch.py", "json.py", "runpy.py", "sitecustomize.py"):
        (tmp_path / name).write_text(source(tmp_path / "ran"))
        (taken.folder / name).write_text(source(tmp_path / "ran"))
    done = start(taken, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found.json").exists()
    assert not (tmp_path / "ran").exists()


def test_the_text_in_a_jobs_command_needs_no_escapes() -> None:
    assert "'" not in VERIFY, "the script that --dry-run prints can be read"
