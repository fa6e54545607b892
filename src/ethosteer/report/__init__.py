"""The report of a study: one HTML page, the same content as Markdown, and tables as data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ethosteer.errors import InputError
from ethosteer.evaluation.outcomes import Outcomes
from ethosteer.files import make_folder, write_atomic
from ethosteer.records import Item
from ethosteer.report.across import Across, across_document
from ethosteer.report.blocks import Document, Section
from ethosteer.report.directions import spell_directions
from ethosteer.report.document import document
from ethosteer.report.export import data_files
from ethosteer.report.markdown import markdown_page
from ethosteer.report.page import html_page
from ethosteer.report.view import View
from ethosteer.results.study import StudyResults

__all__ = ["printable", "write_document", "write_report", "write_report_across"]

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff\ufffe\uffff]")


def write_report(
    results: StudyResults,
    outcomes: Outcomes,
    items: Mapping[str, Sequence[Item]],
    folder: Path,
    sections: Sequence[Section] = (),
    beside: Sequence[str] = (),
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/`` into ``folder``, each file whole.

    ``outcomes`` are those of all models on all benchmarks, ``items`` the benchmarks' by name, both
    perhaps read from disk when they are asked for;
    without them the report lacks what is shown item by item. ``sections`` are added before the
    section on how to repeat the study. ``beside`` names the other files that ``folder`` has or will
    have: the report links to them.
    """
    view = View(results, outcomes, items)
    tables = data_files(view)
    files = ("report.md", *beside, *(f"tables/{name}" for name in tables))
    write_document(document(view, sections, files), folder, tables)


def write_report_across(studies: Across, folder: Path) -> None:
    """Write the same files for several studies that were brought together."""
    tables = data_files(View(studies.results, studies.outcomes, studies.items))
    write_document(across_document(studies), folder, tables)


def write_document(
    report: Document, folder: Path, tables: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/``, whose texts are given by file name."""
    # everything is rendered before anything is written, so that a fault leaves the old files
    texts = {"report.html": html_page(report), "report.md": markdown_page(report)}
    texts |= {f"tables/{name}": text for name, text in tables.items()}
    if (folder / "tables").is_symlink() or (folder / "tables").is_file():
        raise InputError(f"{folder / 'tables'}: must be a folder, not a link or a file; remove it")
    if tables:
        make_folder(folder / "tables")
    for name, text in texts.items():
        write_atomic(folder / name, printable(text))


def printable(text: str) -> str:
    r"""Replace what no text file should hold: control characters and lone surrogates.

    What would reorder the text beside it is spelt, as ``\u202e``.
    """
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    return spell_directions(text)
