"""What the engine makes of trials that end: a result for those that were cut short, and the one
error of them all.
"""

import math
from collections.abc import Sequence
from typing import Any

from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Cause
from fieldtrial.disk.run import Run

SAME_ERRORS = 3  # as many first trials with the same error stop the sweep
MOST_DEATHS = 3  # of a trial's workers in a row, without another epoch
MOST_INTERRUPTIONS = (
    30  # likewise: the trial is not to blame for them, but a queue that gives it no time is no use
)


def stopped_result(run: Run, trial: Trial) -> dict[str, Any]:
    """Write and return the result of a trial that was to be stopped and whose worker went before it
    wrote one.
    """
    records = [record for record in run.records() if record["epoch"] <= (trial.stopped_at or 0)]
    best = next(record for record in records if record["epoch"] == records[-1]["best_epoch"])
    result = {
        "outcome": "stopped",
        "reason": "ended after the decision to stop it",
        "epochs": trial.stopped_at,
        "best_epoch": best["epoch"],
        "validation_accuracy": best["validation_accuracy"],
        "validation_loss": best["validation_loss"],
        "minutes": sum(record["seconds"] for record in records) / 60,
        "attempt": trial.attempt,
    }
    result |= {"accumulate": trial.accumulate} if trial.accumulate > 1 else {}
    run.write_result(result)
    run.remove_checkpoints()  # as its worker would have
    return result


def as_decided(run: Run, trial: Trial, result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a trial that has ended, written anew if it was to be stopped and had
    ended by itself before.

    What is in the table is then what was decided, and does not depend on who was quicker.
    """
    if trial.stopped_at is None or result["outcome"] == "stopped":
        return result
    result = result | {
        "outcome": "stopped",
        "reason": f"was to be stopped after epoch {trial.stopped_at}",
    }
    run.write_result(result)
    return result


def reason_to_give_up(trial: Trial, cause: Cause, death: str) -> str | None:
    """Count the death of a trial's worker. Returns None if the trial goes on, or why it has failed.

    Preemption, dead nodes and time limits are not the trial's fault, and are counted apart, each by
    itself.
    """
    if cause == "death":
        trial.deaths += 1
        why, given_up = f"{trial.deaths} times without another epoch", trial.deaths >= MOST_DEATHS
    elif cause == "time limit":
        trial.time_limits += 1
        why = (
            f"{trial.time_limits} jobs in a row reached their time limit without another epoch,"
            " which must fit into it"
        )
        given_up = trial.time_limits >= MOST_DEATHS
    else:
        trial.interruptions += 1
        why = f"{trial.interruptions} times interrupted without another epoch"
        given_up = trial.interruptions >= MOST_INTERRUPTIONS
    return f"{why}; the last time {death}" if given_up else None


def one_failure_too_many(ended: Sequence[Trial], most: int) -> Trial | None:
    """Return one of the trials that failed, if more than `most` did; those that diverged are
    findings, no failures.
    """
    failed = [trial for trial in ended if trial.status == "failed" and not trial.diverged]
    return failed[-1] if len(failed) > most else None


def same_first_error(ended: Sequence[Trial]) -> Trial | None:
    """Return one of the trials that have ended so far if all of them failed with the same error,
    and none diverged.
    """
    problems = {trial.problem for trial in ended}
    if len(ended) < SAME_ERRORS or len(problems) > 1 or None in problems:
        return None
    return None if ended[0].diverged else ended[0]  # which is a finding, not a fault


def cut_batches(trial: Trial, processes: int) -> bool:
    """Have a trial whose batches did not fit into memory cut them in twice as many parts; False if
    that cannot be.

    Each of its processes cuts its own share of a batch, down to single images.
    """
    most = math.ceil(trial.config.batch_size / processes)
    if trial.accumulate >= most:
        return False
    trial.accumulate = min(2 * trial.accumulate, most)
    trial.status = "waiting"
    trial.problem = f"out of memory: goes on with its batches cut into {trial.accumulate} parts"
    return True


def story(trial: Trial, run: Run) -> str:
    """Return all that is known of a failure."""
    error = run.error() or {}
    return "\n".join(
        part for part in (trial.problem, error.get("details"), f"see {run.path}") if part
    )
