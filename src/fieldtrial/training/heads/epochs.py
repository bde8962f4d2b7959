"""An epoch of many heads at once: training, and evaluation."""

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from fieldtrial.training.data.splits import Indices
from fieldtrial.training.heads.stack import Features, Heads
from fieldtrial.training.loop.batches import shuffled
from fieldtrial.training.loop.epoch import Diverged, EpochStatistics, measured_steps
from fieldtrial.training.loop.optimizers import learning_rate
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.tasks.interface import Scores

EVALUATED = 256  # images at once


def evaluate(heads: Heads, features: Features, indices: Sequence[Indices]) -> list[Scores]:
    """Return the plain cross-entropy and the share of right answers of each head on its images."""
    count = len(heads.configs)
    totals = torch.zeros(count, 2, dtype=torch.float64, device=heads.parameters.device)
    longest = max(map(len, indices))
    chosen = _distinct(indices)
    for start in range(0, longest, EVALUATED):
        totals += heads.measure(
            features.rows([own[start : start + EVALUATED] for own in chosen], count)
        )
    means = (totals.cpu() / torch.tensor([[len(own)] for own in indices])).tolist()
    return [dict(zip(("loss", "accuracy"), own, strict=True)) for own in means]


def train_epoch(
    heads: Heads, features: Features, train: Sequence[Indices], progress: Sequence[TrialProgress]
) -> list[EpochStatistics | Diverged]:
    """Train each head on each of its images once; return each one's statistics.

    They are those of `loop.epoch.train_epoch`, whose losses, orders and steps each head has, with
    an equal share of the seconds. All heads take equally many steps. Where a head's loss or
    gradient is not finite, there is the error in the place of statistics.
    """
    configs, size = heads.configs, heads.configs[0].batch_size
    steps = math.ceil(len(train[0]) / size)
    firsts = [own.epoch * steps for own in progress]
    rates = torch.tensor(
        [
            [
                learning_rate(config, first + i, steps * config.epochs, own.plateaus)
                for config, first, own in zip(configs, firsts, progress, strict=True)
            ]
            for i in range(steps)
        ],
        dtype=torch.float64,
    ).to(heads.parameters.device)
    orders = _distinct(_orders(heads, train, progress))
    measured = measured_steps(steps)
    sums, norms, updates = list[Tensor](), list[Tensor](), list[Tensor]()
    waited = 0.0
    for i in range(steps):
        asked = time.perf_counter()
        rows = features.rows([own[i * size : (i + 1) * size] for own in orders], len(configs))
        waited += time.perf_counter() - asked
        before = heads.parameters.clone() if i in measured else None
        of_step, norm = heads.step(rows, rates[i], is_measured=i in measured)
        sums.append(of_step)
        if norm is not None:
            norms.append(norm)
        if before is not None:
            updates.append(torch.stack([_norms(before - heads.parameters), _norms(before)]))
    images = torch.tensor([[len(own)] for own in train])
    means = (torch.stack(sums).sum(0).cpu() / images).tolist()
    losses = torch.stack(sums)[..., 0].T.tolist()
    mean_norms = torch.stack(norms).double().mean(0).tolist()
    changes = torch.stack(updates).double().permute(2, 1, 0).cpu()
    return [
        _problem(losses[head], mean_norms[head], first, own.epoch + 1)
        or EpochStatistics(
            dict(zip(("loss", "accuracy"), means[head], strict=True)),
            len(train[head]),
            waited / len(train),
            mean_norms[head],
            _ratio(*changes[head]),
        )
        for head, (first, own) in enumerate(zip(firsts, progress, strict=True))
    ]


def _orders(
    heads: Heads, train: Sequence[Indices], progress: Sequence[TrialProgress]
) -> Sequence[Indices]:
    """Return the order of each head's images: the same object where it is the same."""
    known: dict[tuple[int, int, int], Indices] = {}
    orders = []
    for config, images, own in zip(heads.configs, train, progress, strict=True):
        if not config.shuffle:
            orders.append(images)
            continue
        key = id(images), config.seed, own.epoch
        if key not in known:
            known[key] = shuffled(images, config, own.epoch + 1)
        orders.append(known[key])
    return orders


def _distinct(indices: Sequence[Indices]) -> Sequence[Indices]:
    """Return the one that all heads share, or `indices`."""
    return indices[:1] if all(own is indices[0] for own in indices) else indices


def _norms(parameters: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(parameters, dim=(1, 2))
    return norms


def _ratio(change: Tensor, weights: Tensor) -> float:
    ratios = (change / weights)[weights > 0]
    return float(ratios.mean()) if len(ratios) else 0.0


def _problem(losses: list[float], norm: float, first: int, epoch: int) -> Diverged | None:
    """Return that a head has diverged, with the first step whose loss is not finite."""
    for step, loss in enumerate(losses, start=first + 1):
        if not math.isfinite(loss):
            return Diverged(f"the training loss is {loss} at step {step} (epoch {epoch})")
    if not math.isfinite(norm):
        return Diverged(f"a gradient's norm is {norm} in epoch {epoch}")
    return None
