"""Own freezing schemes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import nn

from fieldtrial.training.data.splits import first_of
from fieldtrial.training.freezing.depth_axis import Unit
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import own_part
from fieldtrial.training.parts.saying import of_kind


class FreezeScheme(Protocol):
    """What says which parameters of a model do not train: a function."""

    def __call__(
        self, model: nn.Module, units: Sequence[Unit], /, *_: Any, **options: Any
    ) -> Iterable[str]:
        """Return the names of the frozen parameters, as `model.named_parameters()` has them.

        units: the model's, from the first layer to the head, the last one. A unit has its `name`,
            and the names of its `parameters`. Nothing of the model may be changed.
        """


def frozen_by(
    name: str, network: Network, axis: Sequence[Unit], options: Mapping[str, Any]
) -> set[str]:
    """Return the names of the parameters that the own scheme `name` freezes.

    Raises:
        ConfigError: it gave something else than names, or names of no parameters.
        OwnCodeError: it has raised something.
    """
    part = own_part("freeze", name, options)
    found = part(network.model, tuple(axis))
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise part.refused(f"gave {of_kind(found)}, names of parameters were expected")
    chosen = replace(part, call=list, options={})(found)  # it may be a generator's
    known = [one for unit in axis for one in unit.parameters]
    strange = [repr(one) for one in chosen if one not in known]
    if strange:
        raise part.refused(
            f"the model has no parameters {first_of(strange)}; it has {first_of(known)}"
        )
    return set(chosen)
