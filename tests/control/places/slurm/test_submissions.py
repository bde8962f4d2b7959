"""What a real SLURM refuses, and nodes that jobs are kept from. The worker sleeps."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from fieldtrial.control.places.interface import Ended
from fieldtrial.control.places.slurm import submissions
from tests.control.slurm_places import Make, all_is_well, task, until_the_end
from tests.slurm_cluster import SlurmCluster


def test_a_site_that_takes_no_arrays(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    slurm.start("--max-array", "0")
    try:
        place = make_place(most_jobs=2)
        tasks = [task(tmp_path, number) for number in range(3)]
        for one in tasks:
            place.start(one)
        assert all_is_well(until_the_end(place, 3))
        assert all(
            "_" not in path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir()
        )
    finally:
        slurm.start()


def test_arrays_are_no_larger_than_allowed(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    try:
        slurm.start("--max-array", "3")
        place = make_place(most_jobs=5)
        for number in range(5):
            place.start(task(tmp_path, number))
        assert all_is_well(until_the_end(place, 5))
        workers = [path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir()]
        assert sorted(Counter(name.partition("_")[0] for name in workers).values()) == [1, 2, 2]
    finally:
        slurm.start()


def test_limits_that_nothing_tells_are_found(
    slurm: SlurmCluster,
    make_place: Make,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submissions, "MOST_BACK_OFF_SECONDS", 0.5)
    slurm.run("sacctmgr", "-Qi", "modify", "qos", "normal", "set", "GrpSubmitJobs=2")
    try:
        place = make_place(epoch_seconds=0.2, most_jobs=6)
        for number in range(6):
            place.start(task(tmp_path, number, epochs=3))
        assert all_is_well(until_the_end(place, 6))
        assert len(said) >= 1
        assert "trying again at growing intervals" in said[0]
    finally:
        slurm.run("sacctmgr", "-Qi", "modify", "qos", "normal", "set", "GrpSubmitJobs=-1")


def test_the_users_limit_counts_other_jobs(
    slurm: SlurmCluster, make_place: Make, said: list[str], tmp_path: Path
) -> None:
    slurm.run("sacctmgr", "-Qi", "modify", "user", "root", "set", "MaxSubmitJobs=3")
    other = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60")
    try:
        place = make_place(most_jobs=6)
        for number in range(6):
            place.start(task(tmp_path, number))
        ended: list[Ended] = []
        while len(ended) < 6:
            ended += place.wait(0.05)
            assert len(slurm.run("squeue", "--noheader", "--array", "--format=%i").split()) <= 3
        assert all_is_well(ended)
        assert said == [], "nothing was refused"
    finally:
        slurm.run("scancel", other)
        slurm.run("sacctmgr", "-Qi", "modify", "user", "root", "set", "MaxSubmitJobs=-1")


@pytest.mark.parametrize(
    "prints",
    [
        'echo "--> Checking the allocation...OK"; {sbatch} "$@"; echo "NOTE: it ends in 12 days"',
        'shift; {sbatch} "$@"; echo "--> Quota: 12% used"',  # without --parsable
        '{sbatch} "$@" >/dev/null; exit 1',
    ],
)
def test_a_sites_own_sbatch_is_understood(
    make_place: Make,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prints: str,
) -> None:
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(f"#!/bin/bash\n{prints.format(sbatch=shutil.which('sbatch'))}\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
    place = make_place(most_jobs=3)
    for number in range(3):
        place.start(task(tmp_path, number))
    assert all_is_well(until_the_end(place, 3))
    assert said == []
    scripts = list((tmp_path / "sweep" / "jobs").glob("*_submission.sh"))
    assert len(scripts) == 1, "all three were submitted at once"


@pytest.mark.chaos
def test_a_node_that_kills_all_its_jobs_is_left_out(make_place: Make, tmp_path: Path) -> None:
    place = make_place(setup=("[ $(hostname) != n1 ] || exit 1",))
    for number in range(2):
        place.start(task(tmp_path, number))
        assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 2}


def test_a_failure_counts_against_each_of_a_jobs_nodes(make_place: Make, tmp_path: Path) -> None:
    once = f"[ -e {tmp_path}/failed ] || {{ touch {tmp_path}/failed; exit 1; }}"
    place = make_place(gpus_per_trial=4, setup=(once,))
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 1, "n2": 1}


def test_where_all_nodes_have_failed_none_is_left_out(
    make_place: Make, said: list[str], tmp_path: Path
) -> None:
    place = make_place()
    place._submissions.node_failures = Counter(dict.fromkeys(("n1", "n2", "n3", "n4"), 2))
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert said == [
        "no nodes are left without n1, n2, n3, n4, where jobs died: they are no longer excluded"
    ]


def test_a_broken_node_does_not_end_a_sweep(make_place: Make, tmp_path: Path) -> None:
    place = make_place(setup=("[ $(hostname) != n1 ] || exit 1",), most_jobs=1)
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 2}
