"""The report of videos in a real browser: on a desktop and a phone, with names of strangers."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from fieldtrial.video.pages.report import write_report
from tests.results.report.test_browser import Opened
from tests.video.pages.conftest import Made

DESKTOP: ViewportSize = {"width": 1300, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
RUN = "window.stranger=1"
EVIL = [
    f"<img src=x onerror={RUN}>",
    f"</script><script>{RUN}</script>",
    f"\"'><svg onload={RUN}>",
    "__proto__",
    "%{text}<extra></extra> Straße 東京 \u202e \u2028",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(tmp_path_factory.mktemp("videos") / "run")
    made.classes = EVIL[:4]
    made.settings = {text: text for text in EVIL}
    made.reason = EVIL[0]
    for text in EVIL[:2]:
        made.video(text, 20)
    made.line(EVIL[0])
    made.line(EVIL[4], (300, 10), (280, 230))
    for text in (EVIL[2], EVIL[3]):
        made.zone(text)
    made.write()
    made.pictures(60)
    return write_report(made.outcome)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_and_loads_nothing_and_strangers_names_are_texts(
    browser: Browser, report: Path, size: ViewportSize
) -> None:
    is_phone = size is PHONE
    opened = Opened(
        browser, viewport=size, offline=True, is_mobile=is_phone, has_touch=is_phone,
        color_scheme="dark" if is_phone else "light",
    )  # fmt: skip
    page, asked = opened.page, list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    opened.read()
    assert page.locator(".chart .main-svg").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert page.evaluate("[window.stranger, {}.polluted]") == [None, None]
    assert page.locator("script").count() == 3
    assert page.locator("img:not([src^='data:image/webp'])").count() == 0
    for picture in page.locator(".scene img:visible, #gallery img").all()[:4]:
        picture.scroll_into_view_if_needed()
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    inside = """scene => [...scene.querySelectorAll('.mark')].every((mark) => {
      const [one, all] = [mark.getBoundingClientRect(), scene.getBoundingClientRect()];
      return one.left >= all.left - 1 && one.right <= all.right + 1 && one.top >= all.top - 1;
    })"""
    assert page.locator(".scene").first.evaluate(inside)
    expect(page.locator("#skipped tbody tr").first).to_contain_text(EVIL[0])
    expect(page.locator("#counts-chart")).to_contain_text("</script>")
    if not is_phone:
        chosen(page)
    opened.context.close()
    assert opened.problems == []


def chosen(page: Page) -> None:
    """Choose crossings: the figure shows these, and the list below it."""
    note, shown = page.locator("#time .note"), page.locator("#page")
    expect(note).to_contain_text("480 crossings, in bars of 1 minute.")
    expect(shown).to_have_text("1–24 of 480")
    page.locator("#next").click()
    expect(shown).to_have_text("25–48 of 480")
    page.select_option("#choose-line", "1")
    expect(shown).to_have_text("1–24 of 240")
    page.select_option("#choose-direction", "1")
    expect(shown).to_have_text("1–24 of 80")
    page.select_option("#choose-video", "1")
    page.select_option("#choose-bin", "900")
    page.locator("#counts-chart").scroll_into_view_if_needed()
    expect(note).to_contain_text("40 crossings, in bars of 15 minutes.")
    bars = "document.getElementById('counts-chart').data.flatMap((trace) => trace.y)"
    # 15 minutes have 90 vehicles, every third to the left and shown below zero; 5 have 30
    assert sorted(page.evaluate(bars)) == sorted([-8, -7, -8, -7, -2, -3, -2, -3])
    page.select_option("#choose-class", "0")
    expect(note).to_contain_text("10 crossings")
    expect(page.locator("#gallery img")).to_have_count(0)  # none was kept of this video
