"""What SLURM's commands print, taken apart: the forms that small clusters do not show."""

import pytest

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job, SlurmOutageError, Unknown


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
    unknown = Unknown()
    found = slurm_commands.my_jobs(unknown)
    assert [(job.id, job.name) for job in found] == [("7_0", "a|b"), ("8", "two"), ("9", "")]
    assert unknown.first == {"squeue": "lines"}


def test_lines_of_other_forms_say_nothing_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["", "a notice", "|", "7|RUNNING", "7|COMPLETED|n1", "8||n1", "9| |n1", "x|FAILED|n1"]
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    unknown = Unknown()
    assert slurm_commands._remembered(["7"], unknown)["7"] == ("COMPLETED", "n1")
    assert slurm_commands._remembered(["7"], unknown).keys() == {"7", "8", "9"}
    assert slurm_commands._accounted(["7"], unknown) == {"7": ("COMPLETED", "n1")}
    assert unknown.first == {"squeue": "", "sacct": ""}


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
        (None, ["a notice", "mine|5"], 5),
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
    ("lines", "job"),
    [
        (["7"], "7"),
        (["7;cluster"], "7"),
        (["--> Checking the allocation...OK", "7", "NOTE: it ends in 12 days"], "7"),
        (["--> OK", "Submitted batch job 7", "--> Quota: 12% used"], "7"),
        (["12", "Submitted batch job 7 on cluster big"], "7"),
        (["7", "7"], "7"),
        ([], None),
        (["NOTE: job 7 is queued"], None),
        (["7", "8"], None),
        (["٣"], None),
    ],
)
def test_a_submitted_jobs_id_among_other_lines(
    lines: list[str], job: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "_run", lambda *_, **__: lines)
    if job is None:
        with pytest.raises(SlurmOutageError, match="not one job's id"):
            slurm_commands.submit("")
    else:
        assert slurm_commands.submit("") == job


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [(["KillWait                = 5 sec"], 5), (["a notice"], 30), (["KillWait = soon"], 30)],
)
def test_how_long_processes_have_to_end(
    lines: list[str], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    assert slurm_commands.kill_seconds() == seconds


def test_nodes_among_other_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["NOTE: please do not poll", "n1", "n2.site.org", ""]
    monkeypatch.setattr(slurm_commands, "_run", lambda *_: lines)
    assert slurm_commands.node_names("n[1-2]") == ["n1", "n2.site.org"]
    monkeypatch.setattr(
        slurm_commands, "_run", lambda *_: ["a notice", "gpu|4|16|64000|gpu:2|(null)"]
    )
    assert slurm_commands.node_kinds(()) == ["gpu: 4 nodes with 16 processors, 64000 MB, gpu:2"]


@pytest.mark.parametrize(
    ("state", "reason", "holder", "dead"),
    [
        ("PENDING", "Priority", None, False),
        ("PENDING", "JobHeldUser", "you, or somebody for you", False),
        ("PENDING", "JobHeldAdmin", "an administrator, who alone can release them", False),
        ("PENDING", "job requeued in held state", "whoever has requeued them", False),
        ("SPECIAL_EXIT", "job_requeued_in_held_state", "whoever has requeued them", False),
        ("RESV_DEL_HOLD", "None", "SLURM", False),
        ("PENDING", "BadConstraints", None, True),
        ("PENDING", "launch_failed_requeued_held", None, True),
        ("PENDING", "DependencyNeverSatisfied", None, True),
        ("RUNNING", "JobHeldUser", None, False),
    ],
)
def test_jobs_that_are_held_and_jobs_that_never_start(
    state: str, reason: str, holder: str | None, dead: bool
) -> None:
    job = Job("7", state, "", reason, "")
    assert (job.holder, job.dead) == (holder, dead)
