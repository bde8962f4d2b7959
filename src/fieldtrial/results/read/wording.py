"""Words that tables, reports and messages share."""

from collections.abc import Sequence

from fieldtrial.fields.scores import is_share

# Of a folder alone, nobody can say whether a process still trains.
OUTCOMES = {
    "stopped": "stopped early",
    "running": "running or interrupted",
}  # the other outcomes are called what they are


def few(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first `most` texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def listed(texts: Sequence[str]) -> str:
    """Return 'one', 'one and two', or 'one, two and three'."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def outcome_text(outcome: object) -> str:
    """Return what a trial's outcome is called in a sentence."""
    return OUTCOMES.get(str(outcome), str(outcome))


def size_text(metric: str, value: float) -> str:
    """Return the size of a difference of scores with its unit: shares in points."""
    return f"{abs(100 * value):.1f} points" if is_share(metric) else f"{abs(value):.3g}"


def signed_text(metric: str, value: float) -> str:
    """Return a difference of scores with its sign and without its unit: shares in points."""
    text = f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3g}"
    if not float(text) and abs(100 * value) >= 0.005:  # so that an interval without 0 shows none
        text = f"{100 * value:+.2f}"
    return text.replace("-", "−") if float(text) else text[1:]


def span_text(metric: str, low: float, high: float) -> str:
    """Return an interval of differences: '−1.2 to +3.4'."""
    return f"{signed_text(metric, low)} to {signed_text(metric, high)}"


def p_text(value: float) -> str:
    """Return a p-value as 'p = 0.021' or 'p < 0.0001'."""
    if value < 0.0001:
        return "p < 0.0001"
    return f"p = {value:.4f}" if 0.0495 <= value < 0.0505 else f"p = {value:.2g}"
