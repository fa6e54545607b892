"""What an input came to: refused in a line, accepted whole, or a fault."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from ethosteer.data.pair_sets import Dataset
from ethosteer.errors import InputError
from ethosteer.records import Item, PreferencePair

PAIRS_IN_A_GROUP = 2


def outcome(action: Callable[[], str | None], *names: str) -> str:
    """Return what an action comes to: it returns a fault, or None where all is well.

    ``names`` are the places that the message of an InputError may name, one of which it must.
    """
    try:
        fault = action()
    except InputError as refusal:
        message = str(refusal)
        if "\n" in message or not message.isprintable():
            return f"fault: not one printable line: {message!r}"
        return "refused" if any(name in message for name in names) else f"no place: {message}"
    except Exception as raised:
        return f"traceback: {type(raised).__name__}: {str(raised)[:200]}"
    return "accepted" if fault is None else f"nonsense: {fault}"


def content_of(name: str, text: str) -> bytes:
    """Return a file's bytes, compressed where its name says so."""
    return gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()


def write(path: Path, content: bytes) -> None:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pairs_fault(dataset: Dataset, path: Path) -> str | None:
    """Read a dataset's pairs; say what is wrong with them."""
    made = list(dataset.pairs(list(dataset.rows(path)), PAIRS_IN_A_GROUP))
    pairs = [entry for entry in made if isinstance(entry, PreferencePair)]
    if len({pair.id for pair in pairs}) < len(pairs):
        return "an id is there twice"
    for pair in pairs:
        texts = (pair.prompt, pair.chosen, pair.rejected, pair.group)
        if fault := _text_fault(*texts):
            return fault
        if pair.chosen.strip() == pair.rejected.strip():
            return "both answers are the same"
        if pair.chosen in ("better", "chosen") and pair.rejected in ("worse", "rejected"):
            return "the header is a pair"
    return None


def items_fault(items: list[Item]) -> str | None:
    """Say what is wrong with items."""
    if len({item.id for item in items}) < len(items):
        return "an id is there twice"
    for item in items:
        if fault := _text_fault(item.id, item.group, *item.continuations, *item.texts()):
            return fault
        choices = list(zip(item.contexts, item.continuations, strict=False))
        if len(set(choices)) < len(choices):
            return f"two choices are the same: {choices!r}"
        if item.label is not None and item.continuations and item.label >= len(item.continuations):
            return "the label is no choice"
    return None


def others_fault(valid: list[Item], items: list[Item], changed: int) -> str | None:
    """Say whether items beside that of the row ``changed`` (an index) are others than before."""
    if len(items) != len(valid):
        return f"{len(items)} items where there were {len(valid)}"
    for index, (before, after) in enumerate(zip(valid, items, strict=True)):
        same = (before.contexts, before.label, before.slices) == (
            after.contexts, after.label, after.slices,
        )  # fmt: skip
        if index != changed and not same:
            return f"row {index} changed, and not only row {changed}"
    return None


def _text_fault(*texts: str) -> str | None:
    for text in texts:
        if not any(character.isprintable() and character != " " for character in text):
            return f"nothing of a text can be seen: {text!r}"
        if "\0" in text or (not text.isprintable() and any("\ud800" <= c < "\ue000" for c in text)):
            return f"a text is no valid Unicode: {text!r}"
    return None
