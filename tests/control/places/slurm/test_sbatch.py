"""What is submitted, and what jobs have printed, where either cannot be had."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.environment import command_environment
from fieldtrial.control.places.slurm.sbatch import VERIFY, Submitter, to_be_read
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.slurm_places import PROGRAM


def submitter(tmp_path: Path) -> Submitter:
    return Submitter(SlurmSettings(), SweepFolder(tmp_path), PROGRAM)


def test_where_there_is_no_slurm_there_is_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmOutageError, match="srun: no such command: this machine has no SLURM"):
        submitter(tmp_path).script()


def test_people_read_a_file_without_the_program_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", str)
    settings = SlurmSettings(setup=("module load cuda",), sbatch={"mail-type": "FAIL"})
    whole = Submitter(settings, SweepFolder(tmp_path), PROGRAM).script()
    shown = to_be_read(whole)
    assert "import " in whole
    assert "import " not in shown
    assert len(shown.splitlines()) == len(whole.splitlines()) - len(VERIFY.splitlines())
    assert f"'<{len(VERIFY.splitlines())} lines of Fieldtrial, which check" in shown
    kept = ("#!", "#SBATCH --mail-type=FAIL", "module load cuda", str(PROGRAM.folder))
    assert all(text in shown for text in kept)


def test_where_slurm_writes_logs_only_the_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def submit(_: str) -> str:
        modes.append(stat.S_IMODE((tmp_path / "jobs").stat().st_mode))
        return "7"

    monkeypatch.setattr(slurm_commands, "submit", submit)
    monkeypatch.setattr(shutil, "which", str)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(0o777)  # as a stranger has prepared it
    assert submitter(tmp_path).submit(2) == ["7_0", "7_1"]
    assert modes == [0o755]


def test_a_log_explains_as_far_as_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Path(SweepFolder(tmp_path).jobs_path)
    logs.mkdir(parents=True)
    (logs / "7_0_0_log.err").mkdir()  # what cannot be read
    (logs / "7_0_0_log.out").write_text(
        "first\n" * 100 + "slurmstepd: error: Detected 1 oom_kill event\nlast\n"
    )
    told = submitter(tmp_path)
    assert told.last_lines("7_0").endswith(
        "\n    slurmstepd: error: Detected 1 oom_kill event\n    last"
    )
    assert told.ran_out_of_memory("7_0")
    assert not told.ran_out_of_memory("8_0")
    monkeypatch.setattr("fieldtrial.disk.files.LAST_BYTES", 8)
    assert told.last_lines("7_0") == "\n    nt\n    last"


@pytest.mark.parametrize(
    ("setup", "printed", "said", "status"),
    [
        (["echo one", "false"], "one\n", "setup: exit status 1 of: false\n", 1),
        (
            ["module() { echo $1; return 3; }", "module load cuda/99  # of the site"],
            "load\n",
            "setup: exit status 3 of: module load cuda/99  # of the site\n",
            3,
        ),
        (["if true; then", "  (exit 4)", "fi"], "", "setup: exit status 4 of:   (exit 4)\n", 4),
        (["source SCRIPT", "false || true", "[ -e none ] && false"], "sourced\ngoes on\n", "", 0),
    ],
)
def test_a_line_of_setup_that_fails_ends_the_job_and_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setup: list[str],
    printed: str,
    said: str,
    status: int,
) -> None:
    (tmp_path / "srun").touch(mode=0o755)  # which is only looked for
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "activate").write_text("false\necho sourced\n")
    lines = [line.replace("SCRIPT", str(tmp_path / "activate")) for line in setup]
    settings = SlurmSettings(setup=(*lines, "echo goes on; exit 0"))
    script = tmp_path / "script.sh"
    script.write_text(Submitter(settings, SweepFolder(tmp_path), PROGRAM).script())
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (printed, said, status)


def test_a_place_says_which_python_its_jobs_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the driver's environment has no torch, jobs must have another one's."""
    (tmp_path / "srun").touch(mode=0o755)  # which is only looked for
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    place = SlurmSettings(python="/shared/train/bin/python")
    other = Submitter(place, SweepFolder(tmp_path), PROGRAM)
    assert "exec /shared/train/bin/python -P -u -c " in other.script()
    assert f"exec {sys.executable} -P -u -c " in submitter(tmp_path).script()
    assert other.edition != submitter(tmp_path).edition  # its tasks are not for jobs of the other


def test_a_folder_whose_logs_slurm_would_misname_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\\b: must have no backslash"):
        submitter(tmp_path / "a\\b")


def test_what_describes_a_drivers_own_job_is_not_handed_to_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_jobs = {"SLURM_JOB_ID": "7", "SLURM_EXPORT_ENV": "NONE", "SLURMD_NODENAME": "n1"}
    of_jobs |= {"PMI_RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "29500", "PMIX_ID": "1"}
    places = {"TMPDIR": "/scratch/7", "CUDA_VISIBLE_DEVICES": "3"}
    own = {"SLURM_CONF": "/etc/slurm.conf", "MY_SITE": "yes", "SQUEUE_FORMAT": "%i"}
    for name, value in (of_jobs | places | own).items():
        monkeypatch.setenv(name, value)
    known = command_environment()
    assert not known.keys() & (of_jobs | places).keys()
    assert (known["SLURM_CONF"], known["MY_SITE"]) == ("/etc/slurm.conf", "yes")
    assert "SQUEUE_FORMAT" not in known
    monkeypatch.delenv("SLURM_JOB_ID")
    assert places.items() <= command_environment().items(), "they are the user's"
