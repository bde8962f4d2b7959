"""How people read scores: shares in per cent everywhere, other metrics as they are."""

from fieldtrial.fields.task_metrics import metric_of


def is_share(name: str) -> bool:
    """Return whether a measure is a share, which people read in per cent."""
    metric = metric_of(name)
    return metric.is_share if metric else name.endswith(("accuracy", "_f1", "_ap"))


def score_text(metric: str, value: float) -> str:
    """Return a score without its unit: shares in per cent.

    An error in the unit of what is learned has four digits, however large or small it is.
    """
    if is_share(metric):
        return f"{100 * value:.2f}"
    known = metric_of(metric)
    return f"{value:.4g}" if known and known.in_units else f"{value:.4f}"


def score_with_unit(metric: str, value: float) -> str:
    """Return a score as it stands in a line: '93.21 %', or '0.4321' for a loss."""
    return score_text(metric, value) + (" %" if is_share(metric) else "")


def number_with_unit(name: str, value: float) -> str:
    """Return any number of a result with four significant digits: shares in per cent."""
    return f"{100 * value:.4g} %" if is_share(name) else f"{value:.4g}"
