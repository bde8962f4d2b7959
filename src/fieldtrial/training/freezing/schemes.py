"""Freezing: which parameters of a network do not train, by the schemes of the field `freeze`."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields import freezing_schemes
from fieldtrial.own.names import is_own
from fieldtrial.training.freezing.depth_axis import Unit, is_norm, units
from fieldtrial.training.freezing.low_rank import adapt, is_added
from fieldtrial.training.freezing.own_scheme import frozen_by
from fieldtrial.training.models.network import Network, count_parameters

# What only:NAME takes beside a module's name, with a test of a module and its own name.
KINDS: dict[str, Callable[[str, nn.Module], bool]] = {
    "convolutions": lambda _, module: isinstance(module, nn.modules.conv._ConvNd),
    "batch_norm": lambda _, module: isinstance(module, nn.modules.batchnorm._BatchNorm),
    "norms": lambda _, module: is_norm(module),
    "downsampling": lambda name, _: name == "downsample",  # a ResNet's shortcuts between sizes
}
# Attention of torch and timm may have biases beside its layers: in_proj_bias, q_bias.
BIASES = "biases"
BIAS = re.compile(r"(.*_)?bias")


def freeze(
    network: Network,
    scheme: str,
    epoch: int = 1,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Freeze the parameters of `network` by `scheme`, a value of the field `freeze`; others train.

    Frozen modules are held in evaluation mode; see `Network.hold`. An auxiliary classifier trains
    where a layer below it does, whatever the scheme.

    Args:
        network: as it was built, or frozen by the same scheme before.
        scheme: the value.
        epoch: counts from 1; schemes may freeze other layers in other epochs.
        seed: of what a scheme adds to the network at random; see `low_rank.adapt`.
        options: of an own scheme.

    Raises:
        ValueError: the scheme freezes nothing or everything, the model has no NAME, no K-th unit or
            nothing to adapt, peft is missing, or RE2 cannot search for the pattern; the message
            lists what there is.
    """
    kind, _, argument = scheme.partition(":")
    if kind == "lora":
        adapt(network, int(argument), seed)
    axis = units(network)
    names = _parameters(axis)
    frozen = _frozen(network, axis, scheme, epoch=1, options=options)
    if scheme != "none" and frozen in (set(), names):
        listed = ", ".join(f"{number} {unit.name}" for number, unit in enumerate(axis, start=1))
        example = (
            f"; a pattern is searched for in names such as {min(names)}"
            if kind == "pattern"
            else ""
        )
        raise ValueError(
            f"freeze = {scheme!r}: freezes {'everything' if frozen else 'nothing'}; the model's"
            f" {len(axis)} units are {listed}{example}"
        )
    network.unfreezes = kind in OVER_TIME
    if network.unfreezes:
        frozen = _frozen(network, axis, scheme, epoch, options)
    frozen = _with_auxiliary(network, frozen)
    for name, parameter in network.model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if network.auxiliary:
        network.model.aux_logits = not frozen.issuperset(_auxiliary(network))  # type: ignore[assignment]
    network.hold(
        (
            *(name for one in axis if frozen.issuperset(one.parameters) for name in one.modules),
            *(name for name, one in network.model.named_modules() if _is_frozen_norm(one)),
        )
    )


def refreeze(network: Network, scheme: str, epoch: int) -> bool:
    """Freeze what a scheme that changes over the epochs freezes in `epoch`, counted from 1.

    Return whether other parameters train than before; False for other schemes.
    """
    if not network.unfreezes:
        return False
    before = [parameter.requires_grad for parameter in network.parameters()]
    freeze(network, scheme, epoch)
    return before != [parameter.requires_grad for parameter in network.parameters()]


def has_fixed_part(network: Network, scheme: str) -> bool:
    """Return whether the output of the frozen layers is the same in all epochs from now on.

    A scheme that changes counts as such as long as the head alone trains: what follows is another
    training.
    """
    if not network.unfreezes:
        return freezing_schemes.is_fixed(scheme)
    heads = tuple(f"{head}." for head in network.heads)
    trained = (name for name, one in network.named_parameters() if one.requires_grad)
    return all(name.startswith(heads) for name in trained)


def require_copies(config: TrainConfig, processes: int) -> None:
    """Raise ConfigError if ZeRO is to partition a network whose scheme changes its parameters."""
    keeps = freezing_schemes.keeps_its_parameters(config.freeze)
    if processes > 1 and config.strategy != "ddp" and not keeps:
        raise ConfigError(
            [
                f"strategy = {config.strategy!r}: must be ddp for several processes with freeze ="
                f" {config.freeze!r}: ZeRO partitions the same parameters throughout"
            ]
        )


def _frozen(
    network: Network,
    axis: list[Unit],
    scheme: str,
    epoch: int,
    options: Mapping[str, Any] | None,
) -> set[str]:
    """Return the names of the parameters that `scheme` freezes in `epoch`."""
    if is_own(scheme):
        return frozen_by(scheme, network, axis, options or {})
    kind, _, argument = scheme.partition(":")
    if kind in OVER_TIME:
        return OVER_TIME[kind](axis, int(argument), epoch)
    return FROZEN[kind](network, axis, argument)


def _parameters(axis: Iterable[Unit]) -> set[str]:
    return {name for unit in axis for name in unit.parameters}


def _find(_network: Network, axis: list[Unit], pattern: str) -> set[str]:
    compiled = freezing_schemes.compile_pattern(pattern)
    return {name for name in _parameters(axis) if compiled.search(name)}


def _all_but_part(network: Network, axis: list[Unit], wanted: str) -> set[str]:
    """Return all parameters but the head's and those of `wanted`, a module or one of KINDS."""
    parts: dict[str, set[str]] = {}
    for name, module in network.model.named_modules():
        inside = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if name and inside:
            own_name = name.rpartition(".")[2]
            kinds = [kind for kind, is_one in KINDS.items() if is_one(own_name, module)]
            for part in (name, *kinds):
                parts.setdefault(part, set()).update(inside)
            if biases := {one for one in inside if BIAS.fullmatch(one.rpartition(".")[2])}:
                parts.setdefault(BIASES, set()).update(biases)
    if wanted not in parts:
        known = [kind for kind in (*KINDS, BIASES) if kind in parts]
        modules = [name for name in parts if name not in known]
        outer = [name for name in modules if "." not in name]
        inner = next((name for name in modules if "." in name), outer[0])
        raise ValueError(
            f"freeze = 'only:{wanted}': the model has no such part; it has"
            f" {', '.join([*outer, *known])}, and modules"
            f" inside these, such as {inner}"
        )
    heads = (parts[head.removeprefix("model.")] for head in network.heads)
    return _parameters(axis) - parts[wanted].union(*heads)


def _all_but_block(_network: Network, axis: list[Unit], number: str) -> set[str]:
    """Return all parameters but the head's and those of the unit `number`, which counts from 1."""
    if int(number) >= len(axis):
        listed = ", ".join(f"{place} {unit.name}" for place, unit in enumerate(axis[:-1], start=1))
        raise ValueError(
            f"freeze = 'block:{number}': must be the number of a unit before the head; the model's"
            f" are {listed}"
        )
    return _parameters(axis[:-1]) - {*axis[int(number) - 1].parameters}


def _backbone(network: Network, axis: list[Unit], _: str) -> set[str]:
    names = getattr(network.model, "backbone_names", None)
    if names is None:
        raise ValueError(
            "freeze = 'backbone': the model is a classifier, whose backbone is all but its head;"
            " write all_but_head"
        )
    inside = tuple(f"{name}." for name in names)
    return {name for name in _parameters(axis) if name.startswith(inside)}


# The names of the frozen parameters, by a key of freezing_schemes.SCHEMES and its argument.
FROZEN: dict[str, Callable[[Network, list[Unit], str], set[str]]] = {
    "none": lambda _network, _axis, _: set(),
    "all_but_head": lambda _network, axis, _: _parameters(axis[:-1]),
    "all_but_last": lambda _network, axis, count: _parameters(axis[: -int(count)]),
    "first": lambda _network, axis, count: _parameters(axis[: int(count)]),
    "backbone": _backbone,
    "pattern": _find,
    "only": _all_but_part,
    "block": _all_but_block,
    "lora": lambda _network, axis, _: {
        name for name in _parameters(axis[:-1]) if not is_added(name)
    },
}
# The same of schemes that change, from their K and an epoch.
OVER_TIME: dict[str, Callable[[list[Unit], int, int], set[str]]] = {
    "probe_then_all": lambda axis, count, epoch: (
        _parameters(axis[:-1]) if epoch <= count else set()
    ),
    "gradual": lambda axis, count, epoch: _parameters(
        axis[: max(0, len(axis) - 1 - (epoch - 1) // count)]
    ),
}


def _with_auxiliary(network: Network, frozen: set[str]) -> set[str]:
    """Return `frozen` without the auxiliary classifier if a layer below it trains, else with it."""
    if network.auxiliary is None:
        return frozen
    auxiliary = _auxiliary(network)
    names = (name for name, _ in network.model.named_parameters())
    below = set(itertools.takewhile(lambda name: name not in auxiliary, names))
    return frozen | auxiliary if frozen >= below else frozen - auxiliary


def _auxiliary(network: Network) -> set[str]:
    """Return the names of the auxiliary classifier's parameters."""
    names = (name for name, _ in network.model.named_parameters())
    return {name for name in names if name.startswith(f"{network.auxiliary}.")}


def _is_frozen_norm(module: nn.Module) -> bool:
    trains = any(parameter.requires_grad for parameter in module.parameters())
    return is_norm(module) and not trains and count_parameters(module) > 0
