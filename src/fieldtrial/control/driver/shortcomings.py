"""What keeps a sweep that has ended from being what was asked for: its exit status says it."""

from collections.abc import Iterator, Sequence

from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.lost import damage
from fieldtrial.control.engine.outcomes import own_code_advice
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_folder import SweepFolder

ADVICE = "fix it and run the command again with --retry"


def shortcomings(engine: Engine) -> list[str]:
    """Return a line for each thing that a sweep which has ended lacks; with none it is complete.

    It lacks a source that failed, the winner of a search, and each final run that failed or whose
    files cannot be read any more. A final run that diverged is a finding, and lacks only where no
    final run of its search ended well.
    """
    lines = [
        f"source {source.name} failed ({_first_line(source)}), so its rows were not started;"
        f" {_advice(engine, source)}"
        for source in engine.sources.values()
        if source.status == "failed"
    ]
    for row in engine.rows:
        if not engine.sweep.is_run(row.number):
            continue
        label = engine.sweep.planned[row.number].label
        search = f" search {row.search}" if engine.sweep.searches > 1 else ""
        lacks = [*_lacks(engine, row), *_damages(row, engine.folder)]
        lines += [f"row {row.number} ({label}){search}: {lack}" for lack in lacks]
    return lines


def _lacks(engine: Engine, row: Row) -> Iterator[str]:
    finals = row.finals or []
    failed = [run for run in finals if run.status == "failed"]
    faults = [run for run in failed if not run.diverged]
    if row.winner() is None:
        if row.trials:  # else its source has failed
            yield f"no winner, because no trial of its search ended well; {_last(row.trials)}"
    elif failed and len(failed) == len(finals):
        what = f"no test result, because all {len(finals)} final runs failed; {_last(failed)}"
        yield f"{what}; {_advice(engine, faults[-1])}" if faults else what
    elif faults:
        advice = _advice(engine, faults[-1])
        yield f"{len(faults)} of {len(finals)} final runs failed; {_last(faults)}; {advice}"


def _advice(engine: Engine, failed: Trial) -> str:
    return f"{ADVICE}{own_code_advice(failed, engine.trials())}"


def _damages(row: Row, folder: SweepFolder) -> Iterator[str]:
    """Yield a line on the final runs that have ended and that no table can count."""
    done = [run for run in row.finals or [] if run.status == "done"]
    if damaged := [why for run in done if (why := damage(folder.run(run.name), run.config))]:
        yield (
            f"{len(damaged)} of {len(row.finals or [])} final runs cannot be read; the last one:"
            f" {damaged[-1]}; remove its folder and run the command again"
        )


def _last(trials: Sequence[Trial]) -> str:
    return f"the last one: {_first_line(trials[-1])}"


def _first_line(trial: Trial) -> str:
    return (trial.problem or "without a message").splitlines()[0]
