"""The report of a study: one HTML page, the same content as Markdown, and tables as data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ethosteer.files import to_json, write_atomic
from ethosteer.published.analysis import counts_result
from ethosteer.published.counts import Counts
from ethosteer.published.document import counts_document
from ethosteer.records import Item, Outcome
from ethosteer.report.across import Across, across_document
from ethosteer.report.blocks import Document
from ethosteer.report.document import document
from ethosteer.report.export import data_files
from ethosteer.report.markdown import markdown_page
from ethosteer.report.page import html_page
from ethosteer.report.view import View
from ethosteer.results import StudyResults

__all__ = ["write_counts_report", "write_report", "write_report_across"]

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff\ufffe\uffff]")


def write_report(
    results: StudyResults,
    outcomes: Sequence[Outcome],
    items: Mapping[str, Sequence[Item]],
    folder: Path,
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/`` into ``folder``, each file whole.

    ``outcomes`` are those of all models on all benchmarks, ``items`` the benchmarks' by name;
    without them the report lacks what is shown item by item.
    """
    view = View(results, tuple(outcomes), items)
    _write(document(view), data_files(view), folder)


def write_report_across(found: Across, folder: Path) -> None:
    """Write the same files for several studies that were brought together."""
    tables = data_files(View(found.results, found.outcomes, found.items))
    _write(across_document(found), tables, folder)


def write_counts_report(counts: Counts, folder: Path) -> None:
    """Write ``report.html``, ``report.md`` and ``results.json`` on published counts."""
    folder.mkdir(parents=True, exist_ok=True)
    result = counts_result(counts)
    _write(counts_document(counts, result), {}, folder)
    found = {"published": counts.model_dump(), **asdict(result)}
    write_atomic(folder / "results.json", _printable(to_json(found)))


def _write(laid_out: Document, tables: Mapping[str, str], folder: Path) -> None:
    pages = {"report.html": html_page(laid_out), "report.md": markdown_page(laid_out)}
    pages |= {f"tables/{name}": text for name, text in tables.items()}
    if tables:
        (folder / "tables").mkdir(exist_ok=True)
    for name, text in pages.items():
        write_atomic(folder / name, _printable(text))


def _printable(text: str) -> str:
    """Replace what no text file should hold: control characters and lone surrogates."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
