"""No step waits for the device while its images are changed."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fieldtrial.training.augment.mixing import mixed
from fieldtrial.training.augment.transforms import CHANGES, augment


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the operations that would wait for a device, whose place the meta device takes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves(args) if isinstance(one, Tensor)]
        on_device = [one.device.type == "meta" for one in tensors]
        name = func.overloadpacket.__name__
        reads = name in ("nonzero", "_local_scalar_dense") and on_device[0]
        sends = name in ("_to_copy", "copy_") and not kwargs.get("non_blocking")
        if name == "_to_copy":
            sends = sends and kwargs.get("device", tensors[0].device) != tensors[0].device
        elif name == "copy_":
            sends = sends and len(set(on_device)) == 2
        # An index on the CPU is copied first.
        if reads or sends or (name.startswith("index") and len(set(on_device)) == 2):
            self.found.append(name)
        return func(*args, **kwargs)


def test_waiting_is_noticed() -> None:
    images = torch.empty(8, 3, 16, 16, device="meta")
    with Waits() as waits:
        torch.ones(1).to("meta")
        images[torch.tensor([1, 2])]
        images[:1].copy_(torch.ones(1, 3, 16, 16))
        with contextlib.suppress(RuntimeError):  # nothing can be read from this device
            images.sum().item()
    assert waits.found == ["_to_copy", "index", "copy_", "_local_scalar_dense"]


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_waits_for_the_device(name: str) -> None:
    images = torch.empty(8, 3, 16, 16, device="meta")
    with Waits() as waits:
        assert augment(images, (name,), seed=0).device.type == "meta"
    assert waits.found == []


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0)])
def test_nothing_waits_for_the_device_where_images_are_mixed(mixup: float, cutmix: float) -> None:
    images = torch.empty(8, 16, 16, 3, dtype=torch.uint8, device="meta")
    labels = torch.empty(8, dtype=torch.int64, device="meta")
    with Waits() as waits:
        changed, shares = mixed(images, labels, 5, mixup, cutmix, seed=0)
    assert (changed.device.type, shares.shape) == ("meta", (8, 5))
    assert waits.found == []
