"""The wording that the report's sentences share."""

from collections.abc import Sequence

from fieldtrial.fields.scores import is_share, score_text
from fieldtrial.fields.task_metrics import metric_of
from fieldtrial.results.read.wording import few, p_text, signed_text, size_text, span_text
from fieldtrial.results.report.data import label
from fieldtrial.results.verdicts.comparisons import Comparison
from fieldtrial.results.verdicts.estimates import Interval

MOST_NAMED = 4
MARGIN = 0.01  # of the metric: a row that is shown to lose less than this is no worse
Finding = dict[str, str]


def finding(kind: str, text: str) -> Finding:
    """Return a sentence; kind: shown, open or caution."""
    return {"kind": kind, "text": text}


def margin(metric: str, mean: float) -> float:
    """Return the loss that makes a row no worse than one with this mean.

    It is MARGIN; of an error in the unit of what is learned, that share of the mean.
    """
    known = metric_of(metric)
    return MARGIN * abs(mean) if known and known.in_units else MARGIN


def mean_text(metric: str, interval: Interval) -> str:
    """Return the mean with its unit."""
    return f"{score_text(metric, interval.mean)}{per_cent(metric)}"


def interval_text(metric: str, interval: Interval) -> str:
    """Return the 95 % interval, if there is one, and the number of runs."""
    if interval.low is None or interval.high is None:
        return f"n = {interval.runs}"
    ends = f"{score_text(metric, interval.low)} to {score_text(metric, interval.high)}"
    return f"95 % interval {ends}{per_cent(metric)}; n = {interval.runs}"


def metric_name(metric: str) -> str:
    """Return what a metric is called in a sentence."""
    return label(metric).removesuffix(" (%)")


def per_cent(metric: str) -> str:
    """Return the unit of a score."""
    return " %" if is_share(metric) else ""


def points(metric: str) -> str:
    """Return the unit of a difference."""
    return " points" if is_share(metric) else ""


def list_text(texts: Sequence[str]) -> str:
    """Return a list of names, shortened."""
    return few(texts, MOST_NAMED)


def difference_text(metric: str, one: Comparison) -> str:
    """Return a difference with its interval."""
    difference = f"{signed_text(metric, one.difference)}{points(metric)}"
    return f"{difference}, interval {span_text(metric, one.low, one.high)}"


def sizes_text(metric: str, shown: Sequence[Comparison]) -> str:
    """Return the smallest and the largest of the differences, and the largest p."""
    ordered = sorted(abs(one.difference) for one in shown)
    least, most = (size_text(metric, size) for size in (ordered[0], ordered[-1]))
    span = most if least == most else f"{least.removesuffix(' points')} to {most}"
    p = p_text(max(one.corrected_p for one in shown))
    return f"{span} ({p if len(shown) == 1 else p.replace('=', '≤')})"


def short(value: float) -> str:
    """Return a number with two digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2g}"
