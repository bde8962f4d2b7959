"""Trials that are done, as a sweep's state says, and whose runs are gone: they run again."""

from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.engine.trials import Trials
from fieldtrial.disk.sweep_folder import SweepFolder


def reopen_lost(trials: Trials, folder: SweepFolder) -> list[Trial]:
    """Set the trials that are done to waiting if their runs have no result; return them.

    Searcher and scheduler know how they ended, and are not told again. A trial that was stopped is
    stopped after the same epoch.
    """
    results: dict[str, bool] = {}
    lost = []
    for trial in trials:
        if trial.status != "done":
            continue
        if trial.name not in results:  # two trials may share a run
            # A damaged one counts: the table leaves the run out and names it.
            results[trial.name] = folder.run(trial.name).has_result()
        if not results[trial.name]:
            _reopen(trial)
            lost.append(trial)
    return lost


def _reopen(trial: Trial) -> None:
    trial.status, trial.problem, trial.repeats = "waiting", "its run is gone", True
    trial.shared_stop, trial.stopped_at = trial.stopped_at or trial.shared_stop, None
    trial.last_epoch, trial.seconds, trial.best, trial.start = -1, 0.0, None, None
    trial.timed = ()
    trial.reset_deaths()
