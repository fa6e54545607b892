"""Whether two studies' results on a benchmark are comparable.

They are where items, prompts, dialogue template, tokenizer and classifier are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from ethosteer.files import fingerprint
from ethosteer.records import Item
from ethosteer.results.benchmarks import BenchmarkResult, Comparability

WORDS = {
    "items": "the items",
    "prompts": "the prompts",
    "template": "the dialogue template",
    "tokenizer": "the tokenizer",
    "classifier": "the classifier of texts",
}
assert list(WORDS) == [field.name for field in fields(Comparability)]


def comparability_of(
    items: Sequence[Item], template: str, tokenizer: str, classifier: str, *, chat: bool = False
) -> Comparability:
    """Return the hashes that other results must share to be comparable with those on ``items``.

    ``template`` and ``tokenizer`` are fingerprints, ``classifier`` a description ("" for none).
    With ``chat`` requests are written by the template, which is then another one.
    """
    return Comparability(
        items=fingerprint([[item.id, item.label, item.group, *item.expected] for item in items]),
        prompts=fingerprint([[item.contexts, item.continuations] for item in items]),
        template=fingerprint("chat", template) if chat else template,
        tokenizer=tokenizer,
        classifier=classifier,
    )


def what_differs(a: BenchmarkResult, b: BenchmarkResult) -> tuple[str, ...]:
    """Return why two studies' results on one benchmark are not comparable; () if they are."""
    if a.comparability is None or b.comparability is None:
        return ("one of them has no hashes to compare: run it again",)
    reasons = [] if a.items == b.items else [f"the number of items ({a.items:,} and {b.items:,})"]
    if a.metrics != b.metrics:
        reasons.append("the metrics")
    reasons += [
        words
        for name, words in WORDS.items()
        if getattr(a.comparability, name) != getattr(b.comparability, name)
    ]
    return tuple(reasons)
