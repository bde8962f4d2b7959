"""The settings of an optimiser's groups, which a checkpoint does not hold."""

from typing import Any

import torch

from fieldtrial.config import ConfigError


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each group that a trial does not set in each step."""
    kinds = (bool, int, float, str)
    return [
        {name: one for name, one in group.items() if name != "lr" and isinstance(one, kinds)}
        for group in optimizer.param_groups
    ]


def require_settings(
    optimizer: torch.optim.Optimizer, known: list[dict[str, Any]], name: str
) -> None:
    """Raise ConfigError if an optimiser has changed the settings that it began with.

    A checkpoint holds what an optimiser keeps for its parameters, and nothing of its groups. name:
    what the config calls the optimiser.
    """
    now = settings_of(optimizer)
    changed = {
        key
        for old, new in zip(known, now, strict=True)
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    }
    if changed:
        raise ConfigError(
            [
                f"optimizer = {name!r}: changes {', '.join(sorted(changed))} in its param_groups,"
                " which no checkpoint holds; what changes must be in its state, by parameter"
            ]
        )
