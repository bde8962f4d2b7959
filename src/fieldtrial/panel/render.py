"""The panel that shows how far a sweep is."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fieldtrial.fields.printable import counted, printable
from fieldtrial.fields.scores import is_share, score_text, score_with_unit
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.panel.standing import OUTCOMES, Standing
from fieldtrial.panel.terminal import clock, format_hours, plain

BAR_WIDTH = 60
BEST, EPOCHS, FINALISTS = "best", "epochs", "finalists"
RESULTS = (EPOCHS, "seeds", "folds")  # that stay in a narrow panel, beside the best
COUNTERS = ("running", "failed", FINALISTS, "finished", "waiting", "stopped")  # the last goes first
GAP = 2  # between columns


def render_panel(standing: Standing, most_rows: int) -> Group:
    """Return the panel as a renderable of rich, with at most `most_rows` rows.

    Where it is narrow, the rows' names and results stay, and counters are left out.
    """
    head = plain(
        f"{standing.name}  {standing.since}  {standing.ended} of {standing.expected} trials, "
        f"{standing.counts['running']} running, {_queued(standing)}"
        f"{standing.counts['failed']} failed  ->  {standing.path}"
    )
    bar = Table.grid()  # a bar alone would not end its line
    bar.add_row(
        ProgressBar(total=max(1, standing.expected), completed=standing.ended, width=BAR_WIDTH)
    )
    lines = [plain(line, style="dim", overflow="ellipsis") for line in standing.news]
    return Group(head, plain(summary_line(standing)), bar, _Rows(standing, most_rows), *lines)


def summary_line(standing: Standing) -> str:
    """Return the best value so far, device-hours, time left and the report's path, in a line."""
    better = max if standing.mode == "max" else min
    known = [row for row in standing.rows if row.best is not None]
    best = better(known, key=lambda row: row.best or 0.0, default=None)
    left = standing.seconds_left()
    what = metric_words(standing.select)
    parts = []
    if best and best.best is not None:
        parts += [f"best {what} {score_with_unit(standing.select, best.best)} ({best.name})"]
    parts += [f"{format_hours(standing.device_hours)} device-hours"]
    parts += [f"about {clock(left)} left"] if left else []
    parts += [f"report: {standing.report}"] if standing.report else []
    return ", ".join(parts)


def _queued(standing: Standing) -> str:
    reasons = f" ({', '.join(standing.reasons)})" if standing.reasons else ""
    return f"{standing.queued} waiting for jobs{reasons}, " if standing.queued else ""


@dataclass(frozen=True)
class _Rows:
    """The panel's rows, as a renderable of rich that takes the width there is."""

    standing: Standing
    most: int

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        rows, columns = self.standing.rows[: self.most], self._columns()
        widths = {
            name: max(map(len, (*name.split("\n"), *texts))) for name, texts in columns.items()
        }
        names = [printable(row.name) for row in rows]
        results = [name for name in columns if name.startswith(BEST) or name in RESULTS]
        left = options.max_width - sum(widths[name] + GAP for name in results)
        left -= min(left, max(map(len, (self.standing.head, *names))))
        kept = set(results)
        for name in COUNTERS:
            if name in columns and (width := widths[name] + GAP) <= left:
                left -= width
                kept.add(name)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        table.add_column(plain(self.standing.head), no_wrap=True, overflow="ellipsis")
        for name in columns:
            if name in kept:
                table.add_column(Text(name), no_wrap=True, min_width=widths[name])
        for place, row in enumerate(rows):
            cells = (columns[name][place] for name in columns if name in kept)
            table.add_row(plain(row.name), *cells)
        more = len(self.standing.rows) - len(rows)
        left_out = [name for name in columns if name not in kept]
        if more:
            table.caption = plain(f"and {counted(more, 'more row')}")
        yield table
        if left_out:
            yield plain(f"left out at this width: {', '.join(left_out)}", style="dim")

    def _columns(self) -> dict[str, list[str]]:
        """Return the head and the cells of each column beside the rows' names."""
        select, rows = self.standing.select, self.standing.rows[: self.most]
        first, _, rest = metric_words(select).partition(" ")
        unit = " %" if is_share(select) else ""
        columns = {outcome: [str(row.counts[outcome]) for row in rows] for outcome in OUTCOMES}
        columns |= {EPOCHS: [row.epochs for row in rows]}
        best = [row.best for row in rows]
        texts = ["" if value is None else score_text(select, value) for value in best]
        columns |= {f"{BEST} {first}\n{rest}{unit}": texts}
        if any(row.finalist_runs for row in self.standing.rows):
            ended = [sum(not trial.live for trial in row.finalists) for row in rows]
            # More have run, if the sweep asked for more once.
            runs = [max(row.finalist_runs, len(row.finalists)) for row in rows]
            columns |= {FINALISTS: [f"{n}/{of}" for n, of in zip(ended, runs, strict=True)]}
        return columns | {self.standing.repeated: [f"{row.tested}/{row.seeds}" for row in rows]}
