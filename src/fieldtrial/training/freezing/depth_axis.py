"""The depth axis: units of CNNs and transformers, in order from the first layer to the last."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from fieldtrial.training.models.library.of_functions import named_blocks
from fieldtrial.training.models.network import Network, count_parameters

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
AXIS = "depth axis"  # the key of what is known of a network


@dataclass(frozen=True)
class Unit:
    """One step of the depth axis, such as a residual block or a convolution with its norm.

    Attributes:
        name: dotted name, in the inner model, of the module that gives the unit its name.
        parameters: names of its parameters in the inner model.
        modules: names of its modules; the modules inside these belong to it too.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


def units(network: Network) -> list[Unit]:
    """Return the depth axis of `network`, from the first layer to the head, the last unit.

    The heads of a detector are one unit. A model that names its `blocks` has these as units, and
    what is in none of them belongs to the unit before it.

    Containers are opened. So are bodies, which hold more than half of all parameters (a
    transformer's encoder), and their siblings of the same class (the other stages). A module with
    parameters that is not opened is a unit, in order of registration. Norms and auxiliary
    classifiers join the unit before them. Parameters of opened modules (class token, position
    embedding) join the first unit. Modules without parameters, such as dropout, join the unit after
    them, whose input they change. What `low_rank.adapt` adds to a layer belongs to its unit.
    """
    if AXIS not in network.known:  # of the network as it was built
        network.known[AXIS] = _steps(network)
    steps: list[tuple[str, tuple[str, ...]]] = network.known[AXIS]
    found: list[list[str]] = [[] for _ in steps]
    owners = {
        module: own for (_, modules), own in zip(steps, found, strict=True) for module in modules
    }
    for parameter, _ in network.model.named_parameters():
        path = parameter.split(".")
        prefixes = (".".join(path[:end]) for end in range(len(path)))
        owner = next((prefix for prefix in prefixes if prefix in owners), None)
        (found[0] if owner is None else owners[owner]).append(parameter)
    return [
        Unit(name, tuple(parameters), modules)
        for (name, modules), parameters in zip(steps, found, strict=True)
    ]


def _steps(network: Network) -> list[tuple[str, tuple[str, ...]]]:
    """Return the name of each unit, and the names of its modules."""
    head = network.head.removeprefix("model.")
    heads = {name.removeprefix("model.") for name in network.heads}
    found: list[tuple[str, list[str]]] = []
    head_modules: list[str] = []
    leading: list[str] = []  # norms before any unit
    waiting: list[str] = []  # modules without parameters
    blocks = named_blocks(network.model)
    whole = heads.union(blocks)
    for name, module in _members(network.model, "", whole, count_parameters(network.model)):
        if name in heads:
            head_modules += [*waiting, name]
            waiting = []
        elif is_norm(module) or name == network.auxiliary or (blocks and name not in blocks):
            (found[-1][1] if found else leading).append(name)
        elif not count_parameters(module):
            waiting.append(name)
        else:
            found.append((name, [*leading, *waiting, name]))
            leading, waiting = [], []
    if blocks:
        found.sort(key=lambda one: blocks.index(one[0]))
    found.append((head, [*leading, *head_modules, *waiting]))
    return [(name, tuple(modules)) for name, modules in found]


def is_norm(module: nn.Module) -> bool:
    """Return whether `module` is a normalisation layer, by its class's name: timm has a dozen."""
    return (
        "norm" in type(module).__name__.lower()
        and not any(count_parameters(child) for child in module.children())
        and all(parameter.ndim <= 1 for parameter in module.parameters())
    )


def _members(
    module: nn.Module, prefix: str, whole: set[str], total: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and modules that are not opened, in order of registration.

    whole: names of modules that never are, unlike those that they are in.
    """
    children = {f"{prefix}{name}": child for name, child in module.named_children()}
    bodies = {type(child) for child in children.values() if _is_body(child, total)}
    for name, child in children.items():
        holds_one = any(inner.startswith(f"{name}.") for inner in whole)
        is_open = isinstance(child, CONTAINERS) or type(child) in bodies or holds_one
        if is_open and name not in whole:
            yield from _members(child, f"{name}.", whole, total)
        else:
            yield name, child


def _is_body(module: nn.Module, total: int) -> bool:
    has_layers = any(count_parameters(child) for child in module.children())
    return 2 * count_parameters(module) > total and has_layers
