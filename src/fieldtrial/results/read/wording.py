"""Words that tables, reports and messages share."""


def counted(count: int, what: str = "trial") -> str:
    """Return '1 trial' or '3 trials'."""
    return f"{count} {what}" + ("" if count == 1 else "s")
