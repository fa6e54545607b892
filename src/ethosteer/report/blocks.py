"""What a report is made of. HTML and Markdown are two renderings of the same blocks.

Every string in a block is plain text, whoever wrote it: the renderers escape all of it. The one
exception is ``Figure.svg``, drawn by figures.py, which escapes what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from ethosteer.results.comparisons import Verdict

Kind = Literal["text", "number", "long", "code", "mark"]
Mark = Verdict | Literal[""]
Tint = Literal[-3, -2, -1, 0, 1, 2, 3]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head; numbers stand to the right, ``long`` text keeps its line breaks."""

    head: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, smaller lines below it, a verdict, and warnings.

    ``tint`` colours it by the size and sign of a difference, ``ring`` frames it: both only repeat
    what the text says, for those who see them. ``link`` is an address within the page, such as
    the items behind a verdict.
    """

    text: str
    small: tuple[str, ...] = ()
    mark: Mark = ""
    flags: tuple[str, ...] = ()
    tint: Tint = 0
    ring: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column heads each row. ``folded`` tables open on demand in HTML.

    ``summary`` rows at the end are totals and the like, which are not sorted with the others.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    summary: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, and its numbers as a table for those who cannot or would rather not see it."""

    svg: Markup
    title: str
    note: str
    table: Table


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that are set beside each other on a wide page."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One arm's difference from the control, drawn and in numbers, with its verdict.

    ``flags`` name what qualifies the verdict; ``link`` is as in ``Cell``.
    """

    svg: Markup
    value: str
    interval: str
    mark: Mark
    flags: tuple[str, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One measure: its title, the metric with its aim, and an effect for each arm or None."""

    title: str
    metric: str
    effects: tuple[Effect | None, ...]


@dataclass(frozen=True, slots=True)
class EffectMatrix:
    """The effects of all arms on all measures on one scale, in groups of rows by their title.

    ``axis`` is the drawn scale, the same under every arm; ``legend`` pairs a sign with its meaning.
    """

    title: str
    note: str
    arms: tuple[str, ...]
    groups: tuple[tuple[str, tuple[EffectRow, ...]], ...]
    axis: Markup
    legend: tuple[tuple[Markup, str], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph; ``lead`` sets it larger, as the answer in short."""

    text: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences under a small heading; ``folded`` lists open on demand in HTML."""

    title: str
    items: tuple[str, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before an answer is believed: two or three words, and a sentence."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Warnings:
    """What stands beside the answer, since it limits the answer."""

    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class FileList:
    """Files beside the report, to which HTML and Markdown link: fixed names of ours."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """The answer at a glance: effects, sentences, warnings and files, set beside each other."""

    texts: tuple[Text, ...]
    effects: EffectMatrix | None = None
    warnings: Warnings | None = None
    files: FileList | None = None


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms with their definitions."""

    definitions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Commands to type: fixed text of ours, never a name from outside."""

    text: str


@dataclass(frozen=True, slots=True)
class PackedItems:
    """One benchmark's items and all answers to them: JSON, compressed, in base 64.

    ``shown`` of its ``items`` are in ``data``.
    """

    name: str
    title: str
    data: str
    shown: int
    items: int


@dataclass(frozen=True, slots=True)
class ItemBrowser:
    """Items with any two models' answers, to search in HTML; ``control`` is compared first.

    It opens on ``benchmark`` and ``arm``; ``files`` name those that hold the same items.
    """

    benchmarks: tuple[PackedItems, ...]
    control: str
    benchmark: str = ""
    arm: str = ""
    files: tuple[str, ...] = ()


Block = Text | Bullets | Code | Table | Figures | ItemBrowser | FirstScreen | Glossary


def present(*blocks: Block | None) -> tuple[Block, ...]:
    """Return the blocks that have content: not None, not without any figure."""
    return tuple(block for block in blocks if block is not None and block != Figures(()))


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report; ``anchor`` is its address within the page.

    ``short`` is its name in the navigation, the title by default; ``folded`` sections open on
    demand in HTML.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    short: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report: ``facts`` is the line above the question."""

    title: str
    question: str
    facts: str
    sections: tuple[Section, ...]
