"""A grid of text cells, for the terminal and as Markdown, LaTeX and HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from fieldtrial.fields.printable import printable
from fieldtrial.panel.terminal import plain

NOTHING = "–"
FOLDED = 24  # characters of a cell on a narrow terminal, before it takes another line
BETWEEN_COLUMNS = 3  # characters: a border, and a space on both sides
MARK = "*"  # of cells that are set off, where there is no bold type
STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em;max-width:100%;overflow-x:auto}"
    "table{border-collapse:collapse}caption{text-align:left;margin-bottom:.5em}"
    "th,td{padding:.2em .8em;text-align:left}"
    ".number{text-align:right;font-variant-numeric:tabular-nums}"
    "thead th{border-top:2px solid;border-bottom:1px solid}"
    "tbody tr:last-child>*{border-bottom:2px solid}tbody th{font-weight:normal}"
)


@dataclass(frozen=True)
class Cell:
    """A cell's text, and whether it is set off from the others."""

    text: str
    strong: bool = False

    @property
    def marked(self) -> str:
        """The text, with a star where it is set off and there is no bold type."""
        return f"{self.text} {MARK}" if self.strong else self.text


@dataclass(frozen=True)
class Grid:
    """A table of text: its first `fields` columns are to the left, the others are numbers."""

    title: str
    caption: str
    header: Sequence[str]
    fields: int
    rows: Sequence[Sequence[Cell]]
    footer: Sequence[str]


def render_terminal(grid: Grid) -> Group:
    """Return the table to be printed by rich; what is set off is bold and has a star.

    A narrow terminal shows the columns that fit, and the names of the others.
    """
    return Group(_Fitted(grid), *map(plain, (grid.caption, *grid.footer)))


@dataclass(frozen=True)
class _Fitted:
    """A table as a renderable of rich that takes the width there is. A file gets all columns."""

    grid: Grid

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        grid, is_terminal = self.grid, options.is_terminal
        fit = self._that_fit(options.max_width) if is_terminal else dict.fromkeys(self._places)
        left_out = [grid.header[place] for place in self._places if place not in fit]
        table = Table(title=plain(grid.title), title_justify="left")
        for place, width in fit.items():
            table.add_column(
                plain(grid.header[place]),
                justify="left" if place < grid.fields else "right",
                overflow="fold",
                max_width=width if left_out else None,
            )
        for row in grid.rows:
            table.add_row(*(_styled(row[place]) for place in fit))
        yield table
        if left_out:
            yield plain(f"left out at this width: {', '.join(left_out)}", style="dim")

    @property
    def _places(self) -> range:
        return range(len(self.grid.header))

    def _that_fit(self, width: int) -> dict[int, int | None]:
        """Return the columns that there is room for, by their places, each with its width.

        The fields are always there, and of the others the first ones count most. Cells of several
        words may take several lines.
        """
        left, kept = width - 1, dict[int, int | None]()
        for place, name in enumerate(self.grid.header):
            texts = [row[place].marked for row in self.grid.rows]
            words = [word for text in (name, *texts) for word in text.split()]
            folded = min(FOLDED, max(map(len, texts), default=0))
            needed = max([folded, *map(len, words)])
            if place < self.grid.fields or needed + BETWEEN_COLUMNS <= left:
                left -= needed + BETWEEN_COLUMNS
                kept[place] = needed
        return kept


def render_markdown(grid: Grid) -> str:
    """Return the table as GitHub-flavoured Markdown; what is set off is bold."""
    columns = [
        _markdown_column(
            escape_markdown(name),
            [
                f"**{text}**" if row[place].strong else text
                for row in grid.rows
                if (text := _escaped(row[place]))
            ],
            place < grid.fields,
        )
        for place, name in enumerate(grid.header)
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
    footer = "\n".join(f"- {_paragraph(line)}" for line in grid.footer)
    title, caption = _paragraph(grid.title), _paragraph(grid.caption)
    return f"# {title}\n\n{caption}\n\n{table}\n\n{footer}\n"


def render_latex(grid: Grid) -> str:
    r"""Return the table for LaTeX with the package booktabs; what is set off is bold."""

    def line(texts: Sequence[str]) -> str:
        return f"{' & '.join(texts)} \\\\"

    rows = [
        line(
            [
                rf"\textbf{{{text}}}" if cell.strong else text
                for cell in row
                for text in [escape_latex(cell.text)]
            ]
        )
        for row in grid.rows
    ]
    alignment = "l" * grid.fields + "r" * (len(grid.header) - grid.fields)
    notes = [rf"\par {escape_latex(text)}" for text in grid.footer]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(grid.title)}. {escape_latex(grid.caption)}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            line([escape_latex(name) for name in grid.header]),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\begin{flushleft}\footnotesize",
            *notes,
            r"\end{flushleft}",
            r"\end{table}",
            "",
        ]
    )


def render_html(grid: Grid) -> str:
    """Return the table as a page that needs nothing else; what is set off is bold."""

    def cell(kind: str, place: int, text: str, scope: str = "") -> str:
        number = ' class="number"' if place >= grid.fields else ""
        return f"<{kind}{scope}{number}>{text}</{kind}>"

    head = "".join(
        cell("th", place, _html(name), ' scope="col"') for place, name in enumerate(grid.header)
    )
    body = []
    for row in grid.rows:
        texts = [
            f"<strong>{_html(one.text)}</strong>" if one.strong else _html(one.text) for one in row
        ]
        parts = [
            (
                cell("th", place, text, ' scope="row"')
                if place < grid.fields
                else cell("td", place, text)
            )
            for place, text in enumerate(texts)
        ]
        body.append(f"<tr>{''.join(parts)}</tr>")
    footer = "".join(f"<li>{_html(line)}</li>\n" for line in grid.footer)
    title = _html(grid.title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport"'
        f' content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{title}</h1>\n<table>\n<caption>{_html(grid.caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + f"\n</tbody>\n</table>\n<ul>\n{footer}</ul>\n</body>\n</html>\n"
    )


def _html(text: str) -> str:
    return html.escape(printable(text))


def _styled(cell: Cell) -> Text:
    return plain(cell.marked, style="bold" if cell.strong else "")


def _escaped(cell: Cell) -> str:
    return escape_markdown(cell.text) or " "


def _markdown_column(name: str, cells: Sequence[str], left: bool) -> list[str]:
    """Return a column's lines, padded: its head, the rule that aligns it, and its cells."""
    width = max(3, *map(len, (name, *cells)))
    rule = ":" + "-" * (width - 1) if left else "-" * (width - 1) + ":"
    return [text.ljust(width) if left else text.rjust(width) for text in (name, rule, *cells)]


# Backslashes go before what Markdown, or GitHub's, takes for markup: entities, formulas, addresses
# that become links by themselves. An underscore between letters or digits is none.
MARKDOWN = re.compile(r"([\\`*<>\[\]|~&$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.)")
# What begins a heading, a list or a rule where a paragraph would begin.
BLOCK = re.compile(r"([#+=-]|\d+(?=[.)]))")


def escape_markdown(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, also inside a table."""
    return MARKDOWN.sub(r"\\\1", _one_line(text))


def _paragraph(text: str) -> str:
    """Return `text` so that Markdown shows it as it is where a paragraph begins."""
    escaped = escape_markdown(text)
    if match := BLOCK.match(escaped):
        end = match.end() if match[0][0].isdigit() else 0
        return f"{escaped[:end]}\\{escaped[end:]}"
    return escaped


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "[": "{[}",  # after the end of a row it would begin an option
    "]": "{]}",
}


def escape_latex(text: str) -> str:
    """Return `text` so that LaTeX sets it as it is; unknown letters become question marks."""
    return "".join(
        LATEX.get(char, char if char.isascii() or char in "äöüÄÖÜßéèêáàâóòôíìîúùûçñ" else "?")
        for char in _one_line(text)
    )
