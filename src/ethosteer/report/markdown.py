"""The report as GitHub-flavoured Markdown. Figures become their tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ethosteer.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Effect,
    EffectMatrix,
    Figure,
    Figures,
    FileList,
    FirstScreen,
    Glossary,
    ItemBrowser,
    Table,
    Text,
    Warnings,
)
from ethosteer.report.numbers import NONE

MARKS = {"better": "▲", "worse": "▼", "different": "≠", "equivalent": "=", "undecided": "·"}
IN_PAGE = "Item by item, both answers and their margins can be looked through in report.html"
_SPECIAL = re.compile(r"[\\`*_\[\]|~$]")
_AT_START = re.compile(r"^(?:[-+#=]|\d+[.)](?=\s|$))")
_LIVE = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": "&#58;//", "@": "&#64;"}


def markdown_page(document: Document) -> str:
    """Render a document as Markdown."""
    blocks = [f"# {escape(document.question)}", escape(document.facts)]
    for section in document.sections:
        blocks += [f"## {escape(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no link, on one line.

    Line breaks become ``<br>``, the only tag in the result.
    """
    for sign, entity in _LIVE.items():
        text = text.replace(sign, entity)
    # bare addresses become links in GitHub's Markdown, with and without a scheme
    text = re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + "&#46;", text)
    text = _SPECIAL.sub(lambda match: f"\\{match[0]}", text.lstrip())
    text = _AT_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", text)
    return "<br>".join(text.splitlines())


def _block(block: Block) -> str:
    match block:
        case Text(text):
            written = escape(text)
        case Bullets(title, items):
            written = f"**{escape(title)}**\n\n{_list(map(escape, items))}"
        case Code(text):
            written = "\n".join(f"    {line}" for line in text.splitlines())
        case Table():
            written = _table(block)
        case ItemBrowser(benchmarks, files=files):
            titles = ", ".join(packed.title for packed in benchmarks)
            kept = f"; they are kept in {' and '.join(files)}" if files else ""
            written = escape(f"{IN_PAGE}{kept}. Benchmarks: {titles}.")
        case Figures(figures):
            written = "\n\n".join(map(_figure, figures))
        case FirstScreen():
            written = _first_screen(block)
        case Glossary(definitions):
            written = _list(map(_definition, definitions))
    return written


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _definition(pair: tuple[str, str]) -> str:
    term, meaning = map(escape, pair)
    return f"**{term}**: {meaning}"


def _first_screen(screen: FirstScreen) -> str:
    blocks = [escape(text.text) for text in screen.texts]
    if screen.effects:
        blocks.append(_effects(screen.effects))
    if screen.warnings:
        blocks.append(_warnings(screen.warnings))
    if screen.files:
        blocks.append(_files(screen.files))
    return "\n\n".join(blocks)


def _effects(matrix: EffectMatrix) -> str:
    """Write the effects as a table with the measures as rows, as they are drawn."""
    heads = ["measure", *map(escape, matrix.arms)]
    rows = [heads, ["---", *("---:" for _ in matrix.arms)]]
    for title, measures in matrix.groups:
        prefix = f"{title}: " if title else ""
        rows += [
            [escape(f"{prefix}{row.title} ({row.metric})"), *map(_effect, row.effects)]
            for row in measures
        ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"**{escape(matrix.title)}**\n\n{escape(matrix.note)}\n\n{lines}"


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return escape(NONE)
    return _cell(Cell(effect.value, (effect.interval,), effect.mark, effect.flags))


def _warnings(warnings: Warnings) -> str:
    notices = ((notice.title, notice.text) for notice in warnings.notices)
    return f"**Read with care**\n\n{_list(map(_definition, notices))}"


def _files(files: FileList) -> str:
    # names are the project's own, and need no escaping
    links = ", ".join(f"[{name}]({name})" for name in files.names)
    return f"Files beside this report: {links}"


def _figure(figure: Figure) -> str:
    blocks = (f"**{escape(figure.title)}**", escape(figure.note), _table(figure.table))
    return "\n\n".join(filter(None, blocks))


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
