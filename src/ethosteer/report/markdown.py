"""The report as GitHub-flavoured Markdown. Figures become their tables."""

from __future__ import annotations

import re

from ethosteer.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Figure,
    Figures,
    Flips,
    Section,
    Table,
    Text,
)

MARKS = {"better": "▲", "worse": "▼", "different": "≠", "equivalent": "=", "undecided": "·"}
IN_FILES = (
    "Item by item, both answers and their margins can be looked through in report.html; they are "
    "kept in items.parquet and outcomes.parquet."
)
_SPECIAL = re.compile(r"[\\`*_\[\]|~$]")
_AT_START = re.compile(r"^(?:[-+#=]|\d+[.)](?=\s|$))")
_LIVE = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": "&#58;//", "@": "&#64;"}


def markdown_page(document: Document) -> str:
    """Render a document as Markdown."""
    head = [f"# {escape(document.question)}", escape(document.facts)]
    return "\n\n".join([*head, *(_section(each) for each in document.sections)]) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no link, on one line.

    Line breaks become ``<br>``, the only tag in the result.
    """
    for sign, entity in _LIVE.items():
        text = text.replace(sign, entity)
    text = re.sub(r"(?i)\bwww\.", lambda found: found[0][:-1] + "&#46;", text)
    text = _SPECIAL.sub(lambda found: f"\\{found[0]}", text.lstrip())
    text = _AT_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)
    return "<br>".join(text.splitlines())


def _section(section: Section) -> str:
    return "\n\n".join([f"## {escape(section.title)}", *map(_block, section.blocks)])


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return escape(text)
        case Bullets(title, items):
            return f"**{escape(title)}**\n\n" + "\n".join(f"- {escape(item)}" for item in items)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Table():
            return _table(block)
        case Flips(benchmarks):
            titles = ", ".join(each.title for each in benchmarks)
            return escape(f"{IN_FILES} Benchmarks: {titles}.")
        case Figures(figures):
            return "\n\n".join(map(_figure, figures))


def _figure(figure: Figure) -> str:
    parts = (f"**{escape(figure.title)}**", escape(figure.note), _table(figure.table))
    return "\n\n".join(filter(None, parts))


def _table(table: Table) -> str:
    heads = [escape(column.head) or " " for column in table.columns]
    rules = ["---:" if column.kind == "number" else "---" for column in table.columns]
    rows = [heads, rules, *([_cell(cell) for cell in row] for row in table.rows)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    title = f"**{escape(table.title)}**" if table.title else ""
    return "\n\n".join(filter(None, (title, escape(table.note), lines)))


def _cell(cell: Cell) -> str:
    mark = f"{MARKS[cell.mark]} {cell.mark}" if cell.mark else ""
    flags = [f"⚑ {flag}" for flag in cell.flags]
    return "<br>".join(escape(line) for line in (cell.text, *cell.small, mark, *flags) if line)
