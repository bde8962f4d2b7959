"""The grammar of the field `freeze`, and that its rule and its help name every scheme."""

import pytest

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.fields.freezing_schemes import FORMS, HELP, RULE, SCHEMES, is_scheme

RIGHT = ("none", "all_but_head", "all_but_last:2", "first:10", "pattern:a|b", "only:layer3.0.conv1")
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
        "must be none, all_but_head, all_but_last:K, first:K, pattern:REGEX or only:NAME"
    )


def test_the_help_has_each_form_with_what_it_freezes() -> None:
    assert FIELDS["freeze"].metadata["help"] == HELP
    for form, scheme in zip(FORMS, SCHEMES.values(), strict=True):
        assert f"{form}: {scheme.freezes}" in HELP
