"""The report's prose: facts from Python, sentences from the Jinja templates in ``text/``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ethosteer.report.numbers import (
    THIN,
    count,
    interval,
    listing,
    number,
    p_value,
    percent,
    plural,
    signed,
)

_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")


def paragraphs(template: str, **facts: object) -> tuple[str, ...]:
    """Return the paragraphs that ``text/TEMPLATE.j2`` writes about ``facts``; see ``rendered``."""
    return rendered("report", template, facts)


def paragraph(template: str, **facts: object) -> str:
    """Return all that ``text/TEMPLATE.j2`` writes about ``facts`` as one paragraph."""
    return " ".join(paragraphs(template, **facts))


def rendered(package: str, template: str, facts: Mapping[str, object]) -> tuple[str, ...]:
    """Return the paragraphs that ``PACKAGE/text/TEMPLATE.j2`` writes about ``facts``.

    Blank lines separate paragraphs; within one, line breaks are spaces. Raises jinja2's
    UndefinedError where a template names a fact that it was not given.
    """
    text = _environment(package).get_template(f"{template}.j2").render(facts)
    collapsed = (re.sub(r"[ \t\n]+", " ", block).strip() for block in _BLANK_LINES.split(text))
    return tuple(block for block in collapsed if block)


@cache
def _environment(package: str) -> Environment:
    return _ENVIRONMENT.overlay(loader=PackageLoader("ethosteer", f"{package}/text"))


def _on_one_line(value: object) -> object:
    return _LINE_BREAK.sub(" ", value) if isinstance(value, str) else value


def _lines(text: str) -> list[str]:
    """Return the lines of a block, so that ``{% filter lines | listing %}`` enumerates them."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def _listing(words: Iterable[object]) -> str:
    return listing([str(word) for word in words])


def _p(p: float) -> str:
    return f"p{THIN}{p_value(p)}" if p < 0.001 else f"p{THIN}={THIN}{p_value(p)}"


# Templates write plain text, which the renderers of HTML and Markdown escape, hence no
# autoescaping. Names from studies, models and datasets are values only, never template source;
# their line breaks are removed, since a blank line would begin a new paragraph.
_ENVIRONMENT = Environment(
    autoescape=False,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_on_one_line,
)
_ENVIRONMENT.filters.update(
    count=count,
    interval=interval,
    lines=_lines,
    listing=_listing,
    number=number,
    p=_p,
    percent=percent,
    plural=plural,
    signed=signed,
)
