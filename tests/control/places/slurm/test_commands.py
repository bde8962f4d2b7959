"""What SLURM's commands print, taken apart: the forms that small clusters do not show."""

import pytest

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.submissions import _is_hopeless


@pytest.mark.parametrize(
    ("ids", "jobs"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[0-2]", ["12_0", "12_1", "12_2"]),
        ("12_[1,4-5%3]", ["12_1", "12_4", "12_5"]),
        ("12_[0-4:2,9%1]", ["12_0", "12_2", "12_4", "12_9"]),
        ("12+1", ["12+1"]),
        ("12_[3-1]", []),
        ("12_[0-99999999]", []),
        ("12_[0-99999999:99999999]", ["12_0", "12_99999999"]),
        (f"12_[0-{'9' * 5000}]", []),
        ("12_[0-4:0]", ["12_0", "12_1", "12_2", "12_3", "12_4"]),
        *((odd, []) for odd in ("", "12_", "12_[", "12_[]", "12_[a-b]", "12_[1-2-3]", "12_[1,]")),
        *((odd, []) for odd in ("12.batch", "x_[1]", "12_[-1]", "٣", "12_[1]\n13", "--all")),
    ],
)
def test_elements_of_an_array_that_share_a_line(ids: str, jobs: list[str]) -> None:
    assert slurm_commands._elements(ids) == jobs


def test_squeue_lines_with_anybodys_job_names(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["7_0|RUNNING|n1|None|a|b", "8|PENDING||Priority|two", "lines", "9|RUNNING|n2|None|"]
    lines += ["--user=root|RUNNING|n|None|of a name's next line", "slurm: a notice", "|||||"]
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    found = slurm_commands.my_jobs()
    assert [(job.id, job.name) for job in found] == [("7_0", "a|b"), ("8", "two"), ("9", "")]


def test_lines_of_other_forms_say_nothing_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["", "a notice", "|", "7|RUNNING", "7|COMPLETED|n1", "8||n1", "9| |n1", "x|FAILED|n1"]
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    assert slurm_commands._remembered(["7"])["7"] == ("COMPLETED", "n1")
    assert slurm_commands._remembered(["7"]).keys() == {"7", "8", "9"}
    assert slurm_commands._accounted(["7"]) == {"7": ("COMPLETED", "n1")}


@pytest.mark.parametrize("size", ["many", "", "-1", "9" * 5000])
def test_a_configuration_of_slurm_that_is_none(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: [f"MaxArraySize = {size}"])
    with pytest.raises(slurm_commands.SlurmOutageError, match="must be a whole number"):
        slurm_commands.largest_array()


@pytest.mark.parametrize(
    ("account", "lines", "limit"),
    [
        (None, [], None),
        (None, ["mine|5", "debug|1"], 5),
        (None, ["mine|", "debug|1"], None),
        ("debug", ["mine|", "debug|1"], 1),
        ("mine", ["mine|", "debug|1"], None),
        (None, ["a notice", "mine|٣"], None),
        (None, [f"mine|{'9' * 5000}"], None),
    ],
)
def test_the_limit_is_the_accounts(
    account: str | None, lines: list[str], limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    assert slurm_commands.submit_limit(account) == limit


@pytest.mark.parametrize(
    ("parameters", "size", "most"),
    [("bf_interval=1,max_array_tasks=4", 1001, 4), ("(null)", 1001, 1000), ("", 0, 0)],
)
def test_the_largest_array(
    parameters: str, size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "Configuration data",
        f"MaxArraySize            = {size}",
        f"SchedulerParameters     = {parameters}",
    ]
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    assert slurm_commands.largest_array() == most


@pytest.mark.parametrize(
    ("refusal", "hopeless"),
    [
        ("sbatch: error: invalid partition specified: nowhere", True),
        ("Batch job submission failed: Requested node configuration is not available", True),
        (
            "Batch job submission failed: Required partition not available (inactive or drain)",
            False,
        ),
        ("Batch job submission failed: Invalid authentication credential", False),
        (
            "Batch job submission failed: Job violates accounting/QOS policy (job submit limit)",
            False,
        ),
    ],
)
def test_refusals_that_pass(refusal: str, hopeless: bool) -> None:
    assert _is_hopeless(refusal) == hopeless
