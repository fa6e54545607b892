"""Conversations to fine-tune the base on, and optionally to take steering prompts from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ethosteer.data.readers import Row, read_jsonl
from ethosteer.data.sources import Source
from ethosteer.errors import InputError
from ethosteer.records import Turn, unusable

CONVERSATIONS = Source(
    path="conversations/guanaco_train.jsonl",
    home="https://huggingface.co/datasets/timdettmers/openassistant-guanaco",
    licence="Apache-2.0",
    repository="timdettmers/openassistant-guanaco",
    revision="831dabac2283d99420cda0b673d7a2a43849f17a",
    hub_path="openassistant_best_replies_train.jsonl",
)

_HEADING = re.compile(r"###\s*(Human|Assistant):")
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "human": "human",
    "assistant": "assistant",
    "gpt": "assistant",
}


@dataclass(frozen=True, slots=True)
class Conversations:
    """The usable conversations of a file, and how many were dropped by reason."""

    turns: list[list[Turn]]
    dropped: Counter[str]


def read_conversations(path: Path) -> Conversations:
    """Read a JSONL file of conversations, each in one of two layouts.

    ``{"messages": [{"role": ..., "content": ...}, ...]}``, as chat models are trained on, or
    openassistant-guanaco's ``{"text": "### Human: ...### Assistant: ..."}``. A last turn of the
    human is left out. Conversations without question and answer are dropped and counted. Raises
    InputError for a malformed row, and where no conversation is left.
    """
    kept: list[list[Turn]] = []
    dropped: Counter[str] = Counter()
    for row in read_jsonl(path, []):
        turns = _messages(row) if "messages" in row.fields else _guanaco(row)
        if isinstance(turns, list):
            while turns and turns[-1][0] != "assistant":
                turns.pop()
            problem = unusable(turns) if turns else "no answer"
        else:
            problem = turns
        if problem:
            dropped[problem] += 1
        elif isinstance(turns, list):
            kept.append(turns)
    if not kept:
        raise InputError.at(
            path, None, f"no conversation has a question and an answer ({dict(dropped)})"
        )
    return Conversations(kept, dropped)


def _guanaco(row: Row) -> list[Turn] | str:
    if "text" not in row.fields:
        raise row.fail("field 'messages' (or, in guanaco's layout, 'text') is missing")
    _, *pieces = _HEADING.split(row.text("text"))
    return [
        (role.lower(), text.strip())  # type: ignore[misc]
        for role, text in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _messages(row: Row) -> list[Turn] | str:
    """Return the turns, or why the conversation is of no use."""
    messages = row.value("messages")
    if not isinstance(messages, list) or not all(isinstance(entry, dict) for entry in messages):
        raise row.fail("field 'messages' must be a list of objects with 'role' and 'content'")
    turns: list[Turn] = []
    for message in messages:
        role, content = _ROLES.get(str(message.get("role"))), message.get("content")
        if role is None:
            return "other role"
        if isinstance(content, list):  # parts, of which a text model reads text alone
            texts = [part.get("text") if isinstance(part, dict) else None for part in content]
            known = [text for text in texts if isinstance(text, str)]
            content = "\n".join(known) if len(known) == len(texts) else None
        if not isinstance(content, str):
            return "not text"
        turns.append((role, content.strip()))  # type: ignore[arg-type]
    return turns
