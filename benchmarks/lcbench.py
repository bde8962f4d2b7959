"""LCBench as a surrogate: learning curves of small networks on 34 data sets, for any configuration.

The surrogate is that of YAHPO Gym (Pfisterer et al. 2022), a network fitted to the 2,000 trainings
of each data set of LCBench (Zimmer et al. 2021). Its file, model.onnx of slds-lmu/yahpo_data, is
read here without any ONNX library: the network has one shape, and the file gives its weights.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldtrial.search_domains import Range, lograndint, loguniform, randint, uniform

EPOCHS = 52
BLOCKS = 3
# In the order of the network's inputs, after the epoch, as it scales them.
SPACE: dict[str, Range] = {
    "batch_size": lograndint(16, 513),
    "lr": loguniform(1e-4, 1e-1),
    "momentum": uniform(0.1, 0.99),
    "weight_decay": uniform(1e-5, 1e-1),
    "num_layers": randint(1, 6),
    "max_units": lograndint(64, 1025),
    "max_dropout": uniform(0.0, 1.0),
}
IN_LOG = np.array([1, 0, 1, 0, 1, 0, 0, 0], bool)
OFFSET = np.array([0.0, 16.0, -9.209311, 0.10000386, -9.9164562, 1.0, 64.0, 0.00053574], np.float32)
SCALE = np.array([3.9512435, 495.0, 6.8969750, 0.8822514, 7.6138458, 3.0, 960.0, 0.99941206])
ACCURACY = 1  # the second output: validation accuracy, in per cent, as a logarithm
ACCURACY_SCALE, ACCURACY_OFFSET = 32.23384857, -27.63102150


class Surrogate:
    """The fitted network. `tasks` are the numbers of the data sets on OpenML."""

    def __init__(self, folder: Path) -> None:
        self.tasks = _tasks(folder)
        self._rows = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        self._weights = dict(_initializers((folder / "model.onnx").read_bytes()))

    def curves(self, task: str, configurations: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Return validation accuracies from 0 to 1, [configuration, epoch].

        configurations: [n, 7] values in the order of SPACE.
        """
        n, t = len(configurations), len(epochs)
        inputs = np.empty((n, t, len(OFFSET)))
        inputs[:, :, 0] = epochs
        inputs[:, :, 1:] = configurations[:, None]
        flat = inputs.reshape(n * t, -1)
        flat = (np.where(IN_LOG, np.log(flat + 1e-12), flat) - OFFSET) / SCALE
        data_set = np.broadcast_to(
            self._weights["embds_fct.0.weight"][self._rows[task]], (n * t, 24)
        )
        output = self._network(np.concatenate([data_set, flat], 1).astype(np.float32))
        accuracy = output[:, ACCURACY].astype(float) * ACCURACY_SCALE + ACCURACY_OFFSET
        return np.asarray(np.minimum(np.exp(accuracy) / 100, 1.0).reshape(n, t))

    def curve(self, task: str, configuration: Mapping[str, Any]) -> np.ndarray:
        """Return the best accuracy so far after each epoch, [EPOCHS]."""
        values = np.array([[float(configuration[name]) for name in SPACE]])
        found = self.curves(task, values, np.arange(1, EPOCHS + 1))[0]
        return np.maximum.accumulate(found)

    def best(self, task: str, tried: int = 20_000) -> float:
        """Return the best accuracy that a long search finds: at random, then near the best."""
        generator = np.random.default_rng(int(task))
        ends = np.array([EPOCHS // 4, EPOCHS // 2, EPOCHS])
        unit = generator.random((tried, len(SPACE)))
        scores = self._scores(task, unit, ends)
        for width in (0.2, 0.1, 0.05, 0.02, 0.01):
            top = np.argsort(-scores)[:20]
            near = unit[np.repeat(top, 50)]
            near = near + width * generator.standard_normal(near.shape) * (
                generator.random(near.shape) < 0.5
            )
            unit = np.concatenate([unit[top], np.clip(near, 0, 1)])
            scores = self._scores(task, unit, np.arange(2, EPOCHS + 1, 5))
        return float(scores.max())

    def _scores(self, task: str, unit: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        configurations = np.stack(
            [scaled(domain, unit[:, i]) for i, domain in enumerate(SPACE.values())], 1
        )
        parts = np.array_split(configurations, max(1, len(unit) * len(epochs) // 4000))
        return np.concatenate([self.curves(task, part, epochs).max(1) for part in parts])

    def _network(self, x: np.ndarray) -> np.ndarray:
        w = self._weights
        x = x @ w["first_layer.weight"].T + w["first_layer.bias"]
        for block in range(BLOCKS):
            name = f"layers.{block}"
            y = _normalised(x, w, f"{name}.norm")
            y = y @ w[f"{name}.linear0.weight"].T + w[f"{name}.linear0.bias"]
            half = y.shape[1] // 2
            y = y[:, :half] * np.maximum(y[:, half:], 0)
            x = x + y @ w[f"{name}.linear1.weight"].T + w[f"{name}.linear1.bias"]
        x = np.maximum(_normalised(x, w, "last_normalization"), 0)
        x = x @ w["head.weight"].T + w["head.bias"]
        return np.asarray(1 / (1 + np.exp(-x)))


def scaled(domain: Range, unit: np.ndarray) -> np.ndarray:
    """Return values of a domain of SPACE at places from 0 to 1."""
    low, high = domain.lower, domain.upper
    if domain.is_log:
        values = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
    else:
        values = low + unit * (high - low)
    values = np.floor(values) if domain.is_whole else values
    return np.asarray(np.clip(values, *domain.ends))


def _tasks(folder: Path) -> list[str]:
    space = json.loads((folder / "config_space.json").read_text())
    return list(space["hyperparameters"][0]["choices"])


def _normalised(x: np.ndarray, weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    mean, variance = (weights[f"{name}.running_{one}"] for one in ("mean", "var"))
    scale = weights[f"{name}.weight"] / np.sqrt(variance + 1e-5)
    return np.asarray((x - mean) * scale + weights[f"{name}.bias"])


def _initializers(model: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and values of the weights in an ONNX file (a protocol buffer)."""
    graph = next(value for number, value in _fields(model) if number == 7)
    for number, tensor in _fields(graph):
        if number == 5:
            parts = list(_fields(tensor))
            shape = [value for key, value in parts if key == 1]
            name = next(value for key, value in parts if key == 8)
            raw = next(value for key, value in parts if key == 9)
            yield name.decode(), np.frombuffer(raw, "<f4").reshape(shape)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of the fields of a protocol buffer's message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(message, place)
        else:
            size = {1: 8, 5: 4}[kind]
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
