"""Text that people read: counts, and what comes from elsewhere, as a terminal may show it."""

import re

# What a terminal obeys, what turns the direction of writing, and what UTF-8 cannot write.
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return `text` in one line, with escapes such as \x1b for what a terminal would act upon.

    These are control characters, line ends among them, and marks that reverse the direction of
    writing (Boucher & Anderson 2021, Trojan Source).
    """
    return UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def printable_lines(text: str) -> str:
    """Return `text` with each of its lines printable."""
    return "\n".join(map(printable, text.splitlines()))


def counted(count: int, what: str = "trial") -> str:
    """Return '1 trial', '3,000 trials' or '2 boxes'."""
    ending = "" if count == 1 else "es" if what.endswith(("x", "s")) else "s"
    return f"{count:,} {what}{ending}"
