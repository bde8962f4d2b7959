"""Text on a terminal, in which nothing is markup or a terminal's command."""

from typing import Any

from rich.console import Console
from rich.text import Text

from fieldtrial.fields.printable import printable, printable_lines

WIDTH_WITHOUT_TERMINAL = 400  # characters: no line of a log file is folded


def plain(text: str, **how: Any) -> Text:
    """Return a renderable of rich in which nothing is markup or a terminal's command.

    how: further arguments of rich's Text.
    """
    return Text(printable(text), **how)


class PlainConsole(Console):
    """Prints lines of text unchanged, but for what a terminal would take for commands."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does."""
        super().print(
            *(printable_lines(one) if isinstance(one, str) else one for one in objects), **how
        )


def console(**how: Any) -> PlainConsole:
    """Return a console that prints text unchanged. how: further arguments of rich's Console."""
    made = PlainConsole(markup=False, highlight=False, **how)
    if not made.is_terminal:
        made.width = WIDTH_WITHOUT_TERMINAL
    return made


def format_hours(hours: float) -> str:
    """Return device-hours with three significant digits."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
