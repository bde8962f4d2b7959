"""Which own parts the trials of a sweep may run: those that the sweep itself names."""

from fieldtrial.config import TrainConfig
from fieldtrial.own.names import KINDS
from fieldtrial.own.project import trust
from fieldtrial.parts.trusted import names_of
from fieldtrial.search_domains import extremes
from fieldtrial.sweep import Sweep


def admit(sweep: Sweep) -> None:
    """Let this process, and the workers that it starts, run the own parts of the sweep."""
    configs = [config for row in sweep.planned for config in (row.config, row.source) if config]
    for kind in KINDS.keys() & sweep.search.keys():
        values = extremes(sweep.search[kind])
        configs += [TrainConfig.from_dict({kind: value}, sweep.base) for value in values]
    if names := names_of(configs):
        trust(names)
