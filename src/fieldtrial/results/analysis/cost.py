"""What a sweep has cost: device-hours by outcome, repeated work, and what early stopping saved.

A device-hour is an hour of one process, with its GPU if it has one. Recorded epochs are counted.
An epoch that a preemption cut short is in no record, so only an upper bound is known of its cost.
"""

from dataclasses import dataclass

import pandas as pd

from fieldtrial.panel import format_hours
from fieldtrial.results.read.sweeps import SWEEP
from fieldtrial.results.read.wording import counted, outcome_text

ORDER = ("finished", "stopped", "failed", "unreadable", "running", "waiting")


@dataclass(frozen=True)
class Account:
    """Device-hours of trials, each counted once.

    by_outcome: {outcome: (trials, device-hours)}. repeated: of epochs that were lost and repeated.
    restarts: attempts after the first. cut_short: the most that the epochs cost that ended with
    the attempts before them.
    saved_epochs: those that trials stopped early did not run. saved: their device-hours, at each
    trial's own pace.
    """

    by_outcome: dict[str, tuple[int, float]]
    repeated: float
    restarts: int
    cut_short: float
    saved: float
    saved_epochs: int

    @property
    def total(self) -> float:
        """All device-hours that are in a record."""
        return self.repeated + sum(hours for _, hours in self.by_outcome.values())


def cost_of_trials(records: pd.DataFrame) -> pd.DataFrame:
    """Return what each trial (sweep, trial) has cost, from its records.

    device_hours: of the epochs that count. repeated_hours: of epochs that were lost and repeated.
    hours_per_epoch: the mean over epochs with training. The others are last_epoch and attempts.
    """
    hours = records["seconds"].fillna(0.0) * records["world_size"] / 3600
    repeated = records["repeated_seconds"] * records["world_size"] / 3600
    frame = records[[SWEEP, "trial", "epoch", "attempt"]].assign(hours=hours, repeated=repeated)
    frame["trained"] = frame["hours"].where(frame["epoch"] > 0)
    return frame.groupby([SWEEP, "trial"], observed=True).agg(
        device_hours=("hours", "sum"),
        repeated_hours=("repeated", "sum"),
        hours_per_epoch=("trained", "mean"),
        last_epoch=("epoch", "max"),
        attempts=("attempt", "max"),
    )


def account(trials: pd.DataFrame, costs: pd.DataFrame) -> Account:
    """Return what `trials` of `Sweeps` have cost; costs: what `cost_of_trials` returned."""
    known = trials.drop_duplicates([SWEEP, "trial"]).set_index([SWEEP, "trial"])
    costs = costs.reindex(known.index)
    hours = costs["device_hours"].fillna(0.0)
    outcomes = known["outcome"]
    by_outcome = {
        name: (int((outcomes == name).sum()), float(hours[outcomes == name].sum()))
        for name in ORDER
        if (outcomes == name).any()
    }
    stopped = outcomes == "stopped"
    left = (known["epochs"].astype(float) - costs["last_epoch"])[stopped].clip(lower=0).fillna(0)
    again = (costs["attempts"] - 1).clip(lower=0).fillna(0)
    return Account(
        by_outcome,
        repeated=float(costs["repeated_hours"].sum()),
        restarts=int(again.sum()),
        cut_short=float((again * costs["hours_per_epoch"].fillna(0)).sum()),
        saved=float((left * costs["hours_per_epoch"][stopped].fillna(0)).sum()),
        saved_epochs=int(left.sum()),
    )


def cost_lines(account: Account) -> list[str]:
    """Return the account as lines below a table."""
    parts = [
        f"{format_hours(hours)} {outcome_text(outcome)} ({count})"
        for outcome, (count, hours) in account.by_outcome.items()
        if hours
    ]
    parts += (
        [f"{format_hours(account.repeated)} repeated after restarts"] if account.repeated else []
    )
    lines = (
        [f"Device-hours: {format_hours(account.total)} in all: {', '.join(parts)}."]
        if parts
        else []
    )
    if account.restarts:
        lines.append(
            f"{counted(account.restarts, 'restart')}: the epochs that were cut short are in no"
            f" record; they cost at most {format_hours(account.cut_short)} device-hours."
        )
    if account.saved_epochs:
        share = (
            account.saved / (account.total + account.saved)
            if account.total + account.saved
            else 0.0
        )
        lines.append(
            f"Early stopping saved {format_hours(account.saved)} device-hours, {share:.0%} of what"
            f" the trials would have cost: {account.saved_epochs:,} epochs at each trial's own"
            " pace."
        )
    return lines
