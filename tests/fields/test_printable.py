"""Text that a terminal shows as it is, whoever wrote it."""

import sys

import pytest

from fieldtrial.fields.printable import counted, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lr=0.1 · „Grüße“ ± 3 %, 猫 👩‍🔬", "lr=0.1 · „Grüße“ ± 3 %, 猫 👩‍🔬"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\tc\nd\x7f\x00", r"a\rb\tc\nd\x7f\x00"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\u2028\u2029\u061c\u200f", r"\u2028\u2029\u061c\u200f"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_control_character_is_escaped_and_no_other_is_changed() -> None:
    import unicodedata

    kinds = ("Cc", "Cs", "Zl", "Zp")
    bidirectional = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        obeyed = unicodedata.category(char) in kinds or (
            unicodedata.bidirectional(char) in bidirectional or char in "\u061c\u200e\u200f"
        )
        assert (printable(char) != char) == obeyed, hex(number)


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b[1m\nb\u202e") == "a\\x1b[1m\nb\\u202e"


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (3000, "trial", "3,000 trials"),
        (2, "box", "2 boxes"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
    ],
)
def test_a_count_has_its_nouns_number(count: int, what: str, text: str) -> None:
    assert counted(count, what) == text
