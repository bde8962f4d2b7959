"""What the report shows of labels and numbers, in a real browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from fieldtrial.disk.files import write_arrays
from fieldtrial.results.read.answers import load_answers
from fieldtrial.results.report.build import write_report
from tests.results.conftest import BASE, CLASSES, Written
from tests.results.report.test_browser import Opened

pytestmark = pytest.mark.slow
IMAGES = 60
ROWS = ({"lr": 0.1}, {"lr": 0.2})


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
    written.describe(base=base, rows=list(ROWS), search={}, trials=1, select=select)
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


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_answers_are_drawn_and_change_with_the_row(
    task: str, browser: Browser, tmp_path: Path
) -> None:
    report = write_report(write_sweep(tmp_path / "sweep", task).folder)
    opened = Opened(browser)
    page = opened.page
    page.goto(report.as_uri())
    opened.read()
    rows = page.locator("#answers-row")
    expect(rows.locator("option")).to_have_text(["lr 0.1", "lr 0.2"])
    if task == "multilabel":
        lines = page.locator("#labels-table tbody tr")
        expect(lines).to_have_count(3)
        expect(lines.filter(has_text="</script><b>tulip")).to_contain_text("12")  # its images
        expect(page.locator("#labels-chart")).to_contain_text("daisy")
        before = lines.all_inner_texts()
        rows.select_option("1")
        expect(lines.first).not_to_have_text(before[0])
    else:
        note = page.locator("#numbers .note").first
        expect(note).to_contain_text("180 predictions of 3 runs for 60 images: MAE 4")
        expect(page.locator("#numbers-chart .xtitle")).to_have_text("true <b>age")
        expect(page.locator("#residuals-chart .ytitle")).to_have_text("predicted minus true")
        assert page.locator("#numbers-chart .point").count() == 180
        rows.select_option("1")
        expect(note).not_to_contain_text("MAE 4")
    assert page.locator("#pictures").count() == 0
    opened.context.close()
    assert opened.problems == []
