"""What all jobs have in common."""

import importlib.util

import pytest

from fieldtrial.command_line import job as guard
from tests.job_commands import JOBS, Job

NAMES = sorted(path.name for path in JOBS.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_command(job: Job, name: str) -> None:
    done = job(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("name", NAMES)
def test_no_arguments_or_unknown_ones_are_bad_input(job: Job, name: str) -> None:
    for arguments in ([], ["--unheard-of"]):
        done = job(name, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "error: " in done.stderr


def test_no_job_hides_a_library_of_its_name() -> None:
    """A job's folder comes first on its import path, so libraries would import the job instead."""
    names = [*(name.removesuffix(".py") for name in NAMES)]
    assert [name for name in names if importlib.util.find_spec(name)] == []
    assert "tabulate" not in names  # torch imports that library where it is installed


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (FloatingPointError("diverged"), 1, "error: diverged\n"),
        (ValueError("one\ntwo"), 2, "error: one\nerror: two\n"),
        (FileNotFoundError(2, "No such file", "x"), 2, "error: [Errno 2] No such file: 'x'\n"),
        (KeyboardInterrupt(), 130, "error: interrupted: run the same command again to resume\n"),
    ],
)
def test_an_error_is_a_line_and_a_status(
    error: BaseException, status: int, lines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @guard(FloatingPointError)
    def main(arguments: object = None) -> int:  # noqa: ARG001
        raise error

    assert main() == status
    assert capsys.readouterr().err == lines


def test_other_errors_are_not_hidden() -> None:
    @guard()
    def main(arguments: object = None) -> int:  # noqa: ARG001
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
