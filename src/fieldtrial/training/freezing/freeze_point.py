"""The freeze point: where the part of a model ends that has the same output in every epoch."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fieldtrial.training.models.network import Network

TRIED = 2  # images, and how often
RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


@dataclass(frozen=True)
class FreezePoint:
    """A model split in two where its frozen part ends. Both parts run the model's own modules.

    Attributes:
        prefix: from normalised images (n, channels, h, w) to features (n, ...); nothing in it
            trains or is random.
        tail: from the features to the model's output.
        cut: what is known of it whatever the weights are.
    """

    prefix: fx.Interpreter
    tail: fx.Interpreter
    cut: "Cut"


@dataclass(frozen=True, eq=False)
class Cut:
    """Where a model is split, which copies of it share.

    Attributes:
        key: what it is known by.
        prefix, tail: the operations of both parts.
        tail_modules: names of the model's modules that the tail runs.
        tensors: names of the model's parameters and buffers that the prefix uses.
        computation: the prefix as text, with the settings of its layers; equal for equal
            computations.
    """

    key: Hashable
    prefix: fx.Graph
    tail: fx.Graph
    tail_modules: tuple[str, ...]
    tensors: tuple[str, ...]
    computation: str


class _Tracer(fx.Tracer):
    """Traces a model down to torch's own modules and the head, whose hooks must still run."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self._head = head

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """See fx.Tracer."""
        return f"model.{name}" == self._head or super().is_leaf_module(module, name)


def find_freeze_point(network: Network) -> FreezePoint | None:
    """Return the freeze point of the inner model of `network`, as it is frozen now.

    There is none where the first layer trains, where several tensors cross the split (a block that
    is frozen in part), or where the model's code cannot be traced or differs between training and
    evaluation. An own model has none either where both parts together do not repeat
    what the model gives. The model is traced once for all copies of the network that are frozen
    alike.
    """
    trains = (name for name, one in network.named_parameters() if one.requires_grad)
    key = ("freeze point", network.held, *trains)
    if key not in network.known:
        network.known[key] = _cut(network, key)
    cut: Cut | None = network.known[key]
    if cut is None:
        return None
    model = network.model
    return FreezePoint(
        fx.Interpreter(model, graph=cut.prefix), fx.Interpreter(model, graph=cut.tail), cut
    )


def _cut(network: Network, key: Hashable) -> Cut | None:
    traces = []
    for mode in (False, True):
        network.train(mode)
        try:
            trace = _Tracer(network.head).trace(network.model)
        except Exception:  # a model's code may raise anything when it is traced
            return None
        traces.append(fx.Graph())
        # without nodes that do not lead to the output
        _copy(trace, _ancestors([trace.output_node()]), traces[-1], {})
    evaluation, graph = traces
    if _computation(evaluation) != _computation(graph):
        return None
    fixed: set[fx.Node] = set()
    for node in graph.nodes:  # in the order in which they are computed
        if all(given in fixed for given in node.all_input_nodes) and _is_fixed(node, network.model):
            fixed.add(node)
    crossing = [node for node in graph.nodes if node in fixed and not fixed.issuperset(node.users)]
    needed = _ancestors(crossing)
    modules, constants = (
        [str(node.target) for node in graph.nodes if node in needed and node.op == operation]
        for operation in ("call_module", "get_attr")
    )
    used = tuple(f"{name}." for name in modules + constants)
    tensors = tuple(name for name in named_tensors(network) if f"{name}.".startswith(used))
    if len(crossing) != 1 or not tensors:
        return None
    prefix = fx.Graph()
    prefix.output(_copy(graph, needed, prefix, {})[crossing[0]])
    tail = fx.Graph()
    _copy(graph, set(graph.nodes) - fixed, tail, {crossing[0]: tail.placeholder("features")})
    if network.code and not _repeats(network, prefix, tail):
        return None
    return Cut(
        key=key,
        prefix=prefix,
        tail=tail,
        tail_modules=tuple(str(node.target) for node in tail.nodes if node.op == "call_module"),
        tensors=tensors,
        computation=repr(
            (
                _computation(prefix),
                [_settings(network.model.get_submodule(u)) for u in modules],
                *([network.code] if network.code else []),
            )
        ),
    )


def _repeats(network: Network, prefix: fx.Graph, tail: fx.Graph) -> bool:
    """Return whether two parts of a model give what it gives itself, more than once.

    Libraries draw random numbers in training alone. A user's code may draw them at
    any time, or compute with what it keeps itself: a trace has that of its own moment.
    """
    model, shape = network.model, network.blank().permute(0, 3, 1, 2).shape
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(TRIED, *shape[1:], generator=generator).to(network.mean.device)
    images = network.in_format(images)
    network.eval()
    try:
        with torch.no_grad():
            whole = network.compute(model, images)
            for _ in range(TRIED):
                features = network.compute(fx.Interpreter(model, graph=prefix).run, images)
                made = network.compute(fx.Interpreter(model, graph=tail).run, features)
                if not torch.allclose(made.float(), whole.float(), rtol=1e-3, atol=1e-4):
                    return False
    except Exception:  # as when it is traced
        return False
    finally:
        network.train()
    return True


def named_tensors(network: Network) -> dict[str, Tensor]:
    """Return the inner model's parameters and buffers by name, also non-persistent buffers."""
    model = network.model  # one tensor may have several names
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _settings(layer: nn.Module) -> list[tuple[str, dict[str, str]]]:
    """Return class and settings of `layer` and the modules inside: equal names may hide others."""
    return [
        (
            type(module).__qualname__,
            {
                name: repr(value)
                for name, value in sorted(vars(module).items())
                if _is_setting(name, value)
            },
        )
        for module in layer.modules()
    ]


def _is_setting(name: str, value: Any) -> bool:
    plain = value if isinstance(value, tuple | list) else [value]
    known = all(isinstance(one, bool | int | float | str | None) for one in plain)
    return known and not name.startswith("_") and name != "training"


def _is_fixed(node: fx.Node, model: nn.Module) -> bool:
    """Return whether `node` has the same output for the same input throughout training."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        if any(parameter.requires_grad for parameter in module.parameters()):
            return False
        stateless = not any(True for _ in module.state_dict())
        return not module.training or (stateless and not isinstance(module, RANDOM))
    if node.op == "get_attr":
        value: Any = model
        for name in str(node.target).split("."):
            value = getattr(value, name)
        return isinstance(value, Tensor) and not value.requires_grad
    # Functions that draw random numbers do so in training alone: the two traces would differ.
    return node.op != "output"


def _ancestors(nodes: list[fx.Node]) -> set[fx.Node]:
    """Return `nodes` and all nodes that they are computed from."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _computation(graph: fx.Graph) -> list[tuple[str, str, str]]:
    """Return the operations of `graph` in order, with their arguments, without node names."""
    numbers = {node: number for number, node in enumerate(graph.nodes)}
    given = {
        node: fx.map_arg((node.args, node.kwargs), numbers.__getitem__) for node in graph.nodes
    }
    return [
        (node.op, getattr(node.target, "__qualname__", str(node.target)), repr(given[node]))
        for node in graph.nodes
    ]


def _copy(
    graph: fx.Graph, chosen: set[fx.Node], target: fx.Graph, copies: dict[fx.Node, fx.Node]
) -> dict[fx.Node, fx.Node]:
    """Copy the `chosen` nodes of `graph` into `target`; return `copies` with theirs added."""
    for node in graph.nodes:
        if node in chosen:
            copies[node] = target.node_copy(node, copies.__getitem__)
    return copies
