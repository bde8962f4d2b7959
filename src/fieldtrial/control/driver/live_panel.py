"""A running sweep's output: a live panel on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Collection, Iterable

from rich.console import Console, RenderableType
from rich.live import Live

from fieldtrial.control.engine.finalists import rank
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import score_with_unit
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.panel.render import render_panel
from fieldtrial.panel.standing import RowStanding, Standing, TrialStanding, runs_with_worker
from fieldtrial.panel.terminal import clock

MOST_ROWS = 30
OTHER_LINES = 13  # of the terminal, besides the panel's rows
REFRESHES_PER_SECOND = 4
NEWEST = 4  # events in the panel
SHARE = 0.05  # of the time, at most, in which the panel is made


def print_overview(console: Console, folder: SweepFolder) -> None:
    """Print how far a sweep is that is resumed. Nothing is printed for a new sweep."""
    names = {entry["trial"] for entry in folder.trials() if entry["role"] != "winner"}
    try:
        outcomes = {name: folder.run(name).standing()[0] for name in names}
    except ValueError:  # a damaged file of a trial that may no longer be needed
        return
    begun = [name for name, outcome in outcomes.items() if outcome == "running"]
    ended = sum(outcome not in ("running", "waiting") for outcome in outcomes.values())
    running = len(runs_with_worker(folder, begun))
    counts = {"ended": ended, "running": running, "half-done": len(begun) - running}
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    if names:
        console.print(f"{folder.path} is resumed; trials: {said or 'none begun'}", soft_wrap=True)


class LivePanel:
    """Shows the engine's events: in a panel on a terminal, or as a line for each trial that ends.

    processes: how many processes, and so devices, a trial has, to count device-hours.
    """

    def __init__(self, console: Console, processes: int = 1) -> None:
        self._console = console
        self._processes = processes
        self._live: Live | None = None
        self._engine: Engine | None = None
        self._head, self._names = "row", list[str]()  # of the rows
        self._started = time.monotonic()
        self._news: list[str] = []
        self._made: RenderableType | None = None
        self._next = 0.0  # time at which the panel may be made anew

    def follow(self, engine: Engine) -> "LivePanel":
        """Show the state of `engine`. Use the result as a context manager around its run."""
        self._engine = engine
        self._head = engine.sweep.describe(engine.folder.name).labels_head
        self._names = [row.label for row in engine.sweep.planned]
        return self

    def __enter__(self) -> "LivePanel":
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._panel,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        elif self._engine:
            (ended, expected), place = self._engine.count(), self._engine.place
            at_once = min(expected, place.slots * place.together)
            what = f"{self._engine.folder.path}: {counted(expected)}, {at_once} at once at most"
            self._console.print(f"{what}; {ended} ended" if ended else what, soft_wrap=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def on_event(self, event: str, trial: Trial) -> None:
        """Show an event of the engine."""
        if event in ("started", "stopping") or self._engine is None:
            return
        line = self._line(event, trial)
        self._news = [*self._news, line][-NEWEST:]
        if not self._live:
            ended, expected = self._engine.count()
            self._console.print(f"{self._clock()}  {ended}/{expected}  {line}", soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line that is no event of a trial; above the panel, where there is one."""
        self._console.print(f"{self._clock()}  {line}", soft_wrap=True)

    def _line(self, event: str, trial: Trial) -> str:
        assert self._engine
        what = (
            "source"
            if trial.row is None
            else f"row {trial.row} ({self._engine.sweep.planned[trial.row].label})"
        )
        if self._engine.sweep.searches > 1 and trial.row is not None:
            what += f" search {trial.search}"
        seed = f" seed {trial.config.seed}"
        seed += f" fold {trial.config.fold}" if trial.config.folds else ""
        role = {"finalist": f" finalist{seed}", "final": seed}.get(trial.role, "")
        if event == "done" and trial.best is not None:
            ending = (
                f"stopped after epoch {trial.stopped_at}"
                if trial.stopped_at is not None
                else "finished"
            )
            select = self._engine.sweep.select
            score = f"{metric_words(select)} {score_with_unit(select, trial.best)}"
            return f"{trial.name} {what}{role}: {ending}, {score}"
        if event == "notice":
            return f"{trial.name} {what}{role}: {trial.notice}"
        problem = f": {(trial.problem or '').splitlines()[0]}" if trial.problem else ""
        return f"{trial.name} {what}{role}: {'resumes' if event == 'again' else event}{problem}"

    def _clock(self) -> str:
        return clock(time.monotonic() - self._started)

    def _panel(self) -> RenderableType:
        """Return the panel, made anew if that takes no more than its share of the time.

        It looks at every trial of the sweep.
        """
        started = time.monotonic()
        if self._made is None or started >= self._next:
            most_rows = max(1, min(MOST_ROWS, self._console.height - OTHER_LINES))
            self._made = render_panel(self.standing(), most_rows)
            now = time.monotonic()
            self._next = now + (now - started) / SHARE
        return self._made

    def standing(self) -> Standing:
        """Return how far the sweep is now."""
        assert self._engine
        engine, sweep = self._engine, self._engine.sweep
        backlog, waiting = engine.place.backlog, engine.without_worker()
        return Standing(
            name=engine.folder.name,
            path=str(engine.folder.path),
            head=self._head,
            select=sweep.select,
            mode=sweep.mode,
            repeated="folds" if sweep.folds else "seeds",
            rows=[self._row(number, waiting) for number in range(len(self._names))],
            since=self._clock(),
            device_hours=sum(trial.seconds for trial in engine.trials()) / 3600 * self._processes,
            slots=engine.place.slots * engine.place.together,
            sources=_standings(engine.sources.values(), waiting),
            queued=len(waiting) if backlog else 0,
            reasons=backlog.reasons if backlog else (),
            report=self._report(),
            news=self._news,
        )

    def _row(self, number: int, waiting: Collection[str]) -> RowStanding:
        """Return how far a row is, with all of its searches."""
        assert self._engine
        sweep = self._engine.sweep
        is_run = sweep.is_run(number)
        searches = [row for row in self._engine.rows if row.number == number]
        winners = [winner for row in searches if (winner := row.winner())]
        best = next(iter(rank(winners, sweep.mode)), None)
        return RowStanding(
            name=self._names[number],
            search=_standings((t for row in searches for t in row.trials), waiting),
            finals=_standings((t for row in searches for t in row.finals or []), waiting),
            budget=sum(row.budget if is_run else len(row.trials) for row in searches),
            seeds=sum(max(row.seeds * is_run, len(row.finals or ())) for row in searches),
            best=None if best is None else best.best,
            finalists=_standings((t for row in searches for t in row.finalist_runs), waiting),
            finalist_runs=sum(
                sweep.finalist_runs * is_run if row.finalists is None else len(row.finalist_runs)
                for row in searches
            ),
        )

    def _report(self) -> str | None:
        assert self._engine
        path = self._engine.folder.report_path
        with contextlib.suppress(OSError):  # an outage
            return str(path) if path.exists() else None
        return None


def _standings(trials: Iterable[Trial], waiting: Collection[str]) -> list[TrialStanding]:
    return [
        TrialStanding(
            _outcome(trial, waiting),
            trial.seconds,
            trial.last_epoch if trial.last_epoch >= 0 else None,
            trial.config.epochs,
        )
        for trial in trials
    ]


def _outcome(trial: Trial, waiting: Collection[str]) -> str:
    if trial.status == "running" and trial.name in waiting:
        return "waiting"
    if trial.status == "done":
        return "finished" if trial.stopped_at is None else "stopped"
    return trial.status
