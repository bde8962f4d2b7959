"""What a strategy says about the machine that it computes on."""

import logging
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import strategy
from fieldtrial.training.loop.strategy import has_bf16_units, prepare
from tests.training.networks import network_for


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu sse avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu sse amx_bf16 amx_tile", True),
        ("flags\t\t: fpu sse avx2 avx512f avx512_vnni", False),
        ("Features\t: fp asimd i8mm bf16", True),
        ("Features\t: fp asimd svebf16", False),
        ("model name\t: bf16 Lake", False),
    ],
)
def test_bf16_units_are_what_the_processor_says(line: str, has: bool, tmp_path: Path) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\n{line}\nbogomips\t: 2\n")
    assert has_bf16_units(facts) is has
    assert has_bf16_units(tmp_path / "none")


def test_a_processor_without_bf16_units_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(model="mlp", precision="bf16")
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(strategy, "has_bf16_units", lambda: True)
        prepare(network_for(config), config, World())
        assert not caplog.records
        monkeypatch.setattr(strategy, "has_bf16_units", lambda: False)
        prepare(network_for(config), config, World())
    assert "precision = bf16: this processor has no bf16 units" in caplog.text
