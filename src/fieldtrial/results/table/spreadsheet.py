"""CSV that a spreadsheet may open: numbers stay numbers, and no text is run as a formula."""

import functools
import re

import pandas as pd

from fieldtrial.fields.printable import printable

# What spreadsheets begin a formula with (OWASP, CSV Injection), also after spaces, which some of
# them skip; the last four are the same signs in the width of Chinese characters. Some take what
# follows a semicolon for the next cell.
FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@＝＋－＠])")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def to_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, with a head and without its index.

    What a spreadsheet would take for a formula begins with an apostrophe, which spreadsheets do not
    show; a number in a column of texts does not. Control characters are escaped.
    """
    safe = frame.rename(columns=lambda name: _safe(str(name)))
    for place, kind in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            # As objects: a column of whole numbers and gaps would become one of fractions.
            values = list(map(_safe, frame.iloc[:, place].astype(object).tolist()))
            safe.isetitem(place, pd.array(values, dtype=object))
    text: str = safe.to_csv(index=False)
    return text


def _safe(value: object) -> object:
    return _safe_text(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=100_000)  # most cells of a long table are repeated
def _safe_text(value: str) -> str:
    text = printable(value)
    return text if NUMBER.fullmatch(text) else FORMULA.sub(r"\1'", text)
