"""Words that tables, reports and messages share."""

from fieldtrial.config import FIELDS

OUTCOMES = {"stopped": "stopped early"}  # the other outcomes are called what they are


def counted(count: int, what: str = "trial") -> str:
    """Return '1 trial' or '3,000 trials'."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def outcome_text(outcome: object) -> str:
    """Return what a trial's outcome is called in a sentence."""
    return OUTCOMES.get(str(outcome), str(outcome))


def is_share(name: str) -> bool:
    """Return whether a measure is a share, which people read in per cent."""
    return name not in FIELDS and name.endswith(("accuracy", "_f1"))
