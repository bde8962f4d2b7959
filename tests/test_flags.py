"""The fields as flags, and the page that lists them."""

import argparse
from pathlib import Path

from fieldtrial.config import FIELDS
from fieldtrial.flags import add_flags, fields_page

PAGE = Path(__file__).parents[1] / "docs" / "fields.md"


def test_help_is_grouped_and_complete() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for name in FIELDS:
        assert f"--{name} " in text
    places = [text.index(f"\n{group}:") for group in ("data", "model", "optimisation", "run")]
    assert places == sorted(places)


def test_help_says_what_a_field_needs() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, ["nesterov", "padding", "seed"])
    text = " ".join(parser.format_help().split())
    assert "needs optimizer = sgd, momentum above 0, classifier = softmax [false]" in text
    assert "(same, valid); needs model = cnn [same]" in text
    assert "dropout [0]" in text


def test_the_page_of_fields_is_up_to_date() -> None:
    command = "python -m fieldtrial.flags > docs/fields.md"
    assert PAGE.read_text() == fields_page(), command
    assert command in fields_page()


def test_the_page_has_a_row_for_each_field() -> None:
    rows = [line for line in fields_page().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == list(FIELDS)
    assert (
        "| `gamma` | number | `0.1` | 1e-06 to 1 |  | schedule = step or plateau, classifier ="
        " softmax | factor of the learning rate at each fall |" in rows
    )
