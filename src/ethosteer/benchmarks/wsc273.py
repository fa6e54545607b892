"""The first 273 Winograd schemas, by partial evaluation: which reading makes the rest likelier?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ethosteer.benchmarks.base import Benchmark
from ethosteer.data.readers import Row, quoted, read_jsonl
from ethosteer.data.sources import Source
from ethosteer.records import Item
from ethosteer.statistics.metrics import ACCURACY

POSSESSIVES = ("my", "his", "her", "our", "their")
LOWERED = ("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their")


def _items(paths: Sequence[Path]) -> list[Item]:
    rows = list(read_jsonl(paths[0], ("text", "pronoun", "pronoun_loc", "options", "label")))
    return [_item(row, group) for row, group in zip(rows, _twins(rows), strict=True)]


def _twins(rows: Sequence[Row]) -> Iterator[str]:
    """Name each row's twins: they stand together in the file and have an option in common."""
    group, before = "", set[str]()
    for row in rows:
        options = {option.lower() for option in _options(row)}
        if not options & before:
            group = f"twins-{row.line}"
        before = options
        yield group


def _item(row: Row, group: str) -> Item:
    text, pronoun = row.text("text").replace("  ", " "), row.filled("pronoun")
    start = row.integer("pronoun_loc")
    end = start + len(pronoun)
    if not 0 <= start < end <= len(text):
        raise row.fail(f"column 'pronoun_loc' points out of the text: {start}")
    if text[start:end] != pronoun:
        found = quoted(text[start:end])
        raise row.fail(
            f"column 'pronoun_loc' is {start}, where the text has {found}, not {pronoun!r}"
        )
    if not text[end:].strip():
        raise row.fail("column 'text' ends with the pronoun, so that nothing is left to be scored")
    options = [_fitted(option, text, pronoun, start) for option in _options(row)]
    return Item(
        id=f"wsc273-{row.line}",
        contexts=tuple(text[:start] + option for option in options),
        # The text goes on with a space of its own, so there are two, as in the reference.
        continuations=(" " + text[end:],) * 2,
        label=("0", "1").index(row.choice("label", ("0", "1"))),
        group=group,
    )


def _options(row: Row) -> list[str]:
    options = row.value("options")
    if (
        not isinstance(options, list)
        or len(options) != 2
        or not all(isinstance(option, str) and option.strip() for option in options)
    ):
        raise row.fail("column 'options' must be two texts")
    if options[0].strip() == options[1].strip():
        raise row.fail("column 'options' has one text twice")
    return options


def _fitted(option: str, text: str, pronoun: str, start: int) -> str:
    """Give the option the form it needs in the pronoun's place."""
    if pronoun.lower() in POSSESSIVES:
        option += "'s"
    first = option.split()[0]
    starts_sentence = text[start - 2] == "."
    if first in LOWERED and not starts_sentence:
        return option.replace(first, first.lower())
    return option


BENCHMARKS = (
    Benchmark(
        name="wsc273",
        title="Winograd Schema Challenge (273)",
        sources=(
            # Made from the authors' XML, of which this is the first 273 schemas. The hub has copies
            # of the schemas as parquet, whose revision and hash are not known to us.
            Source(
                path="winograd/wsc273.jsonl",
                home="https://cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html",
                licence="CC BY 4.0",
                address="https://cs.nyu.edu/~davise/papers/WinogradSchemas/WSCollection.xml",
                sha256="9f039f74631fc72c2c2bc6db68ea22d1f08e891925ca8505b80fbcbd2946eb9b",
                conversion="wsc273",
            ),
        ),
        items=_items,
        metrics=(ACCURACY,),
        designed_groups=True,
        examples={
            "winograd/wsc273.jsonl": """\
{"text": "The kite did not fit in the drawer because it was too wide.", "pronoun": "it", "pronoun_loc": 43, "options": ["The kite", "The drawer"], "label": 0}
{"text": "The kite did not fit in the drawer because it was too narrow.", "pronoun": "it", "pronoun_loc": 43, "options": ["The kite", "The drawer"], "label": 1}
{"text": "Nora lent Ada a pen. She had forgotten to bring one.", "pronoun": "She", "pronoun_loc": 21, "options": ["Nora", "Ada"], "label": 1}
{"text": "Nora lent Ada a pen. She had two of them.", "pronoun": "She", "pronoun_loc": 21, "options": ["Nora", "Ada"], "label": 0}
"""  # noqa: E501
        },
    ),
)
