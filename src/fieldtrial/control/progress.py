"""What a sweep shows while it runs: one live panel on a terminal, plain lines in a log file."""

import time
from collections import Counter

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fieldtrial.control.engine import Engine
from fieldtrial.control.trial import Trial

MOST_ROWS = 30
REFRESHES_PER_SECOND = 4
NEWEST = 4


class Progress:
    """Hears the engine's events. On a terminal it keeps a panel up to date; elsewhere it prints a line for each end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._engine: Engine | None = None
        self._started = time.monotonic()
        self._news: list[str] = []

    def follow(self, engine: Engine) -> "Progress":
        """Say whose state the panel shows. Use the result as a context manager around the engine's run."""
        self._engine = engine
        return self

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._panel,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def hear(self, event: str, trial: Trial) -> None:
        """Take in an event of the engine."""
        if event in ("started", "stopping") or self._engine is None:
            return
        line = self._line(event, trial)
        self._news = [*self._news, line][-NEWEST:]
        if not self._live:
            ended, expected = self._count()
            self._console.print(f"{self._clock()}  {ended}/{expected}  {line}", soft_wrap=True)

    def _line(self, event: str, trial: Trial) -> str:
        assert self._engine
        what = "source" if trial.row is None else f"row {trial.row} ({self._engine.sweep.row_label(trial.row)})"
        role = f" seed {trial.config.seed}" if trial.role == "final" else ""
        if event == "done" and trial.best is not None:
            ending = f"told to stop after epoch {trial.stopped_at}" if trial.stopped_at is not None else "done"
            return f"{trial.name} {what}{role}: {ending}, {self._engine.sweep.select} {trial.best:.4f}"
        if event == "notice":
            return f"{trial.name} {what}{role}: {trial.notice}"
        problem = f": {(trial.problem or '').splitlines()[0]}" if trial.problem else ""
        return f"{trial.name} {what}{role}: {'starts again' if event == 'again' else event}{problem}"

    def _count(self) -> tuple[int, int]:
        """Return how many trials have ended, and how many there will be."""
        assert self._engine
        sweep = self._engine.sweep
        expected = len(self._engine.sources) + len(sweep.rows) * (sweep.trials_per_row + sweep.seeds)
        return sum(not trial.live for trial in self._engine.trials()), expected

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

    def _panel(self) -> RenderableType:
        assert self._engine
        ended, expected = self._count()
        statuses = Counter(trial.status for trial in self._engine.trials())
        head = Text(
            f"{self._engine.folder.name}  {self._clock()}  {ended} of {expected} trials, "
            f"{statuses['running']} running, {statuses['failed']} failed  ->  {self._engine.folder.path}"
        )
        bar = Table.grid()  # a bar alone would not end its line
        bar.add_row(ProgressBar(total=max(1, expected), completed=ended, width=60))
        return Group(head, bar, self._table(), *(Text(line, style="dim", overflow="ellipsis") for line in self._news))

    def _table(self) -> Table:
        assert self._engine
        sweep = self._engine.sweep
        table = Table(
            *sweep.compared, "tried", "stopped", "failed", f"best {sweep.select}", "seeds", box=None, pad_edge=False
        )
        for row in self._engine.rows[:MOST_ROWS]:
            best = row.winner()
            ended = [trial for trial in row.trials if not trial.live]
            table.add_row(
                *sweep.row_cells(row.number),
                f"{len(ended)}/{row.budget}",
                str(sum(trial.stopped_at is not None for trial in ended)),
                str(sum(trial.status == "failed" for trial in ended)),
                "" if best is None else f"{best.best:.4f}",
                f"{sum(not trial.live for trial in row.finals or [])}/{row.seeds}",
            )
        if len(self._engine.rows) > MOST_ROWS:
            table.caption = f"and {len(self._engine.rows) - MOST_ROWS} more rows"
        return table
