"""What the user is told of SLURM, and that it is told once."""

from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.control.places.slurm.news import News


def job(number: int, reason: str) -> Job:
    return Job(f"7_{number}", "PENDING", "", reason, "sweep")


def test_each_job_that_is_held_is_told_once_until_it_is_released() -> None:
    said: list[str] = []
    news = News(said.append)
    one, other = job(1, "JobHeldUser"), job(2, "JobHeldUser")
    for jobs in ([one], [one, other], [one, other], [other], [one, other]):
        news.tell_why_jobs_wait(jobs)
    assert [line.partition(" are held by you")[0] for line in said] == [
        "jobs 7_1",
        "jobs 7_2",
        "jobs 7_1",
    ]


def test_of_many_jobs_that_are_held_ten_are_named() -> None:
    said: list[str] = []
    News(said.append).tell_why_jobs_wait([job(n, "JobHeldAdmin") for n in range(10, 22)])
    (line,) = said
    assert "7_19 and 2 more are held by" in line
    assert line.endswith(",".join(f"7_{n}" for n in range(10, 20)))
