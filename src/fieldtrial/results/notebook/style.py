"""How the figures for notebooks look: the colours and axes of the report."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from fieldtrial.results.report.data import Column

# After M. Okabe and K. Ito: they are told apart with any colour vision. The last is for the rest.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b5528f", "#c98a00", "#3a9bd0", "#6b7480")
TEXT, MUTED, RULE = "#1b2126", "#6b7480", "#dfe3e7"
LONGEST = 40  # letters of a name in a legend


def figure(traces: Sequence[Any], **layout: Any) -> go.Figure:
    """Return the figure of the traces; `layout` is plotly's."""
    made = go.Figure(list(traces))
    axis = {"gridcolor": RULE, "linecolor": MUTED, "zeroline": False, "automargin": True}
    made.update_xaxes(**axis)
    made.update_yaxes(**axis)
    made.update_layout(
        font={"color": TEXT, "size": 13},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 56, "r": 16, "t": 40, "b": 48},
        hovermode="closest",
        **layout,
    )
    return made


def empty(said: str) -> go.Figure:
    """Return a figure that says why there is nothing to see."""
    made = figure([], height=160)
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    return made.add_annotation(text=shown(said), showarrow=False, x=0.5, y=0.5)


def shown(text: str, longest: int | None = None) -> str:
    """Return a text that plotly shows as it is: names may come from a stranger's files."""
    cut = text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"
    return html.escape(cut, quote=False)


def axis(column: Column, title: str = "") -> dict[str, Any]:
    """Return the axis of a column of numbers."""
    kind = "log" if column.get("log") else "linear"
    return {"title": {"text": shown(title or column["label"])}, "type": kind}


def scaled(column: Column, places: Sequence[int]) -> list[float | None]:
    """Return a column's numbers at these places, shares in per cent, as the axis has them."""
    scale = column["scale"]
    values = [column["values"][place] for place in places]
    return [None if value is None else value * scale for value in values]
