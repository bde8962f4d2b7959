"""The look at a sweep's rows: its progress is seen, its errors are told."""

import sys

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control import preflight
from fieldtrial.control.preflight import Preflight
from fieldtrial.control.sweep import Sweep

SWEEP = Sweep(base=TrainConfig(model="mlp"), rows=[{}])
DOWNLOADING = """
import json, os, sys
print("chatter", file=sys.stderr)
os.write(int(os.environ["FIELDTRIAL_PROGRESS"]), b"x.zip: 1 of 4 MB\\n")
print(json.dumps([{"problems": ["no such thing"]} for _ in json.load(sys.stdin)]))
"""


def test_progress_is_shown_while_it_looks(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "COMMAND", [sys.executable, "-c", DOWNLOADING])
    with Preflight(SWEEP) as looking, pytest.raises(ConfigError, match=r"^sweep: no such thing$"):
        looking.result()
    assert capfd.readouterr() == ("", "x.zip: 1 of 4 MB\n")


def test_a_crash_is_told_with_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "COMMAND", [sys.executable, "-c", "raise SystemExit('the story')"])
    with Preflight(SWEEP) as looking, pytest.raises(RuntimeError, match="the check of the rows failed:\nthe story"):
        looking.result()
