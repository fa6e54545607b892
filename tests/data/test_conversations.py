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
    assert read_conversations(path).turns == [
        [("human", "Hi!\nThere?"), ("assistant", "Yes.")],
        [("human", "a"), ("assistant", "b"), ("human", "c"), ("assistant", "### d")],
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no answer"),
        ("Hi", "no answer"),
        ("### Human: Hi", "no answer"),
        ("### Assistant: a### Human: b", "assistant first"),
        ("### Human: a### Assistant: ### Human: c### Assistant: d", "empty turn"),
    ],
)
def test_a_row_without_question_and_answer_is_counted(tmp_path, text, reason):
    conversations = read_conversations(written(tmp_path, "### Human: a### Assistant: b", text))
    assert conversations.turns == [[("human", "a"), ("assistant", "b")]]
    assert conversations.dropped == {reason: 1}


def messages(folder: Path, *rows: object) -> Path:
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), "utf-8")
    return path


def test_messages_are_conversations_too(tmp_path):
    def say(role: object, content: object) -> dict[str, object]:
        return {"role": role, "content": content}

    asked, answered = say("user", " Is it far? "), say("assistant", "No.")
    parts = [{"type": "text", "text": "Is it"}, {"type": "text", "text": "far?"}]
    path = messages(
        tmp_path,
        [say("system", "Be brief."), asked, answered],
        [say("user", parts), answered, asked],
        [asked],
        [answered, asked, answered],
        [asked, say("assistant", "")],
        [asked, say("assistant", None)],
        [say("tool", "x"), asked, answered],
        [],
    )
    conversations = read_conversations(path)
    assert conversations.turns == [
        [("system", "Be brief."), ("human", "Is it far?"), ("assistant", "No.")],
        [("human", "Is it\nfar?"), ("assistant", "No.")],
    ]
    assert conversations.dropped == {
        "no answer": 2, "assistant first": 1, "empty turn": 1, "not text": 1, "other role": 1,
    }  # fmt: skip


@pytest.mark.parametrize("row", ["hi", ["hi"], {"role": "user"}, 5, None])
def test_messages_of_another_form_are_named(tmp_path, row):
    with pytest.raises(InputError, match=r"m\.jsonl:1: field 'messages' must be a list of objects"):
        read_conversations(messages(tmp_path, row))


def test_a_file_without_conversations_is_named(tmp_path):
    with pytest.raises(InputError, match=r"c\.jsonl: no conversation has a question and an answer"):
        read_conversations(written(tmp_path, "Hi"))
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "x"}\n', "utf-8")
    with pytest.raises(InputError, match=r"d\.jsonl:1: field 'messages' \(or"):
        read_conversations(path)


def test_the_samples_conversations_are_read():
    conversations = read_conversations(Origin("sample").locate(CONVERSATIONS)).turns
    assert all(turns[0][0] == "human" for turns in conversations)
    assert all(turns[-1][0] == "assistant" for turns in conversations)
