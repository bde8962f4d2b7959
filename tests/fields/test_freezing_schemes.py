"""The grammar of the field `freeze`, and that its rule and its help name every scheme."""

import pytest

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.fields.freezing_schemes import (
    FORMS,
    HELP,
    RULE,
    SCHEMES,
    compile_pattern,
    is_fixed,
    is_scheme,
    keeps_its_parameters,
)

RIGHT = (
    "none",
    "all_but_head",
    "all_but_last:2",
    "first:10",
    "backbone",
    "pattern:a|b",
    "only:layer3.0.conv1",
    "block:3",
    "probe_then_all:10",
    "gradual:1",
    "lora:8",
)
WRONG = (
    "",
    "none:",
    "none:1",
    "all_but_head:1",
    "all_but_last",
    "all_but_last:0",
    "first:",
    "first:-1",
    "first:1.5",
    "pattern",
    "pattern:",
    "pattern:[",
    "only:",
    "only:.conv1",
    "other:1",
    "block:0",
    "probe_then_all",
    "gradual:0.5",
    "lora:",
    "lora:10000",
    f"first:{'9' * 5000}",
    "first:٣",
    "pattern:a{99999999999}",
    "pattern:" + "(" * 5000 + ")" * 5000,
    "pattern:" + "a" * 1001,
    "pattern:\\N{NOPE}",
)


def test_each_scheme_takes_its_argument_and_no_other() -> None:
    assert [text.partition(":")[0] for text in RIGHT] == list(SCHEMES)
    assert [text for text in RIGHT if not is_scheme(text)] == []
    assert [text for text in WRONG if is_scheme(text)] == []


@pytest.mark.parametrize("text", WRONG)
def test_a_config_refuses_what_is_no_scheme_with_all_forms(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(freeze=text)
    assert caught.value.problems == [f"freeze = {text!r}: {RULE}"]
    assert RULE == (
        "must be none, all_but_head, all_but_last:K, first:K, backbone, pattern:REGEX, only:NAME,"
        " block:K, probe_then_all:K, gradual:K, lora:R, or package.module:name of your own code"
    )


def test_what_comes_out_of_frozen_layers_is_the_same_with_most_schemes() -> None:
    changing = ["none", "probe_then_all:10", "gradual:1", "lora:8"]
    assert [text for text in RIGHT if not is_fixed(text)] == changing
    assert [text for text in RIGHT if not keeps_its_parameters(text)] == changing[1:]


def test_the_help_has_each_form_with_what_it_freezes() -> None:
    assert FIELDS["freeze"].metadata["help"] == HELP
    for form, scheme in zip(FORMS, SCHEMES.values(), strict=True):
        assert f"{form}: {scheme.freezes}" in HELP


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("a|b", "xb", True),
        (r"layer[34]\.", "model.layer3.conv1.weight", True),
        (r"^model\.(stem|layer1)\b", "model.layer11.weight", False),
        (r"(\w+\.?)+!", "features.denseblock12.denselayer24.conv2.weight" * 20, False),
        ("^(a*)*$", "a" * 5000 + "!", False),
    ],
)
def test_a_pattern_is_searched_for_in_linear_time(pattern: str, name: str, found: bool) -> None:
    """Python's own engine would take 2^n steps for the last two: the test would never end."""
    assert is_scheme(f"pattern:{pattern}")
    assert bool(compile_pattern(pattern).search(name)) == found


@pytest.mark.parametrize(
    "pattern", ["(?!bn)a", "(?<=a)b", "(?<!a)b", "(?=a)b", r"(a)\1", "a++", "a{,3}", "[[:alpha:]]"]
)
def test_what_re2_does_not_know_or_reads_otherwise_is_refused(pattern: str) -> None:
    assert is_scheme(f"pattern:{pattern}")  # an older sweep's config can be read
    with pytest.raises(ValueError, match="RE2 cannot search for this pattern") as caught:
        compile_pattern(pattern)
    assert f"freeze = 'pattern:{pattern}'".replace("\\", "\\\\") in str(caught.value)
    assert "no look-around" in str(caught.value)
