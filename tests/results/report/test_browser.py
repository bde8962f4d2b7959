"""The report in a real browser, offline: sorted, filtered, brushed, printed, and updated."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.report.build import write_report
from tests.results.conftest import Written

DESKTOP = {"width": 1280, "height": 900}
LAPTOP = {"width": 1300, "height": 900}
PHONE: ViewportSize = {"width": 375, "height": 800}
TRIALS = 48  # search 36 + 1 failed + 1 running + 1 waiting, final 9

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(reported: SweepFolder) -> Path:
    return write_report(reported)


class Opened:
    """A page and what went wrong on it."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))

    def read(self) -> None:
        """Scroll down to the end, so that every figure is drawn."""
        for chart in self.page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            expect(
                chart.locator(".main-svg").first.or_(
                    chart.locator("xpath=self::*[contains(@class,'empty')]")
                )
            ).to_be_attached()


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    opened = Opened(browser)
    opened.page.goto(report.as_uri())
    yield opened
    opened.context.close()
    assert opened.problems == []


@pytest.fixture
def page(opened: Opened) -> Page:
    return opened.page


def first_cells(page: Page, column: str) -> list[str]:
    """Return the texts of a column in the list of trials."""
    heads = page.locator("#trials-table th").all_inner_texts()
    place = next(number for number, head in enumerate(heads) if head.split("\xa0")[0] == column)
    return [
        row.locator("td").nth(place).inner_text()
        for row in page.locator("#trials-table tbody tr").all()
    ]


def test_every_figure_is_drawn_and_nothing_is_loaded(browser: Browser, report: Path) -> None:
    opened = Opened(browser, offline=True)
    asked: list[str] = []
    opened.page.on("request", lambda request: asked.append(request.url))
    opened.page.goto(report.as_uri())
    opened.read()
    assert opened.page.locator(".chart .main-svg").count() >= 9
    assert opened.page.locator(".chart.empty").all_inner_texts() == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    expect(opened.page.locator("#roc-chart .legend")).to_contain_text("rose (AUC")
    opened.context.close()
    assert opened.problems == []


def test_the_best_of_fewer_trials_has_a_line_for_each_row(page: Page) -> None:
    chart = page.locator("#budget-chart")
    chart.scroll_into_view_if_needed()
    expect(chart.locator(".legend .legendtext")).to_have_text(
        ["cnn · none", "cnn · all_but_head", "mlp · pattern:<img src=x onerror=window…"]
    )
    expect(chart.locator(".xtitle")).to_have_text("search trials")
    expect(chart.locator(".ytitle")).to_have_text("expected best validation accuracy (%)")
    lines = chart.locator(".scatterlayer .trace")
    assert [line.locator(".point").count() for line in lines.all()] == [12, 12, 13]
    page.fill("#filter", "model=mlp")  # which chooses trials of other figures
    expect(page.locator("#selected")).not_to_have_text(f"39 of {TRIALS} trials")
    expect(chart.locator(".legend .legendtext")).to_have_count(3)


NINE_ROWS = """() => {
  Object.assign(report.budget, { lines: Array(9).fill(report.budget.lines[0]), left_out: 4 });
  const { traces, note } = budgetChart();
  return [traces.filter((trace) => trace.showlegend).map((trace) => trace.name), note];
}"""


def test_the_best_rows_of_many_are_named(page: Page) -> None:
    names, note = page.evaluate(NINE_ROWS)
    assert sorted(names) == ["3 others", *["cnn · none"] * 6]
    assert note == "The best 9 of 13 rows."


def test_texts_of_strangers_are_texts(page: Page, opened: Opened) -> None:
    opened.read()
    page.locator("#clear").click()
    assert page.evaluate("window.stranger") is None
    assert page.locator("img").count() == 0
    expect(page.locator("#failures")).to_contain_text("<img src=x onerror=window.stranger=1>")
    expect(page.locator("#table tbody")).to_contain_text("pattern:<img src=x")
    expect(page.locator("#class-accuracy-chart")).to_contain_text("</script><b>tulip")


def test_a_click_and_a_key_sort(page: Page) -> None:
    head = page.locator("#trials-table th", has_text="lr").first
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    falling = [float(text) for text in first_cells(page, "lr")]
    assert falling == sorted(falling, reverse=True)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    rising = [float(text) for text in first_cells(page, "lr")]
    assert rising == sorted(rising)
    assert rising[0] < falling[-1]
    page.locator("#next").click()
    assert float(first_cells(page, "lr")[0]) >= rising[-1]


def test_the_table_of_rows_is_sorted_too(page: Page) -> None:
    head = page.locator("#table th", has_text="test accuracy")
    head.get_by_role("button").click()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("#table tbody tr td:first-child").all_inner_texts() == ["mlp", "cnn", "cnn"]


def test_the_filter_chooses_and_says_what_is_wrong(page: Page) -> None:
    expect(page.locator("#selected")).to_have_text(
        f"39 of {TRIALS} trials"
    )  # at first, those of the search
    page.fill("#filter", "model=mlp validation_accuracy<45")
    expect(page.locator("#selected")).not_to_have_text(f"39 of {TRIALS} trials")
    assert set(first_cells(page, "model")) == {"mlp"}
    assert all(float(text) < 45 for text in first_cells(page, "validation accuracy (%)"))
    page.fill("#filter", "colour=red")
    expect(page.locator("#filter-problem")).to_contain_text("no column colour")
    assert page.locator("#filter").get_attribute("aria-invalid") == "true"
    page.locator("#clear").click()
    expect(page.locator("#selected")).to_have_text(f"{TRIALS} of {TRIALS} trials")
    page.fill("#filter", "outcome=failed")
    expect(page.locator("#selected")).to_have_text(f"1 of {TRIALS} trials")


def test_a_trial_links_to_its_command(page: Page) -> None:
    page.fill("#filter", "role=final")
    expect(page.locator("#selected")).to_have_text(f"9 of {TRIALS} trials")
    link = page.locator("#trials-table a", has_text="command").first
    address = Path(str(link.evaluate("link => new URL(link.href).pathname")))
    assert address.read_text().startswith("fieldtrial train")


def test_an_axis_is_brushed_by_pointer_and_by_keys(page: Page) -> None:
    axis = page.locator(".axis", has_text="lr").first
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    expect(axis).to_have_class("axis brushed")
    expect(page.locator("#selected")).not_to_have_text(f"39 of {TRIALS} trials")
    brushed = int(page.locator("#selected").inner_text().split()[0])
    assert 0 < brushed < 39
    assert len(first_cells(page, "lr")) == min(brushed, 25)
    page.mouse.click(middle, box["y"] + 0.7 * box["height"])
    expect(page.locator("#selected")).to_have_text(f"39 of {TRIALS} trials")
    handle = page.get_by_role("slider", name="most lr")
    handle.focus()
    for _ in range(10):
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(30)  # a frame each
    expect(handle).to_have_attribute("aria-valuenow", "80")
    expect(page.locator("#selected")).not_to_have_text(f"39 of {TRIALS} trials")
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_have_text(f"39 of {TRIALS} trials")


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, report: Path) -> None:
    opened = Opened(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    opened.page.goto(report.as_uri())
    opened.read()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    opened.context.close()
    assert opened.problems == []


ENDS = """table => [...table.querySelectorAll("thead th")]
  .filter((head) => /^(test|validation) accuracy/.test(head.innerText))
  .map((head) => head.getBoundingClientRect().right)"""


def test_accuracies_are_seen_without_scrolling(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = Written(tmp_path_factory.mktemp("wide") / "sweep")
    name = "/data/shared/weights/torchvision/squeezenet1_0-{}.pth"
    written.rows = [
        {"weights": name.format(one), "freeze": freeze, "optimizer": "adamw", "batch_size": size}
        for one in ("imagenet-b66bff10", "inaturalist")
        for freeze in ("none", "all_but_last:3")
        for size in (16, 128)
    ]
    fields = ["lr", "dropout", "weight_decay", "label_smoothing", "epsilon", "momentum", "gamma"]
    search = dict.fromkeys(fields, "uniform(0.01, 0.5)")
    written.describe(rows=written.rows, search=search, trials=1)
    for row in range(len(written.rows)):
        values: dict[str, Any] = dict.fromkeys(fields, 0.0123456 + row / 100)
        written.ended(row, validation=0.9 - row / 100, **values)
        for seed in range(3):
            written.ended(row, "final", 0.8, 0.8 - row / 50, **values, seed=seed + 1)
    opened = Opened(browser, viewport=LAPTOP)
    opened.page.goto(write_report(written.folder).as_uri())
    for table, count in (("#table table", 2), ("#trials-table", 2)):
        ends = opened.page.locator(table).evaluate(ENDS)
        assert len(ends) == count
        assert max(ends) <= LAPTOP["width"], table
    opened.page.set_viewport_size(PHONE)  # where the names in the figures at the top are long
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    opened.context.close()


def test_pictures_of_models_are_shown_and_described(
    browser: Browser, reported: SweepFolder, tmp_path: Path
) -> None:
    folder = SweepFolder(shutil.copytree(reported.path, tmp_path / "sweep"))
    finals = [entry["trial"] for entry in folder.trials() if entry["role"] == "final"]
    for trial in finals[:2]:
        path = folder.run(trial).picture_path("grad-cam")
        path.parent.mkdir()
        Image.linear_gradient("L").resize((1600, 800)).save(path)
    opened = Opened(browser, offline=True)
    page = opened.page
    page.goto(write_report(folder).as_uri())
    pictures = page.locator("#pictures img")
    assert pictures.count() == 2
    first, second = pictures.all()
    first.scroll_into_view_if_needed()
    expect(first).to_have_js_property("naturalWidth", 1000)
    expect(second).to_be_hidden()
    for summary in (finals[1], "grad cam"):
        page.locator("#pictures summary", has_text=summary).last.focus()
        page.keyboard.press("Enter")
    expect(second).to_be_visible()
    assert str(second.get_attribute("alt")).startswith(
        "grad cam: images, and where in them the model looks"
    )
    expect(page.locator("#pictures")).to_contain_text("fieldtrial explain --run")
    opened.context.close()
    assert opened.problems == []


def test_the_dark_has_colours_of_its_own(browser: Browser, report: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        opened = Opened(browser, color_scheme=scheme)
        opened.page.goto(report.as_uri())
        shades[scheme] = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        opened.context.close()
        assert opened.problems == []
    assert shades["light"] == "rgb(255, 255, 255)"
    assert shades["dark"] != shades["light"]


PRINTED = """addEventListener("afterprint", () => {
  window.printed = figures.map((one) => one.place.querySelector(".main-svg").getAttribute("width"));
}, { capture: true })"""


def test_it_prints_with_every_figure(page: Page) -> None:
    page.evaluate(PRINTED)  # before the page's own listener draws for the screen again
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert set(page.evaluate("window.printed")) == {"680"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served(report: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address at which a folder with the report is served, and the folder."""
    shutil.copy(report, tmp_path)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{report.name}", tmp_path
        server.shutdown()
        thread.join()


def test_a_newer_report_is_shown_where_the_reader_was(
    browser: Browser, served: tuple[str, Path]
) -> None:
    address, folder = served
    opened = Opened(browser)
    page = opened.page
    page.clock.install()
    with page.expect_response(lambda response: response.request.method == "HEAD"):
        page.goto(address)
    page.fill("#filter", "model=mlp")
    page.locator("#constants summary").press("Enter")  # a click misses what is just being laid out
    expect(page.locator("#constants")).to_have_attribute("open", "")
    page.clock.run_for(1_000)
    page.locator("#curves").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('curves').scrollIntoView()")
    before = page.evaluate("document.getElementById('curves').getBoundingClientRect().top")
    path = next(folder.glob("*.html"))
    path.write_text(path.read_text().replace("<h1>sweep</h1>", "<h1>a newer sweep</h1>"))
    with page.expect_navigation():
        page.clock.run_for(11_000)
    expect(page.locator("h1")).to_have_text("a newer sweep")
    assert page.input_value("#filter") == "model=mlp"
    expect(page.locator("#constants")).to_have_attribute("open", "")
    after = page.evaluate("document.getElementById('curves').getBoundingClientRect().top")
    assert abs(after - before) < 5
    opened.context.close()
    assert opened.problems == []
