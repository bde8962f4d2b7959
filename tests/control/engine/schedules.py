"""Random schedules of a virtual place: sweeps, what befalls their workers, and what comes out."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.running.deaths import MOST_DEATHS, MOST_INTERRUPTIONS
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.engine.virtual import RATES, Script, make_sweep

FAULTS = ("death", "time limit", "hang", "interruption", "requeue", "outage")
QUICK = settings(
    max_examples=60, suppress_health_check=list(HealthCheck), database=None, deadline=None
)


def is_free(kinds: tuple[str, ...]) -> bool:
    """Return whether no trial is given up for these faults, though it completes no epoch."""
    return max(kinds.count("death") + kinds.count("hang"), kinds.count("time limit")) < MOST_DEATHS


# The faults before one epoch: those that are free, and any.
FREE = st.lists(st.sampled_from(FAULTS), max_size=4).map(tuple).filter(is_free)
ANY = st.one_of(
    st.lists(st.sampled_from((*FAULTS, "error")), max_size=4).map(tuple),
    st.just(("interruption",) * MOST_INTERRUPTIONS),
)


def scripts(faults: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[list[Script]]:
    one = st.builds(
        Script,
        quality=st.integers(0, 10),
        seconds=st.sampled_from([0.05, 1.0, 30.0]),
        faults=st.dictionaries(st.integers(0, 6), faults, max_size=2),
        diverges_at=st.sampled_from([None, None, None, 1, 3]),
        memory=st.sampled_from([1, 1, 1, 2, 8, 16]),
        repeats=st.integers(0, 1),
        is_deaf=st.booleans(),
        luck=st.sampled_from([0.0, 0.0, 0.3, -0.3]),
        report_seconds=st.sampled_from([0.0, 2.0]),
    )
    return st.lists(one, min_size=len(RATES), max_size=len(RATES))


@st.composite
def sweeps(draw: st.DrawFn, most_trials: int = 5) -> Sweep:
    rows = [{"optimizer": "sgd"}, {"optimizer": "adam"}, {"optimizer": "adamw"}]
    trials, seeds = draw(st.integers(1, most_trials)), draw(st.integers(0, 2))
    return make_sweep(
        rows=rows[: draw(st.integers(1, 3))],
        epochs=draw(st.integers(1, 6)),
        trials=trials,
        seeds=seeds,
        finalists=draw(st.integers(1, min(3, trials))) if seeds else 1,
        searches=draw(st.sampled_from([1, 1, 2])),
        source=draw(st.sampled_from([None, None, {"lr": RATES[-1]}])),
        deterministic=draw(st.booleans()),
    )


KILLS = st.lists(st.integers(0, 60), max_size=4)


def in_new_folder(run: Callable[[SweepFolder], Any]) -> Any:
    """Return what `run` returns of a new folder, which is not waited for to be on disk."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("os.fsync", lambda _: None)
        return run(SweepFolder(Path(path) / "sweep"))


def outcome(engine: Engine) -> list[tuple[object, ...]]:
    """Return what must not depend on interruptions."""
    of_trials = [
        (t.trial_id, t.name, t.status, t.stopped_at, t.best if t.status == "done" else None)
        for t in engine.trials()
    ]
    winners: list[Trial | None] = [row.winner() for row in engine.rows]
    told = [row._searcher.searcher.told for row in engine.rows]  # type: ignore[union-attr]
    return [*of_trials, *((w and w.trial_id,) for w in winners), *map(tuple, told)]
