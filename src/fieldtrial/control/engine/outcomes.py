"""What the engine does when a trial ends: results of stopped trials, retries, and giving up."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.running.deaths import SAME_ERRORS, shared_problem
from fieldtrial.disk.device_time import device_time
from fieldtrial.disk.run import Run
from fieldtrial.own.errors import is_of_own_code


def stopped_result(run: Run, trial: Trial) -> dict[str, Any]:
    """Write and return the result of a stopped trial whose worker ended before it wrote one."""
    records = [record for record in run.records() if record["epoch"] <= (trial.stopped_at or 0)]
    epochs = sum(record["seconds"] for record in records) / 60
    held = device_time(run, trial.stopped_at)
    best = next(record for record in records if record["epoch"] == records[-1]["best_epoch"])
    result = {
        "outcome": "stopped",
        "reason": "ended after the decision to stop it",
        "epochs": trial.stopped_at,
        "best_epoch": best["epoch"],
        **{name: best[name] for name in sorted(best) if name.startswith("validation_")},
        "epoch_minutes": epochs,
        **(held.entries() if held else {"minutes": epochs}),
        "attempt": trial.attempt,
    }
    result |= {"accumulate": trial.accumulate} if trial.accumulate > 1 else {}
    run.write_result(result)
    run.remove_checkpoints()  # as its worker would have
    return result


def as_decided(run: Run, trial: Trial, result: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's result, rewritten as stopped if it finished although it was to be stopped.

    The table then shows the scheduler's decision, which does not depend on timing.
    """
    if trial.stopped_at is None or result["outcome"] == "stopped":
        return result
    result = result | {
        "outcome": "stopped",
        "reason": f"was to be stopped after epoch {trial.stopped_at}",
    }
    run.write_result(result)
    return result


class Tally:
    """How the trials that have ended did, kept up to date.

    ended: how many have. faults: how many of them failed, and did not diverge.
    """

    def __init__(self) -> None:
        self.ended = self.faults = 0
        self._known: dict[Trial, tuple[str | None, bool]] = {}  # problem, and whether a fault
        self._problems: Counter[str | None] = Counter()

    def settle(self, trial: Trial) -> None:
        """Take a trial in, or out, as it is now."""
        self.forget(trial)
        if not trial.live:
            is_fault = trial.status == "failed" and not trial.diverged
            self._known[trial] = trial.problem, is_fault
            self._problems[trial.problem] += 1
            self.ended, self.faults = self.ended + 1, self.faults + is_fault

    def forget(self, trial: Trial) -> None:
        """Take a trial out."""
        problem, is_fault = self._known.pop(trial, (None, None))
        if is_fault is not None:
            self._problems[problem] -= 1
            if not self._problems[problem]:
                del self._problems[problem]
            self.ended, self.faults = self.ended - 1, self.faults - is_fault

    @property
    def all_failed_alike(self) -> bool:
        """Whether enough trials have ended to tell, and all of them failed with the same error."""
        is_one = len(self._problems) == 1 and self.faults == self.ended
        return is_one and self.ended >= SAME_ERRORS


def own_code_advice(failed: Trial, trials: Iterable[Trial]) -> str:
    """Return what to say beside the advice to try a failed trial again: "", or that its own code
    must stay as it is, because trials have ended well with it.
    """
    own = {name for names in failed.config.own_parts.values() for name in names}
    done = (one.config.own_parts.values() for one in trials if one.status == "done")
    if own.isdisjoint(name for parts in done for names in parts for name in names):
        return ""
    return (
        "; if that changes your own code, start another sweep with --name, because trials of this"
        " one have ended with the code as it is"
    )


def reason_to_give_up(tally: Tally, trials: Iterable[Trial], most: int) -> tuple[str, Trial] | None:
    """Return why a sweep stops, and a failed trial that shows it; None if it goes on.

    tally: of its `trials`. most: how many may fail, not counting diverged ones.
    """
    if not tally.all_failed_alike and tally.faults <= most:
        return None
    ended = [trial for trial in trials if not trial.live]
    if failed := same_first_error(ended):
        return (
            f"the first {len(ended)} trials failed with the same error; fix it and run the command"
            " again with --retry",
            failed,
        )
    if failed := one_failure_too_many(ended, most):
        return (
            f"more than {most} trials failed; fix the cause and give --retry, or allow more with"
            f" --max-failures N{own_code_advice(failed, ended)}; one of them",
            failed,
        )
    return None


def one_failure_too_many(ended: Sequence[Trial], most: int) -> Trial | None:
    """Return the last failed trial if more than `most` failed, not counting diverged ones."""
    failed = [trial for trial in ended if trial.status == "failed" and not trial.diverged]
    return failed[-1] if len(failed) > most else None


def same_first_error(ended: Sequence[Trial]) -> Trial | None:
    """Return a trial if all trials so far failed with the same error, and did not diverge."""
    if shared_problem([trial.problem for trial in ended]) is None or ended[0].diverged:
        return None
    return ended[0]


def goes_on(trial: Trial, kind: str, message: str, processes: int) -> bool:
    """Return whether a trial that has failed goes on in another way: with smaller micro-batches
    where memory ran out, alone where its group has failed.
    """
    if kind == "memory":
        return raise_accumulation(trial, processes)
    if kind != "group" or trial.alone:
        return False
    trial.status, trial.problem, trial.alone = "waiting", message, True
    return True


def raise_accumulation(trial: Trial, processes: int) -> bool:
    """Let a trial that ran out of memory resume with twice as many micro-batches.

    Returns False if its micro-batches are single images already, on each of its processes.
    """
    most = math.ceil(trial.config.batch_size / processes)
    if trial.accumulate >= most:
        return False
    trial.accumulate = min(2 * trial.accumulate, most)
    trial.status = "waiting"
    trial.problem = (
        f"out of memory: resumes with gradient accumulation over {trial.accumulate} micro-batches"
    )
    return True


def describe_failure(trial: Trial, run: Run) -> str:
    """Return all that is known of a trial's failure, in lines."""
    details = (run.error() or {}).get("details", "")
    if is_of_own_code(details):  # the line is in the message; the traceback is in the directory
        details = ""
    return "\n".join(part for part in (trial.problem, details, f"see {run.path}") if part)
