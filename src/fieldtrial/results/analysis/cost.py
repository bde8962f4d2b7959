"""What a sweep has cost: device-hours by outcome, repeated work, and what early stopping saved.

A device-hour is an hour of one process, with its GPU if it has one, from the start of a worker to
the end of a trial. Of trials that an earlier version ran, recorded epochs alone are counted. An
epoch that a preemption cut short is in no record, so only an upper bound is known of its cost.
"""

from dataclasses import dataclass

import pandas as pd

from fieldtrial.fields.printable import counted
from fieldtrial.panel.terminal import format_hours
from fieldtrial.results.read.sweeps import SWEEP
from fieldtrial.results.read.wording import outcome_text

ORDER = ("finished", "stopped", "failed", "unreadable", "running", "waiting")


@dataclass(frozen=True)
class Account:
    """Device-hours of trials, each counted once.

    by_outcome: {outcome: (trials, device-hours)}. repeated: of epochs that were lost and repeated.
    restarts: attempts after the first. cut_short: the most that the epochs cost that ended with
    the attempts before them.
    outside: device-hours outside of recorded epochs. features: of them, for features of frozen
    layers, which the first trial that needs them computes for all.
    of_epochs: how many trials are counted with their epochs alone, beside others.
    saved_epochs: those that trials stopped early did not run. saved: their device-hours, at each
    trial's own pace.
    energy: of trials that have told it, in kWh; measured: how many these are. sharing: how many of
    them had others on their devices, whose energy is counted with theirs.
    """

    by_outcome: dict[str, tuple[int, float]]
    repeated: float
    restarts: int
    cut_short: float
    saved: float
    saved_epochs: int
    outside: float = 0.0
    features: float = 0.0
    of_epochs: int = 0
    energy: float = 0.0
    measured: int = 0
    sharing: int = 0

    @property
    def total(self) -> float:
        """All device-hours that are known."""
        return self.repeated + sum(hours for _, hours in self.by_outcome.values())


def cost_of_trials(records: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return what each trial (sweep, trial) has cost; `trials` and `records` are of `Sweeps`.

    device_hours: all, without repeated_hours, which are of epochs that were lost and repeated.
    epoch_hours: of the epochs that count. hours_per_epoch: the mean over epochs with training, with
    their checkpoints where these are known. The others are last_epoch and attempts.
    """
    hours = records["seconds"].fillna(0.0) * records["world_size"] / 3600
    repeated = records["repeated_seconds"] * records["world_size"] / 3600
    frame = records[[SWEEP, "trial", "epoch", "attempt"]].assign(hours=hours, repeated=repeated)
    paces = _paces(records).fillna(records["seconds"]) * records["world_size"] / 3600
    frame["trained"] = paces.where(frame["epoch"] > 0)
    costs = frame.groupby([SWEEP, "trial"], observed=True).agg(
        epoch_hours=("hours", "sum"),
        repeated_hours=("repeated", "sum"),
        hours_per_epoch=("trained", "mean"),
        last_epoch=("epoch", "max"),
        attempts=("attempt", "max"),
    )
    held = _measure(_once(trials), "device_hours").dropna()
    if lacking := [place for place in held.index if place not in costs.index]:  # without a record
        costs = costs.reindex(pd.MultiIndex.from_tuples([*costs.index, *lacking]))
        costs = costs.fillna({"epoch_hours": 0.0, "repeated_hours": 0.0})
    whole = (held.reindex(costs.index) - costs["repeated_hours"]).clip(lower=0.0)
    return costs.assign(device_hours=whole.fillna(costs["epoch_hours"]))


def _once(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.drop_duplicates([SWEEP, "trial"]).set_index([SWEEP, "trial"])


def _measure(trials: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return a column of numbers, NaN where earlier versions have none."""
    known: pd.Series[float] = trials.get(name, pd.Series(float("nan"), trials.index)).astype(float)
    return known


def _paces(records: pd.DataFrame) -> "pd.Series[float]":
    """Return the seconds from one record to the next of its attempt, NaN where that is unknown."""
    if "held_seconds" not in records:
        return pd.Series(float("nan"), records.index)
    own = records[[SWEEP, "trial", "attempt", "epoch", "held_seconds"]].astype({"trial": object})
    before = own.shift()
    follows = own["epoch"] == before["epoch"] + 1
    for name in (SWEEP, "trial", "attempt"):
        follows &= own[name] == before[name]
    return (own["held_seconds"] - before["held_seconds"]).where(follows)


def account(trials: pd.DataFrame, costs: pd.DataFrame) -> Account:
    """Return what `trials` of `Sweeps` have cost; costs: what `cost_of_trials` returned."""
    known = _once(trials)
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
    is_whole = _measure(known, "device_hours").notna()
    is_earlier = ~is_whole & (outcomes != "unreadable")  # whose result may well have said more
    again = (costs["attempts"] - 1).clip(lower=0).fillna(0)
    energy = _measure(known, "energy_kwh")
    shared = known.get("energy_shared", pd.Series(False, known.index)).eq(True)
    return Account(
        by_outcome,
        repeated=float(costs["repeated_hours"].sum()),
        restarts=int(again.sum()),
        cut_short=float((again * costs["hours_per_epoch"].fillna(0)).sum()),
        saved=float((left * costs["hours_per_epoch"][stopped].fillna(0)).sum()),
        saved_epochs=int(left.sum()),
        outside=float((hours - costs["epoch_hours"].fillna(0.0))[is_whole].sum()),
        features=float(_measure(known, "features_device_hours").sum()),
        of_epochs=int((is_earlier & (hours > 0)).sum()) if is_whole.any() else 0,
        energy=float(energy.sum()),
        measured=int(energy.notna().sum()),
        sharing=int((shared & energy.notna()).sum()),
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
    if account.outside > 0:
        features = (
            f", and features of frozen layers ({format_hours(account.features)}), which are charged"
            " to the first trial that needs them"
            if account.features
            else ""
        )
        lines.append(
            f"Of these, {format_hours(account.outside)} were held outside of epochs: starts of"
            f" workers, loading, checkpoints, the last evaluation{features}."
        )
    if account.measured:
        lines.append(energy_line(account))
    if account.of_epochs:
        lines.append(
            f"{counted(account.of_epochs)} of an earlier version: of them, minutes and device-hours"
            " are those in epochs alone. `--show epoch_minutes` has these of all trials."
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


def energy_line(account: Account) -> str:
    """Return the energy, what it is of, and what else is in it, as a line below a table."""
    trials = sum(count for count, _ in account.by_outcome.values())
    known = "" if account.measured == trials else f" of {counted(account.measured)} that tell it"
    shared = (
        f" Others used the devices of {account.sharing}, too: their energy is counted with it."
        if account.sharing
        else ""
    )
    return (
        f"Energy: {format_hours(account.energy)} kWh{known}, of the GPUs or, where there are none,"
        f" of the processors alone.{shared}"
    )
