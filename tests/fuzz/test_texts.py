"""Texts of chance come through every escape, and through the flags, as themselves."""

import argparse
import csv
import io
import json
import re

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.printable import printable
from fieldtrial.flags import add_flags
from fieldtrial.results.table.render import escape_latex, escape_markdown
from fieldtrial.results.table.spreadsheet import to_csv

pytestmark = pytest.mark.fuzz
QUICK = settings(
    max_examples=8_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


cells = st.text(max_size=20) | st.from_regex(r"\A[=+@\t\r\n -][ -~]{0,9}\Z")


@QUICK
@given(texts=st.lists(cells, min_size=1, max_size=4))
def test_csv(texts: list[str]) -> None:
    written = to_csv(pd.DataFrame({"text": texts, "n": range(len(texts))}))
    rows = list(csv.reader(io.StringIO(written)))[1:]
    assert [row[-1] for row in rows] == [str(place) for place in range(len(texts))]
    for (text, _), given_text in zip(rows, texts, strict=True):
        assert text.removeprefix("'") == printable(given_text).removeprefix("'")
        is_number = re.fullmatch(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", text)
        assert is_number or not text.strip().startswith(("=", "+", "-", "@"))


@QUICK
@given(text=st.text(max_size=30) | st.text("\\`*_<>[]()!#|~&;$:/.w-+=1 \n", max_size=30))
def test_markdown(text: str) -> None:
    """An independent parser of CommonMark finds nothing but the text."""
    (block,) = MarkdownIt("commonmark").parseInline(escape_markdown(text))
    assert {token.type for token in block.children or []} <= {"text", "text_special"}
    shown = "".join(token.content for token in block.children or [])
    assert shown == printable(" ".join(text.split()))


@QUICK
@given(text=st.text(max_size=30) | st.text("\\{}$&#^_~%[]<>|\x1b\x00 ab", max_size=30))
def test_latex(text: str) -> None:
    commands = r"\\textbackslash\{\}|\\textascii(tilde|circum)\{\}|\\text(less|greater|bar)\{\}"
    more = r"\\ldots\{\}|\$\\(pm|times|cdot)\$|\{\[\}|\{\]\}|\\[&%$#_{}]"
    rest = re.sub(f"{commands}|{more}", "", escape_latex(text))
    assert not set(rest) & set("\\{}$&#^_~%[]")
    assert rest.isprintable()


words = st.text(max_size=12) | st.sampled_from(["none", "1e999", "-1", "9" * 5000, "٣", "a,b"])


@QUICK
@given(known=st.dictionaries(st.sampled_from(list(TrainConfig().to_dict())), words, max_size=4))
def test_flags(known: dict[str, str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    arguments = [f"--{name}={value}" for name, value in known.items()]
    try:
        config = TrainConfig.from_flags(parser.parse_args(arguments))
    except (ConfigError, argparse.ArgumentError):
        return
    again = TrainConfig.from_flags(parser.parse_args(config.to_flags()))
    assert again == config
    assert again.id == config.id
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
