"""The report's page: data, texts, style and scripts in one file that loads nothing else."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = resources.files("fieldtrial.results.report") / "templates"


@dataclass(frozen=True)
class PageFiles:
    """The files that a page is put together from."""

    template: Traversable
    styles: tuple[Traversable, ...]
    scripts: tuple[Traversable, ...]


def shared_scripts(*names: str) -> tuple[Traversable, ...]:
    """Return scripts of the sweep's report."""
    return tuple(TEMPLATES / f"report-{name}.js" for name in names)


SWEEP = PageFiles(
    TEMPLATES / "report.html.jinja",
    (TEMPLATES / "report.css",),
    shared_scripts(
        "basics", "data", "selection", "table", "sorting", "figures", "charts", "curves",
        "classes", "answers", "parallel", "live", "start",
    ),
)  # fmt: skip


def render_page(texts: Mapping[str, Any], data: Mapping[str, Any], files: PageFiles = SWEEP) -> str:
    """Return the page as HTML.

    `texts` fill the template, escaped. `data` is what its scripts draw, as plain values.

    A content security policy admits the page's own two scripts, by their digests, and nothing from
    elsewhere: a text from a stranger's run directory that found its way past the escaping would
    still not run.
    """
    plotly = get_plotlyjs().replace("\r\n", "\n")
    script = "\n".join(file.read_text() for file in files.scripts)
    policy = (
        f"default-src 'none'; script-src {_digest(plotly)} {_digest(script)}; style-src"
        " 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'self'; base-uri"
        " 'none'; form-action 'none'"
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files.template.read_text())
    return template.render(
        texts,
        policy=Markup(policy),
        style=Markup("\n".join(file.read_text() for file in files.styles)),
        data=Markup(_as_data(data)),
        plotly=Markup(plotly),
        script=Markup(script),
    )


def _as_data(value: object) -> str:
    """Return `value` as JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
