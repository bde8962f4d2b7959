"""Sweeps of labels and of numbers, as their trials leave them: one row is better than the other."""

from pathlib import Path
from typing import Any

import numpy as np

from fieldtrial.disk.files import write_arrays
from fieldtrial.results.read.answers import load_answers
from tests.results.conftest import BASE, CLASSES, Written

IMAGES = 60
ROWS: list[dict[str, Any]] = [{"lr": 0.1}, {"lr": 0.2}]


def labels(random: np.random.Generator, noise: float) -> dict[str, Any]:
    truth = (np.arange(IMAGES)[:, None] % (2, 3, 5) == 0).astype(np.uint8)
    logit = 2.0 * truth - 1 + random.normal(0, noise, truth.shape)
    return {"truth": truth, "logit": logit.astype(np.float32)}


def number(random: np.random.Generator, noise: float) -> dict[str, Any]:
    target = np.linspace(20, 80, IMAGES)
    value = target + random.normal(0, 10 * noise, IMAGES)
    return {"target": target, "value": value, "deviation": np.array([17.0])}


def write_sweep(path: Path, task: str) -> Written:
    """Write a sweep of two rows whose final runs have answered 60 images."""
    select = {"multilabel": "validation_map", "regression": "validation_mae"}[task]
    made = {"multilabel": labels, "regression": number}[task]
    written = Written(path)
    written.rows = [{"task": task, "select": select, **row} for row in ROWS]
    base = {**BASE.to_dict(), "task": task, "select": select}
    written.describe(base=base, rows=ROWS, search={}, trials=1, select=select)
    for row, (noise, fields) in enumerate(zip((0.5, 2.0), ROWS, strict=True)):
        written.ended(row, result={select: 0.5}, **fields)
        for seed in range(3):
            run = written.ended(row, "final", seed=seed + 1, **fields)
            arrays = made(np.random.default_rng(seed), noise)
            write_arrays(run.predictions_path("test"), index=np.arange(IMAGES), **arrays)
            names = list(CLASSES) if task == "multilabel" else ["<b>age"]
            known = (run.result() or {}) | {select: 0.5, "class_names": names}
            run.write_result(known)
            answers = load_answers(run)
            assert answers is not None
            run.write_result(known | {f"test_{k}": v for k, v in answers.summary().items()})
    return written
