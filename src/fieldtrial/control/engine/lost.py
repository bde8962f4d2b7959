"""Trials that are done, as a sweep's state says, with runs that are gone or damaged."""

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.engine.trials import Trials
from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder

DAMAGED = ".damaged"  # after the name of a file that cannot be read


def reopen_lost(trials: Trials, folder: SweepFolder) -> list[Trial]:
    """Set the trials that are done to waiting if their runs have no config or no result that can be
    read; return them.

    Searcher and scheduler know how they ended, and are not told again. A trial that was stopped is
    stopped after the same epoch. Damaged files are renamed, so that the trial can write its own. A
    run that lacks its config alone keeps its result.
    """
    results: dict[str, bool] = {}
    lost = []
    for trial in trials:
        if trial.status != "done":
            continue
        if trial.name not in results:  # two trials may share a run
            run = folder.run(trial.name)
            results[trial.name] = _is_whole(run)
            if not results[trial.name]:
                _set_aside(run)
                run.withdraw_stop()  # of an earlier attempt: `shared_stop` has the epoch
        if not results[trial.name]:
            _reopen(trial)
            lost.append(trial)
    return lost


def damage(run: Run, config: TrainConfig) -> str:
    """Return why a table cannot count a run as an ended one of `config`; "" if it can."""
    try:
        run.require_records()
        run.require(config)
        return "" if run.result() is not None else f"{run.path}: has no result"
    except (FileNotFoundError, NotADirectoryError, RefusedError, ValueError) as error:
        return str(error).splitlines()[0]


def _is_whole(run: Run) -> bool:
    try:
        run.config()
        return run.result() is not None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _set_aside(run: Run) -> None:
    for path, read in zip(run.told_by, (run.config, run.result, run.error), strict=True):
        try:
            read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except ValueError:
            path.rename(path.with_name(f"{path.name}{DAMAGED}"))


def _reopen(trial: Trial) -> None:
    trial.status, trial.problem, trial.repeats = "waiting", "its run is gone or damaged", True
    trial.shared_stop, trial.stopped_at = trial.stopped_at or trial.shared_stop, None
    trial.last_epoch, trial.seconds, trial.best, trial.start = -1, 0.0, None, None
    trial.timed = ()
    trial.reset_deaths()
