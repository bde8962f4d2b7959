"""Freezing: one depth axis for CNNs and transformers, and what may not move along it."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from fieldtrial.training.models.network import Network

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# What only:NAME may name beside a module: by a module's own name, and the module.
KINDS: dict[str, Callable[[str, nn.Module], bool]] = {
    "convolutions": lambda _, module: isinstance(module, nn.modules.conv._ConvNd),
    "batch_norm": lambda _, module: isinstance(module, nn.modules.batchnorm._BatchNorm),
    "downsampling": lambda name, _: (
        name == "downsample"
    ),  # a ResNet's shortcuts from one size to the next
}


@dataclass(frozen=True)
class Unit:
    """One step of the depth axis, such as a residual block, a transformer block or a convolution
    with its norm.

    Attributes:
        name: dotted name, in the inner model, of the module that it is named for.
        parameters: names of its parameters in the inner model.
        modules: names of the modules that it is made of; those inside them are meant too.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


def units(network: Network) -> list[Unit]:
    """Return the depth axis of `network`, from the first layer to the last; the last unit is the
    head alone.

    Containers are opened, and so are bodies: modules that hold more than half of all parameters (a
    transformer's encoder), and their siblings of the same class (the other stages). What is not
    opened and has parameters is a unit, in order of registration. Norms and auxiliary classifiers
    join the unit before them; parameters of opened modules (class token, position embedding) join
    the first unit; modules without parameters join the unit after them, because that is whose input
    dropout changes.
    """
    head = network.head.removeprefix("model.")
    found: list[tuple[str, list[str], list[str]]] = []
    head_modules: list[str] = []
    leading: list[str] = []  # norms before any unit
    waiting: list[str] = []  # modules without parameters
    for name, module in _members(network.model, "", head, _size(network.model)):
        if name == head:
            head_modules += [*waiting, name]
            waiting = []
        elif _is_norm(module) or name == network.auxiliary:
            (found[-1][2] if found else leading).append(name)
        elif not _size(module):
            waiting.append(name)
        else:
            found.append((name, [], [*leading, *waiting, name]))
            leading, waiting = [], []
    found.append((head, [], [*leading, *head_modules, *waiting]))
    owners = {module: parameters for _, parameters, modules in found for module in modules}
    for parameter, _ in network.model.named_parameters():
        path = parameter.split(".")
        owner = next(
            (".".join(path[:end]) for end in range(len(path)) if ".".join(path[:end]) in owners),
            None,
        )
        (found[0][1] if owner is None else owners[owner]).append(parameter)
    return [Unit(name, tuple(parameters), tuple(modules)) for name, parameters, modules in found]


def freeze(network: Network, scheme: str) -> None:
    """Set which parameters of `network` train: none, all_but_head, all_but_last:K, first:K or
    pattern:REGEX are frozen.

    all_but_last:K trains the last K units, the head included; first:K freezes the first K; a
    pattern is searched for in the names of the inner model's parameters. only:NAME freezes all but
    the head and the parameters of NAME: a module of the inner model, such as layer3, or one of
    KINDS. An auxiliary classifier trains where a layer below it does, whatever the scheme. Call
    `hold_frozen` after every `network.train()`.

    Raises:
        ValueError: the scheme freezes nothing or everything, or the model has no NAME; the message
        lists what it has.
    """
    axis = units(network)
    names = {name for unit in axis for name in unit.parameters}
    kind, _, argument = scheme.partition(":")
    frozen = names - _part(network, argument) if kind == "only" else _frozen_names(axis, scheme)
    if scheme != "none" and frozen in (set(), names):
        listed = ", ".join(f"{number} {unit.name}" for number, unit in enumerate(axis, start=1))
        raise ValueError(
            f"freeze = {scheme!r}: freezes {'everything' if frozen else 'nothing'}; the model's"
            f" {len(axis)} units are {listed}"
            + (
                f"; a pattern is searched for in names such as {min(names)}"
                if ":" in scheme
                else ""
            )
        )
    frozen = _with_auxiliary(network, frozen)
    for name, parameter in network.model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if network.auxiliary:
        network.model.aux_logits = not frozen.issuperset(_auxiliary(network))  # type: ignore[assignment]
    network.frozen_modules = (
        *(module for unit in axis if frozen.issuperset(unit.parameters) for module in unit.modules),
        *(
            name
            for name, module in network.model.named_modules()
            if _is_norm(module)
            and not any(parameter.requires_grad for parameter in module.parameters())
            if _size(module)
        ),
    )


def _with_auxiliary(network: Network, frozen: set[str]) -> set[str]:
    """Return `frozen` with or without all of the auxiliary classifier: it trains where a layer
    below it does.
    """
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


def hold_frozen(network: Network) -> None:
    """Put what is frozen in evaluation mode: batch-norm statistics do not move there, and dropout
    is off.
    """
    for name in network.frozen_modules:
        network.model.get_submodule(name).eval()


def _frozen_names(axis: list[Unit], scheme: str) -> set[str]:
    kind, _, argument = scheme.partition(":")
    names = [unit.parameters for unit in axis]
    if kind == "pattern":
        return {name for unit in names for name in unit if re.search(argument, name)}
    if kind == "first":
        return {name for unit in names[: int(argument)] for name in unit}
    if kind in ("all_but_head", "all_but_last"):
        return {name for unit in names[: max(0, len(axis) - int(argument or 1))] for name in unit}
    assert scheme == "none", scheme
    return set()


def _part(network: Network, wanted: str) -> set[str]:
    """Return the names of the head's parameters and of those of `wanted`, a module's name or one of
    KINDS.
    """
    parts: dict[str, set[str]] = {}
    for name, module in network.model.named_modules():
        inside = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if name and inside:
            parts.setdefault(name, set()).update(inside)
            for kind in (
                kind for kind, is_one in KINDS.items() if is_one(name.rpartition(".")[2], module)
            ):
                parts.setdefault(kind, set()).update(inside)
    if wanted not in parts:
        modules = [name for name in parts if name not in KINDS]
        outer = [name for name in modules if "." not in name]
        inner = next((name for name in modules if "." in name), outer[0])
        raise ValueError(
            f"freeze = 'only:{wanted}': the model has no such part; it has"
            f" {', '.join([*outer, *(kind for kind in KINDS if kind in parts)])}, and modules"
            f" inside these, such as {inner}"
        )
    return parts[wanted] | parts[network.head.removeprefix("model.")]


def _members(
    module: nn.Module, prefix: str, head: str, total: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and modules that are not opened, in order of registration."""
    children = {f"{prefix}{name}": child for name, child in module.named_children()}
    bodies = {type(child) for child in children.values() if _is_body(child, total)}
    for name, child in children.items():
        if isinstance(child, CONTAINERS) or type(child) in bodies or head.startswith(f"{name}."):
            yield from _members(child, f"{name}.", head, total)
        else:
            yield name, child


def _is_body(module: nn.Module, total: int) -> bool:
    return 2 * _size(module) > total and any(_size(child) for child in module.children())


def _is_norm(module: nn.Module) -> bool:
    """Return whether `module` is a normalisation layer, by its class's name: timm has a dozen
    classes of its own.
    """
    return (
        "norm" in type(module).__name__.lower()
        and not any(_size(child) for child in module.children())
        and all(parameter.ndim <= 1 for parameter in module.parameters())
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
