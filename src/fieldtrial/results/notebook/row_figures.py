"""Figures of a sweep's rows, as in the report: what they scored, and what their search found."""

from typing import Any

import plotly.graph_objects as go

from fieldtrial.results.notebook.loaded import Loaded, Source, loaded
from fieldtrial.results.notebook.style import LONGEST, SERIES, empty, figure, shown
from fieldtrial.results.report import data
from fieldtrial.results.report import table as report_table
from fieldtrial.results.report.answers.sections import CLASSES, answers_section
from fieldtrial.results.report.data import label
from fieldtrial.results.report.tested import ComparedRows

NO_ROW = "No row has been tested yet."
NO_PREDICTIONS = "No test predictions are stored."


def tested_rows(own: Loaded) -> ComparedRows:
    """Return the rows that have been tested. Raises ValueError where there are several sweeps."""
    return ComparedRows(own.made.groups, own.description.labels)


def estimates(source: Source) -> go.Figure:
    """Return the mean of each tested row on test, with its 95 % interval, the best first.

    Intervals are of each row alone: whether two rows differ is in `verdicts`.
    """
    own = loaded(source)
    tested = tested_rows(own)
    rows = report_table.estimates(tested, own.made.ensemble)
    if not rows:
        return empty(NO_ROW)
    traces = []
    for is_marked, name, colour in (
        (True, "may be the best: not shown to be beaten", SERIES[0]),
        (False, "the others", SERIES[-1]),
    ):
        places = [place for place, row in enumerate(rows) if row["marked"] == is_marked]
        if not places:
            continue
        chosen = [rows[place] for place in places]
        ends = {
            "array": [_end(row["high"], row["mean"]) - row["mean"] for row in chosen],
            "arrayminus": [row["mean"] - _end(row["low"], row["mean"]) for row in chosen],
        }
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": name,
                "x": [row["mean"] for row in chosen], "y": places,
                "text": [shown(row["text"]) for row in chosen],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"size": 10, "color": colour},
                "error_x": {"type": "data", "symmetric": False, "color": colour, **ends},
            }
        )  # fmt: skip
    names = [shown(row["label"], 70) for row in rows]
    down = {"tickvals": list(range(len(rows))), "ticktext": names, "range": [len(rows) - 0.4, -0.6]}
    across = {"title": {"text": label(tested.metric)}}
    return figure(traces, xaxis=across, yaxis=down, height=100 + 26 * len(rows))


def _end(end: float | None, mean: float) -> float:
    return mean if end is None else end


def budget(source: Source) -> go.Figure:
    """Return the best validation that each row is expected to have found with fewer trials.

    See `results.analysis.search_budget` for its source.
    """
    own = loaded(source)
    lines = data.budget(own.made.groups, own.description.labels)["lines"]
    if not lines:
        return empty("No row has two search trials that count yet.")
    last = len(SERIES) - 1
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "x": line["trials"], "y": line["best"],
            "name": shown(line["label"], LONGEST), "line": {"color": SERIES[min(at, last)]},
        }
        for at, line in enumerate(lines)
    ]  # fmt: skip
    select = label(own.description.select)
    found = {"title": {"text": f"expected best {select}"}}
    return figure(traces, xaxis={"title": {"text": "search trials"}}, yaxis=found)


def confusion(source: Source, row: int | None = None) -> go.Figure:
    """Return which classes a row's tested runs took for which, as shares of each class.

    row: its number in the table, from 0; by default that of the best mean.

    Raises:
        ValueError: the row has no stored predictions of classes.
    """
    classes = _classes(loaded(source), row)
    if classes is None:
        return empty(NO_PREDICTIONS)
    names, counts = [shown(name, 16) for name in classes["names"]], classes["confusion"]
    trace = {
        "type": "heatmap", "x": names, "y": names, "zmin": 0, "zmax": 1,
        "z": [[count / max(1, sum(line)) for count in line] for line in counts],
        "text": [[count or "" for count in line] for line in counts], "texttemplate": "%{text}",
        "colorscale": [[0, "#f3f5f7"], [1, SERIES[0]]],
        "colorbar": {"title": {"text": "share of the class"}, "tickformat": ".0%"},
    }  # fmt: skip
    actual = {"autorange": "reversed", "title": {"text": "actual"}}
    return figure([trace], xaxis={"title": {"text": "predicted"}}, yaxis=actual, height=460)


def class_accuracy(source: Source, row: int | None = None) -> go.Figure:
    """Return the accuracy in each class, the hardest first, with 95 % intervals, and its F1.

    row: as in `confusion`.
    """
    classes = _classes(loaded(source), row)
    if classes is None:
        return empty(NO_PREDICTIONS)
    accuracy, ends = classes["accuracy"], classes["interval"]
    order = sorted(
        (place for place, value in enumerate(accuracy) if value is not None),
        key=lambda place: accuracy[place],
    )
    names = [shown(classes["names"][place], 24) for place in order]
    bounds = [ends[place] or [accuracy[place], accuracy[place]] for place in order]
    errors = {
        "array": [100 * max(0, b[1] - accuracy[p]) for p, b in zip(order, bounds, strict=True)],
        "arrayminus": [
            100 * max(0, accuracy[p] - b[0]) for p, b in zip(order, bounds, strict=True)
        ],
    }
    bars = {
        "type": "bar", "orientation": "h", "name": "accuracy", "y": names,
        "x": [100 * accuracy[place] for place in order], "marker": {"color": SERIES[0]},
        "error_x": {"type": "data", "symmetric": False, **errors},
    }  # fmt: skip
    f1 = {
        "type": "scatter", "mode": "markers", "name": "F1", "y": names,
        "x": [100 * classes["f1"][place] for place in order],
        "marker": {"symbol": "diamond", "size": 9, "color": SERIES[1]},
    }  # fmt: skip
    across = {"range": [0, 101], "title": {"text": "accuracy in the class, and F1 (%)"}}
    down = {"autorange": "reversed"}
    return figure([bars, f1], xaxis=across, yaxis=down, height=max(220, 110 + 28 * len(names)))


def roc(source: Source, row: int | None = None) -> go.Figure:
    """Return the ROC curve of each class against the others: those with the smallest area.

    row: as in `confusion`.
    """
    classes = _classes(loaded(source), row)
    if classes is None:
        return empty(NO_PREDICTIONS)
    traces = [
        {
            "type": "scatter", "mode": "lines", "x": curve["false_positive"],
            "y": curve["true_positive"], "line": {"color": SERIES[at % len(SERIES)]},
            "name": f"{shown(curve['name'], 20)} (AUC {curve['auc']:.3f})",
        }
        for at, curve in enumerate(classes["roc"])
    ]  # fmt: skip
    across = {"title": {"text": "false positive rate"}}
    return figure(traces, xaxis=across, yaxis={"title": {"text": "true positive rate"}})


def _classes(own: Loaded, row: int | None) -> dict[str, Any] | None:
    """Return what the report says of a row's classes, None without any stored predictions."""
    tested = tested_rows(own)
    section, found, _ = answers_section(own.folder, tested)
    if section != CLASSES:
        return None
    if row is None:
        return found[0]
    labels = own.description.labels
    name = labels[row] if 0 <= row < len(labels) else ""
    chosen = [one for one in found if one["label"] == name]
    if not chosen:
        known = ", ".join(str(labels.index(one["label"])) for one in found)
        raise ValueError(f"row = {row}: must be one with stored predictions: {known}")
    return chosen[0]
