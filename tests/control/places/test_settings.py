"""What a SLURM site's file may say. That of this machine is in test_place.py."""

from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.places.settings import LocalSettings, Settings, SlurmSettings, read_settings

ROOT = Path(__file__).parents[3]
EVERYTHING = """
kind = "slurm"
partitions = ["a100", "v100"]
account = "mine"
qos = "long"
constraint = "ib"
gpus_per_trial = 16
gpus_per_node = 8
cpus_per_process = 6
memory_gb_per_process = 60
time_limit_minutes = 300
most_jobs = 9
trials_per_job = 3
idle_seconds = 5
requeue = false
setup = ["module load cuda", "ulimit -c 0"]
squeue_seconds = 10
teraflops = 100
[environment]
NCCL_DEBUG = "WARN"
[sbatch]
mail-type = "END"
"""


def written(folder: Path, text: str) -> Settings:
    (folder / "there.toml").write_text(text)
    return read_settings("there", folder)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        written(folder, text)
    return caught.value.problems


def test_a_site_is_read(tmp_path: Path) -> None:
    site = written(tmp_path, EVERYTHING)
    assert isinstance(site, SlurmSettings)
    assert site.partitions == ("a100", "v100")
    assert site.setup == ("module load cuda", "ulimit -c 0")
    assert (site.environment, site.sbatch) == ({"NCCL_DEBUG": "WARN"}, {"mail-type": "END"})
    assert (site.account, site.qos, site.constraint, site.requeue) == ("mine", "long", "ib", False)
    assert written(tmp_path, 'kind = "slurm"') == SlurmSettings()


@pytest.mark.parametrize(
    ("settings", "nodes", "processes", "per_node", "gpus"),
    [
        (SlurmSettings(), 1, 1, 1, 1),
        (SlurmSettings(gpus_per_trial=3, gpus_per_node=4), 1, 3, 3, 3),
        (SlurmSettings(gpus_per_trial=8), 1, 8, 8, 8),
        (SlurmSettings(gpus_per_trial=16), 2, 16, 8, 8),
        (SlurmSettings(gpus_per_trial=4, gpus_per_node=2), 2, 4, 2, 2),
        (SlurmSettings(gpus_per_trial=0), 1, 1, 1, 0),
        (SlurmSettings(gpus_per_trial=0, processes_per_trial=6), 1, 6, 6, 0),
    ],
)
def test_gpus_become_nodes_and_processes(
    settings: SlurmSettings, nodes: int, processes: int, per_node: int, gpus: int
) -> None:
    found = (settings.nodes, settings.processes, settings.processes_per_node, settings.gpus_on_node)
    assert found == (nodes, processes, per_node, gpus)
    assert settings.devices_per_trial == processes


def test_the_projects_own_sites_can_be_read() -> None:
    template = read_settings("slurm", ROOT / "cluster")
    assert isinstance(template, SlurmSettings)
    assert template.partitions == ("gpu",)
    small = read_settings("devslurm", ROOT / "cluster")
    assert isinstance(small, SlurmSettings)
    assert (small.gpus_per_node, small.partitions) == (2, ("gpu",))


def test_the_template_names_every_key(tmp_path: Path) -> None:
    lines = (ROOT / "cluster" / "slurm.toml").read_text().splitlines()
    keys = {
        line.removeprefix("# ").partition(" = ")[0]
        for line in lines
        if " = " in line.partition("#  ")[0]
    }
    keys |= {
        line.removeprefix("# ")[1:].partition("]")[0]
        for line in lines
        if line.removeprefix("# ").startswith("[")
    }
    left_out = {"processes_per_trial"}  # for CPUs alone
    assert set(SlurmSettings.__dataclass_fields__) - left_out <= keys
    uncommented = "\n".join(
        line.removeprefix("# ") for line in lines if " = " in line or line.startswith("# [")
    )
    assert isinstance(written(tmp_path, uncommented), SlurmSettings)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """kind = "slurm"
gpus = 4
partitions = 7
gpus_per_trial = 12
most_jobs = 0
requeue = "yes"
environment = {A = 1}
squeue_seconds = 0.1
"""
    found = problems(tmp_path, text)
    assert len(found) == 7
    assert found[0].startswith("unknown key 'gpus'; keys: kind, partitions, account")
    assert (
        "gpus_per_trial = 12: must be a multiple of gpus_per_node = 8 where one node is not enough"
        in found
    )
    assert "most_jobs = 0: must be at least 1" in found
    assert "squeue_seconds = 0.1: must be at least 0.5" in found
    for name in ("partitions", "requeue", "environment"):
        assert any(problem.startswith(f"{name} = ") for problem in found)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("gpus_per_trial = -1", "at least 0"),
        ("gpus_per_node = 0", "at least 1"),
        ('gpu_type = ""', "must be a name, such as a100"),
        ('gpu_type = "a100:2"', "must be a name, such as a100"),
        ('gpus_per_trial = 0\ngpu_type = "a100"', "needs gpus_per_trial above 0"),
        ("processes_per_trial = 2", "must be 1 with GPUs"),
        ("gpus_per_trial = 0\nprocesses_per_trial = 0", "at least 1"),
        ("cpus_per_process = 0", "at least 1"),
        ("memory_gb_per_process = 0.0", "above 0"),
        ("memory_gb_per_process = -1", "above 0"),
        ("time_limit_minutes = 0", "at least 1"),
        ("trials_per_job = 0", "at least 1"),
        ("idle_seconds = -1", "at least 0"),
        ("teraflops = 0", "above 0"),
        ('python = "venv/bin/python"', "must be an absolute path"),
        ("idle_seconds = nan", "must be"),
        ("account = 3", "must be"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, line: str, rule: str) -> None:
    name = line.splitlines()[-1].partition(" = ")[0]
    assert any(
        problem.startswith(name) and rule in problem
        for problem in problems(tmp_path, f'kind = "slurm"\n{line}')
    )


def test_variables_that_no_shell_can_set_are_refused(tmp_path: Path) -> None:
    text = 'kind = "slurm"\n[environment]\nNCCL_DEBUG = "WARN"\nFOO-BAR = "1"\n2ND = "1"\n'
    assert problems(tmp_path, text) == [
        "environment has 'FOO-BAR': must be a variable's name",
        "environment has '2ND': must be a variable's name",
    ]


def test_options_of_sbatch_that_have_a_key_or_belong_to_the_driver_are_refused(
    tmp_path: Path,
) -> None:
    text = """kind = "slurm"
[sbatch]
time = "10"
job_name = "mine"
--mem = "4G"
--reservation = "course"
gpus-per-node = "a100:1"
mail-type = "END"
"""
    assert problems(tmp_path, text) == [
        "sbatch has 'time': must be set by time_limit_minutes",
        "sbatch has 'job_name': is set by the driver",
        "sbatch has '--mem': must be set by memory_gb_per_process",
        "sbatch has '--reservation': must be without dashes, 'reservation'",
        "sbatch has 'gpus-per-node': must be set by gpus_per_trial and gpu_type",
    ]


def test_workers_of_a_site_are_jobs_and_here_as_many_as_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert [SlurmSettings(trials_per_job=most).workers(10) for most in (1, 4)] == [10, 3]
    assert LocalSettings(cpus_per_trial=2).workers(10) == 4
    assert LocalSettings(cpus_per_trial=2).workers(3) == 3
    assert LocalSettings(cpus_per_trial=2, most_trials=1).workers(10) == 1
    assert LocalSettings(cpus_per_trial=16).workers(10) == 1
