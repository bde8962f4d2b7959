"""What the report shows of labels and numbers, in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from fieldtrial.results.report.build import write_report
from tests.results.report.answered import write_sweep
from tests.results.report.test_browser import Opened

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_answers_are_drawn_and_change_with_the_row(
    task: str, browser: Browser, tmp_path: Path
) -> None:
    report = write_report(write_sweep(tmp_path / "sweep", task).folder)
    opened = Opened(browser)
    page = opened.page
    page.goto(report.as_uri())
    for chart in page.locator("#labels .chart, #numbers .chart").all():
        chart.scroll_into_view_if_needed()
        expect(chart.locator(".main-svg").first).to_be_attached()
    rows = page.locator("#answers-row")
    expect(rows.locator("option")).to_have_text(["lr=0.1", "lr=0.2"])
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
        expect(note).to_contain_text("180 predictions of 3 runs for 60 images: MAE 3.")
        expect(page.locator("#numbers-chart .xtitle")).to_have_text("true <b>age")
        expect(page.locator("#residuals-chart .ytitle")).to_have_text("predicted minus true")
        assert page.locator("#numbers-chart .point").count() == 180
        rows.select_option("1")
        expect(note).not_to_contain_text("MAE 3.")
    assert page.locator("#pictures").count() == 0
    opened.context.close()
    assert opened.problems == []
