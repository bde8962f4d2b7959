"""How people read scores: shares in per cent everywhere, other metrics as they are."""


def is_share(name: str) -> bool:
    """Return whether a measure is a share, which people read in per cent."""
    return name.endswith(("accuracy", "_f1"))


def score_text(metric: str, value: float) -> str:
    """Return a score without its unit: shares in per cent."""
    return f"{100 * value:.2f}" if is_share(metric) else f"{value:.4f}"


def score_with_unit(metric: str, value: float) -> str:
    """Return a score as it stands in a line: '93.21 %', or '0.4321' for a loss."""
    return score_text(metric, value) + (" %" if is_share(metric) else "")


def number_with_unit(name: str, value: float) -> str:
    """Return any number of a result with four significant digits: shares in per cent."""
    return f"{100 * value:.4g} %" if is_share(name) else f"{value:.4g}"
