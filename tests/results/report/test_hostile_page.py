"""A report whose every text means no good, under its content policy in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from fieldtrial.results.report.build import write_report
from tests.results.conftest import Written
from tests.results.report.test_browser import Opened

RUN = "window.stranger=1"
EVIL = [
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"</script><svg onload={RUN}>",
    f'"><a href="javascript:{RUN}">x</a>',
    f"<a href='javascript:{RUN}'>click</a>",
    f"javascript:{RUN}",
    f"' onmouseover='{RUN}",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"${{{RUN}}}",
    "__proto__",
    "constructor",
    "<!--",
    "]]>",
    "\u2028\u202e\x1b[2J\x00",
    "%{customdata}<extra></extra>",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep in which names, notes, messages and machines are those of EVIL."""
    written = Written(tmp_path_factory.mktemp("runs") / "sweep")
    written.rows = [{"model": "cnn", "weights": text.replace("\x00", "")} for text in EVIL]
    written.describe(name=" ".join(EVIL), rows=written.rows, trials=3)
    for row, text in enumerate(EVIL):
        for number in range(3):
            written.ended(row, validation=0.5 + number / 10, lr=0.1 / (number + 1))
        written.failed(row, kind=text, message=f"{text} {row}", lr=0.2)
        for seed in range(2):
            facts = {"class_names": EVIL, "reason": text, text or "x": text}
            run = written.ended(row, "final", 0.7, 0.6, facts, lr=0.1 / 3, seed=seed + 1)
            environment: dict[str, object] = {
                "host": text,
                "devices": [text],
                "versions": {text: text},
            }
            environment |= {"commit": text, "platform": text, "python": text, "world_size": 1}
            run.write_environment(1, environment)
            (run.path / "log").mkdir()
            Path(run.log_path(1)).write_text(text)
            chance = np.random.default_rng(seed)
            probability = chance.dirichlet(np.ones(len(EVIL)), 60).astype(np.float32)
            label = np.arange(60) % len(EVIL)
            np.savez(
                run.predictions_path("test"),
                index=np.arange(60),
                label=label,
                log_probability=np.log(probability),
            )
    picture = run.picture_path("<img src=x onerror=window.stranger=1>")
    picture.parent.mkdir()
    Image.new("RGB", (20, 10)).save(picture)
    config = json.loads((run.path / "config.json").read_bytes()) | {"seed": 99}
    by_hand = written.folder.path / f"<img src=x onerror={RUN}>"
    by_hand.mkdir()
    (by_hand / "config.json").write_text(json.dumps(config))
    return write_report(written.folder)


@pytest.fixture
def opened(browser: Browser, hostile: Path) -> Iterator[Opened]:
    opened = Opened(browser)
    opened.page.goto(hostile.as_uri())
    yield opened
    opened.context.close()
    assert opened.problems == []


def test_nothing_of_a_strangers_runs_and_no_error_is_on_the_console(opened: Opened) -> None:
    page = opened.page
    opened.read()
    page.fill("#filter", "lr>0")
    for head in page.locator("#trials-table th button").all():
        head.click()
    for chart in page.locator(".chart .main-svg").all()[:12]:
        chart.hover(force=True)
    assert page.evaluate("window.stranger") is None
    assert page.evaluate("({}).polluted") is None
    assert page.locator("img:not([src^='data:image/webp'])").count() == 0
    addresses = page.eval_on_selector_all(
        "a, svg a", "all => all.map((a) => a.getAttribute('href') ?? a.getAttribute('xlink:href'))"
    )
    assert [one for one in addresses if not str(one).startswith(("#", "./"))] == []
    scripts = page.locator("script").count()
    assert scripts == 3  # plotly, the page's own, and its data


def test_the_content_policy_admits_no_other_script(opened: Opened) -> None:
    """What got past the escaping would still not run."""
    page = opened.page
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=stranger=1>')")
    page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'stranger=1';"
        " document.body.append(one); }"
    )
    page.wait_for_function("document.querySelectorAll('script').length > 3")
    assert page.evaluate("window.stranger") is None
    assert [one for one in opened.problems if "Content Security Policy" not in one] == []
    assert len(opened.problems) >= 2
    opened.problems.clear()
