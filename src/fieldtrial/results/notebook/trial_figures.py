"""Figures of a sweep's trials, as in the report: results over time, by field, by epoch, by cost."""

import math
from typing import Any

import plotly.graph_objects as go

from fieldtrial.fields.scores import is_share
from fieldtrial.results.analysis.importance import Importance, order_of, rank_hyperparameters
from fieldtrial.results.notebook.drawn import DrawnTrials
from fieldtrial.results.notebook.loaded import Source
from fieldtrial.results.notebook.style import (
    LONGEST,
    MUTED,
    SERIES,
    TEXT,
    axis,
    empty,
    figure,
    scaled,
    shown,
)
from fieldtrial.results.report.build import MOST_AXES
from fieldtrial.results.report.data import Column, ended, label

NO_TRIAL = "No trial to show."
ACROSS = 3  # slices beside each other
NO_FIELD = "No hyperparameter differs between the trials."


def over_time(source: Source, colour: str = "row") -> go.Figure:
    """Return what each search trial reached, by when it began; the line is the best so far.

    colour: what points are coloured by: row, outcome, role or a field, here and below.
    """
    drawn = DrawnTrials.of(source)
    begun, result = drawn.columns["created"], drawn.result
    places = sorted(drawn.with_values(begun, result), key=lambda place: begun["values"][place])
    if not result or not places:
        return empty(NO_TRIAL)
    moments, reached = begun["values"], result["values"]
    steps = [places[0]]
    for place in places:
        if drawn.sign * reached[place] > drawn.sign * reached[steps[-1]]:
            steps.append(place)
    ends = [*scaled(result, steps), result["scale"] * reached[steps[-1]]]
    line = {
        "type": "scatter", "mode": "lines", "name": "best so far", "hoverinfo": "skip",
        "x": [*(moments[place] for place in steps), moments[places[-1]]], "y": ends,
        "line": {"color": MUTED, "shape": "hv", "width": 1.5},
    }  # fmt: skip
    points = drawn.points(begun, result, places, colour)
    began = {"type": "date", "title": {"text": "began (UTC)"}}
    return figure([line, *points], xaxis=began, yaxis=axis(result))


def cost(source: Source, measure: str = "minutes", colour: str = "row") -> go.Figure:
    """Return what trials reached by what they cost, with the Pareto front.

    measure: minutes, minutes_alone, parameters, flops, or another number of the results.

    Raises:
        ValueError: no trial has the measure.
    """
    drawn = DrawnTrials.of(source)
    if (spent := drawn.columns.get(measure)) is None or spent["kind"] != "number":
        known = [name for name, one in drawn.columns.items() if one["kind"] == "number"]
        raise ValueError(f"measure = {measure!r}: must be one of {', '.join(known)}")
    places = drawn.with_values(spent, drawn.result)
    if not drawn.result or not places:
        return empty(NO_TRIAL)
    x, y, sign = spent["values"], drawn.result["values"], drawn.sign
    front = list[int]()
    for place in sorted(places, key=lambda one: (x[one], -sign * y[one])):
        if not front or sign * y[place] > sign * y[front[-1]]:
            front.append(place)
    line = {
        "type": "scatter", "mode": "lines", "name": f"Pareto front ({len(front)})",
        "x": scaled(spent, front), "y": scaled(drawn.result, front), "hoverinfo": "skip",
        "line": {"color": TEXT, "shape": "hv", "dash": "dot", "width": 1.5},
    }  # fmt: skip
    points = drawn.points(spent, drawn.result, places, colour)
    return figure([*points, line], xaxis=axis(spent), yaxis=axis(drawn.result))


def slices(source: Source, colour: str = "row") -> go.Figure:
    """Return each hyperparameter against the result, whatever the others were."""
    drawn = DrawnTrials.of(source)
    names, result = drawn.hyperparameters, drawn.result
    places = drawn.with_values(result)
    if not result or not places or not names:
        return empty(NO_TRIAL if names else NO_FIELD)
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    traces, axes = list[dict[str, Any]](), dict[str, Any]()
    for number, name in enumerate(names):
        end = str(number + 1) if number else ""
        column = drawn.columns[name]
        x, axes[f"xaxis{end}"] = _across(drawn, column)
        is_first = number % across == 0
        title = {"title": {"text": shown(result["label"])}} if is_first else {}
        axes[f"yaxis{end}"] = {**title, **({"matches": "y"} if number else {})}
        on = {"xaxis": f"x{end}", "yaxis": f"y{end}", "showlegend": number == 0}
        traces += [trace | on for trace in drawn.points(x, result, places, colour)]
    grid = {"rows": down, "columns": across, "pattern": "independent", "ygap": 0.3}
    return figure(traces, **axes, grid=grid, height=60 + 250 * down)


def _across(drawn: DrawnTrials, column: Column) -> tuple[Any, dict[str, Any]]:
    """Return what `DrawnTrials.points` takes for x, and the axis: choices at equal distances."""
    if column["kind"] == "number" and "steps" not in column:
        return column, axis(column, column["name"])
    texts = [drawn.text(column, place) for place in range(len(drawn.frame))]
    order = order_of(set(texts)) or {text: rank for rank, text in enumerate(sorted(set(texts)))}
    ticks = {"tickvals": list(order.values()), "ticktext": [shown(text, 14) for text in order]}
    return (lambda place: order[texts[place]]), {"title": {"text": shown(column["name"])}, **ticks}


def parallel(source: Source) -> go.Figure:
    """Return the trials as lines across axes: the hyperparameters that matter most, and the result.

    Drag along an axis to choose a range of it.
    """
    drawn = DrawnTrials.of(source)
    if not drawn.result or not drawn.hyperparameters:
        return empty(NO_FIELD if drawn.result else NO_TRIAL)
    ranked = [*_importance(drawn).names, *drawn.hyperparameters]
    names = list(dict.fromkeys(ranked))[:MOST_AXES]
    places = drawn.with_values(drawn.result, *(drawn.columns[name] for name in names))
    dimensions = []
    for column in (*(drawn.columns[name] for name in names), drawn.result):
        x, about = _across(drawn, column)
        values: list[Any] = [*map(x, places)] if callable(x) else scaled(column, places)
        ticks: dict[str, Any] = {
            key: about[key] for key in ("tickvals", "ticktext") if key in about
        }
        if about.get("type") == "log" and values:  # such an axis has no logarithms of its own
            values = [math.log10(value) for value in values]
            powers = list(range(math.floor(min(values)), math.ceil(max(values)) + 1))
            ticks = {"tickvals": powers, "ticktext": [f"{10.0**power:g}" for power in powers]}
        dimensions.append({"label": shown(column["label"]), "values": values, **ticks})
    line = {"color": scaled(drawn.result, places), "colorscale": "Viridis", "showscale": True}
    return figure([{"type": "parcoords", "line": line, "dimensions": dimensions}])


def importance(source: Source) -> go.Figure:
    """Return how much of the variance each hyperparameter explains, beside its rank correlation.

    See `rank_hyperparameters`.
    """
    found = _importance(DrawnTrials.of(source))
    if not found.names:
        return empty(found.note)
    names = [shown(name) for name in found.names]
    bar = {"type": "bar", "orientation": "h", "y": names, "showlegend": False}
    one = bar | {"x": found.fanova, "marker": {"color": SERIES[0]}}
    two = bar | {"x": found.correlation, "marker": {"color": SERIES[1]}, "xaxis": "x2"}
    left = {"domain": [0, 0.46], "title": {"text": "share of the variance (fANOVA)"}}
    right = {"domain": [0.54, 1], "title": {"text": "rank correlation (Spearman)"}}
    downwards = {"autorange": "reversed"}
    height = 110 + 34 * len(names)
    return figure([one, two], xaxis=left, xaxis2=right, yaxis=downwards, height=height)


def _importance(drawn: DrawnTrials) -> Importance:
    select = drawn.description.select
    well = drawn.frame.index.isin(ended(drawn.frame, select).index)
    columns = [drawn.columns[name] for name in drawn.hyperparameters]
    return rank_hyperparameters(columns, drawn.frame[select].where(well))


def curves(source: Source, metric: str | None = None, colour: str = "row") -> go.Figure:
    """Return the learning curves of the trials; a cross is where one was stopped early.

    metric: a column of the epochs; by default what chooses the winner.

    Raises:
        ValueError: no epoch has the metric.
    """
    drawn = DrawnTrials.of(source)
    name, epochs = metric or drawn.description.select, drawn.source.epochs
    if epochs.empty:
        return empty("No epoch has been recorded yet.")
    if name not in epochs:
        raise ValueError(f"metric = {name!r}: must be one of {', '.join(map(str, epochs))}")
    scale = 100 if is_share(name) else 1
    known = {str(trial): own for trial, own in epochs.groupby("trial", observed=True)}
    traces, stops = list[dict[str, Any]](), list[tuple[float, float, str]]()
    there = [place for place, trial in enumerate(drawn.frame["trial"]) if trial in known]
    for group in drawn.coloured(there, colour):
        x, y, text = list[float | None](), list[float | None](), list[str]()
        for place in group.places:
            own, said = known[drawn.frame["trial"][place]], drawn.label(place)
            values = (own[name].astype(float) * scale).tolist()
            x += [*own["epoch"].tolist(), None]
            y += [*values, None]
            text += [*[said] * len(own), ""]
            if drawn.frame["outcome"][place] == "stopped":
                stops.append((int(own["epoch"].iloc[-1]), values[-1], said))
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": shown(group.name, LONGEST), "x": x,
                "y": y, "text": text, "line": {"color": group.colour, "width": 1.3},
                "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
            }
        )  # fmt: skip
    if stops:
        x_stops, y_stops, said_stops = zip(*stops, strict=True)
        cross = {"symbol": "x-thin", "size": 7, "line": {"width": 1.6, "color": TEXT}}
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "stopped early here", "x": x_stops,
                "y": y_stops, "text": said_stops, "marker": cross,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    return figure(
        traces, xaxis={"title": {"text": "epoch"}}, yaxis={"title": {"text": label(name)}}
    )
