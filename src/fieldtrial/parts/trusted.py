"""Which own parts configs name, and the line that refuses to run those of a stranger."""

from collections.abc import Iterable

from fieldtrial.config import TrainConfig
from fieldtrial.own.names import own_parts, said


def names_of(configs: Iterable[TrainConfig]) -> set[str]:
    """Return the names of all own parts of configs."""
    return {name for config in configs for names in own_parts(config).values() for name in names}


def untrusted(config: TrainConfig, where: str) -> str:
    """Return the line that refuses to run the code that a config names; "" if it names none."""
    if not (parts := config.own_parts):
        return ""
    return (
        f"{where}: its config names code of somebody's own ({said(parts)}); --trust runs it, with"
        " all that you may do"
    )
