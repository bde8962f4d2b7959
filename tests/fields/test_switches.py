"""Switches: environment variables with few values, of which a typing error is none."""

import re
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.fields.switches import SWITCHES, require_switches, switch
from fieldtrial.training.attempt.memory import keep_freed_memory
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.freezing.feature_cache import are_wanted
from fieldtrial.training.loop.attempt import Attempt

PAGE = Path(__file__).parents[2] / "docs" / "environment.md"


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_has_its_values_and_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default, other = SWITCHES[name]
    monkeypatch.delenv(name, raising=False)
    assert switch(name) == default
    for value in (default, other):
        monkeypatch.setenv(name, value)
        assert switch(name) == value
    monkeypatch.setenv(name, "")
    assert switch(name) == default
    for wrong in ("of", other.upper(), f" {other}", "0"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(ValueError, match=rf"{name} = '{wrong}': must be {default} or {other}"):
            switch(name)
    (row,) = re.findall(rf"^\| `{name}` \|.*", PAGE.read_text(), re.M)
    assert f"`{other}`" in row


def test_the_check_before_a_trial_tells_all_switches_that_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_switches()
    for name in SWITCHES:
        monkeypatch.setenv(name, "no")
    run = Run.create(tmp_path / "run", TrainConfig())
    problems = check(Attempt.at(run))["problems"]
    assert [problem.split()[0] for problem in problems] == [*SWITCHES]
    for reads in (keep_freed_memory, are_wanted):
        with pytest.raises(ValueError, match="'no': must be"):
            reads()
