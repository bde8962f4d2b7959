"""A training loop for CIFAR-10 after K. Jordan's airbench94, to be timed beside ours.

Written from the paper: K. Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv 2404.00498. From there are the network (whitening of 2 × 2 patches, three blocks, an output
that is scaled by 1/9), its initial weights, the optimiser's settings with a faster rate for biases,
the triangular schedule, Lookahead, alternating flips, shifts by two pixels, label smoothing, and
the mean over mirrored and moved test images.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS, BATCH = 9.9, 1024
LR, MOMENTUM, WEIGHT_DECAY, BIAS_FACTOR = 11.5, 0.85, 0.0153, 64.0  # of 1024 images
SMOOTHING = 0.2
WIDTHS = (64, 256, 256)
OUTPUT_SCALE = 1 / 9
WHITENED, WHITENING_EPSILON, WHITENING_BIAS_EPOCHS = 5000, 5e-4, 3
NORM_MOMENTUM = 0.4  # torch's: the share of the new batch
SHIFT = 2  # pixels
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10


@dataclass(frozen=True)
class Images:
    """Images on the device, normalised, (n, 3, 32, 32), and their labels, int64 (n,)."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, stored: Tensor, labels: Tensor, device: torch.device) -> "Images":
        """Return images of stored ones, uint8 (n, 32, 32, 3)."""
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        mean, std = (torch.tensor(one, device=device).view(1, 3, 1, 1) for one in (MEAN, STD))
        scaled = stored.to(device).permute(0, 3, 1, 2).float() / 255
        pixels = ((scaled - mean) / std).to(dtype).to(memory_format=torch.channels_last)
        return cls(pixels, labels.to(device))


class _Norm(nn.BatchNorm2d):
    """Batch normalisation with a bias alone."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=NORM_MOMENTUM)
        self.weight.requires_grad = False


def _convolution(given: int, made: int) -> nn.Conv2d:
    """Return a 3 × 3 convolution that first passes its input on."""
    layer = nn.Conv2d(given, made, 3, padding="same", bias=False)
    nn.init.dirac_(layer.weight.data[:given])
    return layer


def _block(given: int, made: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(given, made),
        nn.MaxPool2d(2),
        _Norm(made),
        nn.GELU(),
        _convolution(made, made),
        _Norm(made),
        nn.GELU(),
    )


class _Scaled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * OUTPUT_SCALE


def network(images: Images) -> nn.Sequential:
    """Return the network, whose first layer whitens patches as those of the first images."""
    whitening = nn.Conv2d(3, 24, 2, padding=0, bias=True)
    whitening.weight.data[:] = _whitening(images.pixels[:WHITENED].float().cpu())
    whitening.weight.requires_grad = False
    assert whitening.bias is not None
    nn.init.zeros_(whitening.bias)
    widths = (24, *WIDTHS)
    blocks = [_block(*pair) for pair in itertools.pairwise(widths)]
    made = nn.Sequential(
        whitening,
        nn.GELU(),
        *blocks,
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(WIDTHS[-1], 10, bias=False),
        _Scaled(),
    )
    made = made.to(images.pixels.device).to(memory_format=torch.channels_last)
    for module in made.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for weights in module.parameters(recurse=False):
                weights.data = weights.data.to(images.pixels.dtype)
    return made


def _whitening(pixels: Tensor) -> Tensor:
    """Return weights (24, 3, 2, 2): the patches' principal components and their opposites."""
    patches = F.unfold(pixels, 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / torch.sqrt(values + WHITENING_EPSILON)).T.flip(0).reshape(12, 3, 2, 2)
    return torch.cat([filters, -filters])


def _moved(pixels: Tensor) -> Tensor:
    """Return images, each shifted by up to SHIFT pixels in both directions."""
    count, side = len(pixels), pixels.shape[-1]
    padded = F.pad(pixels, (SHIFT,) * 4, "reflect")
    moved = torch.empty_like(pixels)
    shifts = torch.randint(0, 2 * SHIFT + 1, (2, count), device=pixels.device)
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            chosen = (shifts[0] == top) & (shifts[1] == left)
            moved[chosen] = padded[chosen, :, top : top + side, left : left + side]
    return moved


def _epochs(images: Images, batch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield batches for ever, with the number of the epoch; a half is mirrored, then the other.

    Raises:
        ValueError: there are fewer images than a batch has, so there would never be one.
    """
    if len(images.labels) < batch:
        raise ValueError(f"{len(images.labels)} images: must be at least a batch of {batch}")
    first_flip = torch.rand(len(images.labels), device=images.labels.device) < 0.5
    epoch = 0
    while True:
        moved = _moved(images.pixels)
        mirrored = first_flip if epoch % 2 == 0 else ~first_flip
        moved = torch.where(mirrored[:, None, None, None], moved.flip(-1), moved)
        moved = moved.contiguous(memory_format=torch.channels_last)
        order = torch.randperm(len(moved), device=moved.device)
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield moved[chosen], images.labels[chosen], epoch
        epoch += 1


def _triangle(step: int, steps: int) -> float:
    """Return the rate's share at a step: from 0.2 to 1 at 23 % of the steps, then to 0.07."""
    peak = int(0.23 * steps)
    if step <= peak:
        return 0.2 + 0.8 * step / max(1, peak)
    return 1 - 0.93 * (step - peak) / max(1, steps - peak)


def train(
    images: Images, epochs: float, wait: Callable[[], None], batch: int = BATCH
) -> tuple[nn.Module, float]:
    """Return the trained network and the seconds that this took."""
    made = network(images).train()
    steps = max(1, int(epochs * (len(images.labels) // batch)))
    scale = 1024 * (1 + 1 / (1 - MOMENTUM))
    lr, decay = LR / scale, WEIGHT_DECAY * batch / scale
    norms = [module.bias for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    own = set(map(id, norms))
    others = [w for w in made.parameters() if w.requires_grad and id(w) not in own]
    groups = [
        {"params": norms, "lr": lr * BIAS_FACTOR, "weight_decay": decay / (lr * BIAS_FACTOR)},
        {"params": others, "lr": lr, "weight_decay": decay / lr},
    ]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    slow = {name: one.clone() for name, one in made.state_dict().items()}
    whitening_bias = made[0].bias
    assert isinstance(whitening_bias, Tensor)
    wait()
    began = time.perf_counter()
    source = _epochs(images, batch)
    for step in range(steps):
        pixels, labels, epoch = next(source)
        whitening_bias.requires_grad = epoch < WHITENING_BIAS_EPOCHS
        outputs = made(pixels)
        loss = F.cross_entropy(outputs.float(), labels, label_smoothing=SMOOTHING, reduction="sum")
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _triangle(step, steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % 5 == 0:
            _look_ahead(made, slow, 0.95**5 * (step / steps) ** 3)
    _look_ahead(made, slow, 1.0)
    wait()
    return made.eval(), time.perf_counter() - began


def _look_ahead(made: nn.Module, slow: dict[str, Tensor], decay: float) -> None:
    """Move the slow weights towards the network's, and the network to them; see Zhang et al. 2019.

    A decay of 1 leaves the slow weights where they are.
    """
    with torch.no_grad():
        for name, weights in made.state_dict().items():
            if weights.is_floating_point():
                slow[name].lerp_(weights, 1 - decay)
                weights.copy_(slow[name])


def accuracy(made: nn.Module, images: Images) -> float:
    """Return the share of right answers: of the mean over mirrored and moved images."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(images.labels), 2000):
            pixels = images.pixels[start : start + 2000]
            padded = F.pad(pixels, (1,) * 4, "reflect")
            views = [pixels, padded[:, :, 0:32, 0:32], padded[:, :, 2:34, 2:34]]
            weights = (0.5, 0.25, 0.25)
            outputs = sum(
                weight * (made(view) + made(view.flip(-1)))
                for weight, view in zip(weights, views, strict=True)
            )
            assert isinstance(outputs, Tensor)
            right += int((outputs.argmax(1) == images.labels[start : start + 2000]).sum())
    return right / len(images.labels)
