"""Conversations to fine-tune the base on, and optionally to take steering prompts from."""

from __future__ import annotations

import re
from pathlib import Path

from ethosteer.data.readers import read_jsonl
from ethosteer.data.sources import Source
from ethosteer.records import Turn

CONVERSATIONS = Source(
    path="conversations/guanaco_train.jsonl",
    home="https://huggingface.co/datasets/timdettmers/openassistant-guanaco",
    licence="Apache-2.0",
    repository="timdettmers/openassistant-guanaco",
    revision="main",  # no full commit hash is known to us
    hub_path="openassistant_best_replies_train.jsonl",
)

_HEADING = re.compile(r"###\s*(Human|Assistant):")


def read_conversations(path: Path) -> list[list[Turn]]:
    """Read openassistant-guanaco's layout: ``### Human: ...### Assistant: ...`` in ``text``.

    A last turn of the human is left out. Raises InputError for a row without an answer.
    """
    conversations = []
    for row in read_jsonl(path, ["text"]):
        _, *pieces = _HEADING.split(row.text("text"))
        turns: list[Turn] = [
            ("human" if role == "Human" else "assistant", text.strip())
            for role, text in zip(pieces[::2], pieces[1::2], strict=True)
        ]
        if turns and turns[-1][0] == "human":
            turns.pop()
        if not turns or turns[0][0] != "human":
            raise row.fail("a conversation must have '### Human:' and then '### Assistant:'")
        conversations.append(turns)
    return conversations
