"""What sbatch refuses, by a real SLURM and in its words: for how long, and because of which key."""

from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm.refusals import explained, is_hopeless
from tests.control.slurm_places import Make, task, until

FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("refusal", "hopeless"),
    [
        ("sbatch: error: invalid partition specified: nowhere", True),
        (f"{FAILED}Requested node configuration is not available", True),
        ("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", True),
        ("sbatch: unrecognized option '--foo=1'\nTry \"sbatch --help\"", True),
        ("sbatch: error: Invalid --mail-type specification", True),
        (f"{FAILED}Access/permission denied", True),
        (f"sbatch: error: QOSMaxCpuPerJobLimit\n{FAILED}Job violates accounting/QOS policy", True),
        (f"sbatch: error: AssocMaxWallDurationPerJobLimit\n{FAILED}Job violates", True),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}Job violates accounting", False),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{FAILED}Job violates accounting", False),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}Job violates accounting", False),
        (f"sbatch: error: QOSMaxJobsPerUserLimit\n{FAILED}Job violates accounting", False),
        (f"sbatch: error: QOSMaxGRESPerUser\n{FAILED}Job violates accounting/QOS policy", True),
        (f"sbatch: error: QOSMaxMemoryPerUser\n{FAILED}Job violates accounting/QOS policy", True),
        (f"sbatch: error: QOSGrpCpuLimit\n{FAILED}Job violates accounting/QOS policy", True),
        (f"sbatch: error: AssocGrpGRES\n{FAILED}Job violates accounting/QOS policy", True),
        (f"{FAILED}More processors requested than permitted", True),
        (f"{FAILED}Requested nodes not in this partition", True),
        (f"{FAILED}No partition specified or system default partition", True),
        (f"{FAILED}Partition in DOWN state", False),
        (f"{FAILED}Requested account has breached requested QOS usage threshold", False),
        (f"{FAILED}MaxJobCount limit reached", False),
        (f"{FAILED}Required partition not available (inactive or drain)", False),
        (f"{FAILED}Required node not available (down, drained or reserved)", False),
        (f"{FAILED}Requested partition configuration not available now", False),
        (f"{FAILED}Invalid authentication credential", False),
        (f"{FAILED}Job violates accounting/QOS policy (job submit limit)", False),
        (f"{FAILED}Unspecified error", False),
        ("sbatch: fatal: Could not establish a configuration source", False),
        (f"{FAILED}Socket timed out on send/recv operation", False),
    ],
)
def test_refusals_that_pass(refusal: str, hopeless: bool) -> None:
    assert is_hopeless(refusal) == hopeless


@pytest.mark.parametrize(
    ("settings", "words", "keys"),
    [
        (
            {"sbatch": {"mem-per-cpu": "300M"}},
            "--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive",
            "memory_gb_per_process = 0.1, [sbatch] mem-per-cpu = '300M'",
        ),
        ({"constraint": "a900"}, "Invalid feature specification", "constraint = 'a900'"),
        (
            {"sbatch": {"mail-type": "NOW"}},
            "Invalid --mail-type specification",
            "[sbatch] mail-type = 'NOW'",
        ),
        ({"sbatch": {"lost": "1"}}, "unrecognized option '--lost=1'", "[sbatch] lost = '1'"),
        (
            {"sbatch": {"nodelist": "zz", "comment": "a"}},
            "Invalid node name specified",
            "[sbatch] nodelist = 'zz', [sbatch] comment = 'a'",
        ),
    ],
)
def test_a_request_that_slurm_calls_invalid_ends_at_once_with_its_key(
    make_place: Make, said: list[str], tmp_path: Path, settings: Any, words: str, keys: str
) -> None:
    place = make_place(**settings)
    place.start(task(tmp_path))
    with pytest.raises(PlaceError) as caught:
        until(place, lambda: False, 20)
    message = str(caught.value)
    assert message.startswith("SLURM accepts no job of this place: ")
    assert words in message
    assert message.endswith(f"; the place asks for {keys}")
    assert said == []


def test_what_no_node_has_is_said_beside_what_the_nodes_have(
    make_place: Make, tmp_path: Path
) -> None:
    place = make_place(memory_gb_per_process=900)
    place.start(task(tmp_path))
    with pytest.raises(PlaceError) as caught:
        until(place, lambda: False, 20)
    message = str(caught.value)
    assert "Requested node configuration is not available; the place asks for" in message
    assert "memory_gb_per_process = 900" in message
    assert "cpus_per_process = 1" in message
    assert message.endswith(
        "the nodes that there are: gpu: 4 nodes with 4 processors, 8000 MB, gpu:2"
    )


@pytest.mark.parametrize(
    ("refusal", "is_meant"),
    [
        ("srun: no such command: this machine has no SLURM", False),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", False),
        ("sbatch: fatal: Could not establish a configuration source", False),
        ("sbatch: Command '('sbatch', '--test-only')' timed out after 60 seconds", False),
        ("sbatch: error: Unable to contact slurm controller; is --mail-type right?", True),
        (f"{FAILED}Unspecified error", True),
    ],
)
def test_further_options_are_named_where_slurm_has_read_them(refusal: str, is_meant: bool) -> None:
    told = explained(refusal, SlurmSettings(sbatch={"mail-type": "FAIL"}))
    assert told == refusal + ("; the place asks for [sbatch] mail-type = 'FAIL'" * is_meant)


def test_what_a_users_environment_asks_for_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    refusal = f"{FAILED}Invalid account or account/partition combination specified"
    told = explained(refusal, SlurmSettings(partitions=("a", "b"), sbatch={"comment": "x"}))
    assert told == (
        f"{refusal}; the place asks for partitions = ['a', 'b'], $SBATCH_ACCOUNT = 'mine'"
    )
