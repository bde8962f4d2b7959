"""The freeze point: up to where a model makes the same of an image in every epoch, and its two
parts there.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from fieldtrial.training.freezing.schemes import hold_frozen
from fieldtrial.training.models.network import Network

RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


@dataclass(frozen=True)
class FreezePoint:
    """A model cut in two where its frozen part ends.

    Attributes:
        prefix: from normalised images (n, channels, h, w) to features (n, ...): nothing in it
        trains or draws.
        tail: from the features to what the model returns. Both run the model's own modules.
        tensors: names of the model's parameters and buffers that the prefix computes with.
        computation: the prefix as text, with the settings of its layers: equal for equal
        computations.
    """

    prefix: fx.Interpreter
    tail: fx.Interpreter
    tensors: tuple[str, ...]
    computation: str


class _Tracer(fx.Tracer):
    """Records a model's computation down to torch's own modules and the last layer, whose call
    others may watch.
    """

    def __init__(self, head: str) -> None:
        super().__init__()
        self._head = head

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """See fx.Tracer."""
        return f"model.{name}" == self._head or super().is_leaf_module(module, name)


def find_freeze_point(network: Network) -> FreezePoint | None:
    """Return where to cut the inner model of `network`, frozen as it is.

    None where the first layer trains already, where several tensors cross the cut (a block that is
    frozen in part), or where the model's code cannot be traced or is not the same in training and
    evaluation.
    """
    traces = []
    for mode in (False, True):
        network.train(mode)
        hold_frozen(network)
        try:
            trace = _Tracer(network.head).trace(network.model)
        except Exception:  # anything may go wrong in a model's code that is run without numbers
            return None
        traces.append(fx.Graph())
        _copy(
            trace, _ancestors([trace.output_node()]), traces[-1], {}
        )  # without what nothing comes of
    evaluation, graph = traces
    if _computation(evaluation) != _computation(graph):
        return None
    fixed: set[fx.Node] = set()
    for node in graph.nodes:  # in the order in which they are computed
        if all(given in fixed for given in node.all_input_nodes) and _is_fixed(node, network.model):
            fixed.add(node)
    crossing = [node for node in graph.nodes if node in fixed and not fixed.issuperset(node.users)]
    needed = _ancestors(crossing)
    modules = tuple(
        str(node.target) for node in graph.nodes if node in needed and node.op == "call_module"
    )
    used = (
        *modules,
        *(str(node.target) for node in graph.nodes if node in needed and node.op == "get_attr"),
    )
    tensors = tuple(
        name for name in named_tensors(network) if any(f"{name}.".startswith(f"{u}.") for u in used)
    )
    if len(crossing) != 1 or not tensors:
        return None
    prefix = fx.Graph()
    prefix.output(_copy(graph, needed, prefix, {})[crossing[0]])
    tail = fx.Graph()
    _copy(graph, set(graph.nodes) - fixed, tail, {crossing[0]: tail.placeholder("features")})
    return FreezePoint(
        prefix=fx.Interpreter(network.model, graph=prefix),
        tail=fx.Interpreter(network.model, graph=tail),
        tensors=tensors,
        computation=repr(
            (_computation(prefix), [_settings(network.model.get_submodule(u)) for u in modules])
        ),
    )


def named_tensors(network: Network) -> dict[str, Tensor]:
    """Return the inner model's parameters and buffers by name, those included that no checkpoint
    has.
    """
    model = network.model  # one tensor may have several names
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _settings(layer: nn.Module) -> list[tuple[str, dict[str, str]]]:
    """Return the class and the settings of `layer` and all inside it: layers of one name and shape
    may differ there.
    """
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
    """Return whether `node` computes the same whenever it is given the same, all through a
    training.
    """
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
    return (
        node.op != "output"
    )  # functions that draw do so in training alone: the two traces would differ


def _ancestors(nodes: list[fx.Node]) -> set[fx.Node]:
    """Return `nodes` and all that they are computed from."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _computation(graph: fx.Graph) -> list[tuple[str, str, str]]:
    """Return what `graph` computes, step by step, without the names of the steps."""
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
    """Copy those nodes of `graph` that are `chosen` into `target`; return `copies`, of earlier
    ones, and theirs.
    """
    for node in graph.nodes:
        if node in chosen:
            copies[node] = target.node_copy(node, copies.__getitem__)
    return copies
