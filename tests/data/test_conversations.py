from __future__ import annotations

import json
from pathlib import Path

import pytest

from ethosteer.data.conversations import CONVERSATIONS, read_conversations
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError


def written(folder: Path, *texts: str) -> Path:
    path = folder / "c.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def test_turns_are_read_and_a_last_question_is_left_out(tmp_path):
    path = written(
        tmp_path,
        "### Human: Hi!\nThere?### Assistant: Yes.### Human: Bye",
        "### Human: a### Assistant: b ### Human: c### Assistant: ### d",
    )
    assert read_conversations(path) == [
        [("human", "Hi!\nThere?"), ("assistant", "Yes.")],
        [("human", "a"), ("assistant", "b"), ("human", "c"), ("assistant", "### d")],
    ]


@pytest.mark.parametrize("text", ["", "Hi", "### Human: Hi", "### Assistant: a### Human: b"])
def test_a_row_without_question_and_answer_is_named(tmp_path, text):
    path = written(tmp_path, "### Human: a### Assistant: b", text)
    with pytest.raises(InputError) as caught:
        read_conversations(path)
    assert str(caught.value).startswith(f"{path}:2: a conversation must have")


def test_the_samples_conversations_are_read():
    conversations = read_conversations(Origin("sample").locate(CONVERSATIONS))
    assert all(turns[0][0] == "human" for turns in conversations)
    assert all(turns[-1][0] == "assistant" for turns in conversations)
