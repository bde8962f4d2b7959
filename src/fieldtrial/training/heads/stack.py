"""Linear heads of equal shape as one tensor: logits, losses and gradients by one product."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.heads.updates import UPDATES

ON_DEVICE_BYTES = 2 * 2**30  # of features that a GPU holds throughout; larger ones go by the batch
CLIP_EPSILON = 1e-6  # as torch.nn.utils.clip_grads_with_norm_ has it


@dataclass(frozen=True)
class Rows:
    """The features and labels of one batch for each of k heads.

    Attributes:
        features: float32 (images, width) where all heads see the same images, else (k, images,
            width).
        labels: int64 (images,) or (k, images).
        weights: float32 (k, images): 1, or 0 for padding.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor


class Features:
    """The features that all heads of a group see, float32 (n, width), with labels int64 (n,)."""

    def __init__(self, features: NDArray[Any], labels: Indices, device: torch.device):
        self._features, self._labels, self._device = features, labels, device
        self._held: Tensor | None = None
        if device.type == "cuda" and features.nbytes <= ON_DEVICE_BYTES:
            self._held = torch.from_numpy(np.array(features)).to(device)

    def rows(self, chosen: Sequence[Indices], heads: int) -> Rows:
        """Return the images `chosen`, numbers that all heads share, or a sequence for each head.

        Sequences may be of unequal length: shorter ones are padded.
        """
        width = max(map(len, chosen))
        weights = np.ones((heads, width), np.float32)
        index: Indices = chosen[0]
        if len(chosen) > 1:
            index = np.zeros((heads, width), np.int64)
            for head, own in enumerate(chosen):
                index[head, : len(own)], weights[head, len(own) :] = own, 0
        if self._held is None:
            features = self._send(np.asarray(self._features[index]))
        else:
            features = self._held[self._send(index)]
        return Rows(features, self._send(self._labels[index]), self._send(weights))

    def _send(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


class Heads:
    """k linear heads.

    Attributes:
        configs: of the heads, which have one optimiser.
        parameters: float32 (k, classes, width + 1): a class's weights, and its bias at the end.
        updates: the optimiser's state.
    """

    def __init__(
        self, configs: Sequence[TrainConfig], weights: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> None:
        """`weights`, each (classes, width), and `biases`, each (classes,), are copied."""
        self.configs = list(configs)
        self.parameters = torch.cat(
            [torch.stack(list(weights)), torch.stack(list(biases))[..., None]], 2
        )
        self.updates = UPDATES[configs[0].optimizer](configs, self.parameters)
        self._prepare()

    def _prepare(self) -> None:
        device = self.parameters.device
        self._smoothing = torch.tensor([c.label_smoothing for c in self.configs], device=device)
        clips = [c.gradient_clip for c in self.configs]
        self._clips = (
            torch.tensor([np.inf if c is None else c for c in clips], device=device)
            if any(c is not None for c in clips)
            else None
        )

    def keep(self, chosen: Sequence[int]) -> None:
        """Go on with these of the heads, in this order."""
        index = torch.tensor(chosen, dtype=torch.int64, device=self.parameters.device)
        self.configs = [self.configs[head] for head in chosen]
        self.parameters = self.parameters[index]
        self.updates.keep(index)
        self._prepare()

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (k, images, classes) of features as in Rows."""
        weights, biases = self.parameters[..., :-1], self.parameters[..., -1]
        if features.ndim == 3:
            return torch.baddbmm(biases[:, None], features, weights.transpose(1, 2))
        flat = torch.addmm(biases.flatten(), features, self.parameters.flatten(0, 1)[:, :-1].t())
        return flat.view(len(features), *biases.shape).transpose(0, 1)

    def measure(self, rows: Rows) -> Tensor:
        """Return the summed cross-entropy and the number of right answers, float64 (k, 2)."""
        logits = self.logits(rows.features)
        labels = rows.labels.expand(logits.shape[:2])
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return _sums(losses, logits, labels, rows.weights)

    def step(
        self, rows: Rows, lr: Tensor, is_measured: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Take a step of each head on its batch.

        lr: float64 (k,). Returns the summed losses, with label smoothing, and the numbers of right
        answers before the step, float64 (k, 2), and the norms of the gradients before clipping,
        float32 (k,); None where they are not measured.
        """
        logits = self.logits(rows.features)
        labels = rows.labels.expand(logits.shape[:2])
        log_probability = functional.log_softmax(logits, 2)
        smoothing, classes = self._smoothing[:, None], logits.shape[2]
        losses = -log_probability.gather(2, labels[..., None])[..., 0]
        spread = -log_probability.sum(2) / classes
        losses = (1 - smoothing) * losses + smoothing * spread
        sums = _sums(losses, logits, labels, rows.weights)
        slope = log_probability.exp() - (smoothing / classes)[..., None]
        slope.scatter_add_(
            2, labels[..., None], (smoothing - 1)[..., None].expand(*labels.shape, 1)
        )
        slope *= (rows.weights / rows.weights.sum(1, keepdim=True))[..., None]
        gradient = self._gradient(slope, rows.features)
        norms = None
        if is_measured or self._clips is not None:
            norms = torch.linalg.vector_norm(gradient, dim=(1, 2))
        if self._clips is not None:
            assert norms is not None
            scale = (self._clips / (norms + CLIP_EPSILON)).clamp(max=1)
            gradient *= scale[:, None, None]
        self.updates.step(self.parameters, gradient, lr)
        return sums, norms if is_measured else None

    def _gradient(self, slope: Tensor, features: Tensor) -> Tensor:
        """Return the gradient of the parameters for that of the logits, (k, images, classes)."""
        gradient = torch.empty_like(self.parameters)
        gradient[..., -1] = slope.sum(1)
        if features.ndim == 3:
            gradient[..., :-1] = torch.bmm(slope.transpose(1, 2), features)
        else:
            heads, images, classes = slope.shape
            flat = slope.transpose(1, 2).reshape(heads * classes, images)
            torch.mm(flat, features, out=gradient.flatten(0, 1)[:, :-1])
        return gradient


def _sums(losses: Tensor, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    right = (logits.argmax(2) == labels) * weights
    return torch.stack([(losses * weights).sum(1), right.sum(1)], 1).double()
