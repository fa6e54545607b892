"""Files that no address has in the form that is read here, made from those that are published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree import ElementTree

from ethosteer.data.readers import read_csv
from ethosteer.errors import InputError

WSC273_SCHEMAS = 273
"""The Winograd collection has 285 schemas; the benchmark is its first 273."""

TITLE_END = " | "
"""Between title and text of a long post in ETHICS commonsense."""


def wsc273(collection: Path) -> str:
    """Return JSON lines, in the schema of the hub's ``winograd_wsc``, of the authors' XML.

    White space is normalised and the first letter of an option is a capital one, as on the hub.
    Raises InputError where the file is not that collection.
    """
    try:
        schemas = ElementTree.parse(collection).getroot().findall("schema")
        rows = [_schema(schema) for schema in schemas[:WSC273_SCHEMAS]]
    except (ElementTree.ParseError, ValueError, OSError) as fault:
        raise InputError.at(collection, None, f"not the Winograd collection: {fault}") from fault
    if len(rows) < WSC273_SCHEMAS:
        raise InputError.at(
            collection, None, f"has {len(rows)} schemas where {WSC273_SCHEMAS} are expected"
        )
    return _json_lines(rows)


def _schema(schema: ElementTree.Element) -> dict[str, object]:
    before, pronoun, after = (
        _normalised(schema.findtext(f"text/{tag}")) for tag in ("txt1", "pron", "txt2")
    )
    text = _joined(before, pronoun, after)
    quote = _joined(
        *(_normalised(schema.findtext(f"quote/{tag}")) for tag in ("quote1", "pron", "quote2"))
    )
    options = [_normalised(answer.text) for answer in schema.findall("answers/answer")]
    if not before or not pronoun or len(options) != 2:
        raise ValueError("a schema lacks its text, its pronoun or one of two answers")
    return {
        "text": text,
        "pronoun": pronoun,
        "pronoun_loc": len(before) + 1,
        "quote": quote,
        "quote_loc": text.find(quote),
        "options": options,
        "label": ("A", "B").index(_normalised(schema.findtext("correctAnswer")).strip(".")),
        "source": _normalised(schema.findtext("source")),
    }


def ethics_aita(commonsense: Path) -> str:
    """Return the long posts of ETHICS commonsense as JSON lines in the schema of Scruples.

    A post is long where ``is_short`` is False; its title ends at the first " | ". Where there is
    none (28 of 1,776 posts), the whole post is the title. The votes are not published, so their
    fields are null; label 1, wrong, is ``binarized_label`` "WRONG". Raises InputError for a
    malformed row.
    """
    try:
        return _json_lines(_long_posts(commonsense))
    except InputError as fault:
        raise InputError(f"not ETHICS commonsense: {fault}") from fault


def _long_posts(commonsense: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    # read_csv keeps the carriage returns that posts have
    for row in read_csv(commonsense, ("label", "input", "is_short")):
        if row.text("is_short") != "False":
            continue
        post, label = row.filled("input"), row.choice("label", ("0", "1"))
        title, _, story = post.partition(TITLE_END)
        rows.append(
            {
                "id": f"ethics-cm-test-{len(rows)}",
                "post_id": None,
                "action": None,
                "title": title,
                "text": story,
                "post_type": "HISTORICAL",
                "label_scores": None,
                "label": None,
                "binarized_label_scores": None,
                "binarized_label": "WRONG" if label == "1" else "RIGHT",
            }
        )
    if not rows:
        raise InputError.at(commonsense, None, "it has no long post")
    return rows


CONVERSIONS: dict[str, Callable[[Path], str]] = {"wsc273": wsc273, "ethics-aita": ethics_aita}
"""Conversions by the name that a source gives: of a downloaded file to the text that is kept."""


def _normalised(text: str | None) -> str:
    return " ".join((text or "").split())


def _joined(*texts: str) -> str:
    return " ".join(text for text in texts if text)


def _json_lines(rows: Iterable[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
