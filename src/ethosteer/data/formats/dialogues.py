"""Turns of a dialogue from text or messages, as files write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ethosteer.data.readers import Row, quoted
from ethosteer.errors import InputError
from ethosteer.records import Turn, parse_dialogue

ROLES = {
    "user": "human", "human": "human", "prompter": "human",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
"""Names of speakers in messages."""

_DIALOGUE = re.compile(r"\s*(Human|System): ?")


class UnusableError(Exception):
    """A well-formed dialogue that makes no pair; the message is the reason that the card counts."""


def prompt_turns(row: Row) -> list[Turn]:
    """Return the turns of a row's prompt, after those of its column ``system``, if it has one."""
    system = row.value("system")
    if system is None or (isinstance(system, str) and not system.strip()):
        return _prompt_turns(row)
    return [("system", row.text("system").strip()), *_prompt_turns(row)]


def _prompt_turns(row: Row) -> list[Turn]:
    """Return the turns of messages; text is one turn of the human's, or an HH dialogue."""
    turns = _turns(row, "prompt")
    if turns is not None:
        return turns
    text = row.text("prompt")
    if is_dialogue(text) and (text.startswith("\n\n") or text.rstrip().endswith("\nAssistant:")):
        turns = parse_dialogue("\n\n" + text.strip())
        return turns[:-1] if turns[-1] == ("assistant", "") else turns
    return [("human", text.strip())]


def answer_turns(row: Row, column: str) -> list[Turn]:
    """Return the turns of an answer after a prompt, or of a whole dialogue that ends with one."""
    turns = _turns(row, column)
    if turns is not None:
        return turns
    text = row.text(column)
    if is_dialogue(text) and ("prompt" not in row.names or "\nAssistant:" in text):
        return parse_dialogue("\n\n" + text.strip())
    return [("assistant", text.strip())]


def is_dialogue(text: str) -> bool:
    r"""Return whether a text is written ``\n\nHuman: ...\n\nAssistant: ...``."""
    return _DIALOGUE.match(text) is not None


def compared(
    prompt: Sequence[Turn] | None, first: Sequence[Turn], second: Sequence[Turn]
) -> tuple[list[Turn], str, str]:
    """Return the common dialogue of two answers, and both answers.

    An answer that begins with the human is a whole dialogue; else it continues ``prompt``. Raises
    UnusableError where a dialogue ends with no answer or the two differ before it.
    """
    whole = [
        [*(prompt or ()), *turns] if turns[0][0] == "assistant" else list(turns)
        for turns in (first, second)
    ]
    (*dialogue, (role, answer)), (*other, (other_role, other_answer)) = whole
    if {role, other_role} != {"assistant"}:
        raise UnusableError("no answer")
    if dialogue != other:
        raise UnusableError("dialogue differs")
    if not dialogue:
        raise UnusableError("no question")
    return dialogue, answer, other_answer


def _turns(row: Row, column: str) -> list[Turn] | None:
    """Return the turns of a list of messages; None where the field is text."""
    value = row.value(column)
    if isinstance(value, str):
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise row.bad(column, "must be text or a list of messages")
    if not value:
        raise UnusableError("empty")
    return [_turn(row, column, message, index) for index, message in enumerate(value, start=1)]


def _turn(row: Row, column: str, message: object, index: int) -> Turn:
    name = row.names.get(column, column)
    if not isinstance(message, dict):
        raise row.fail(
            f"column {name!r}, message {index}: must be an object with role and content, "
            f"found {quoted(message)}"
        )
    role = message.get("role", message.get("from"))
    if role in ("tool", "function", "ipython"):
        raise UnusableError("tool turn")
    if not isinstance(role, str) or role not in ROLES:
        raise row.fail(
            f"column {name!r}, message {index}: role must be user, assistant or system, "
            f"found {quoted(role)}"
        )
    return ROLES[role], _content(row, name, message, index)  # type: ignore[return-value]


def _content(row: Row, name: str, message: dict[str, object], index: int) -> str:
    """Return a message's text, which may be given in chunks."""
    content = message.get("content", message.get("value"))
    if isinstance(content, list) and all(isinstance(chunk, dict) for chunk in content):
        if any(chunk.get("type", "text") != "text" for chunk in content):
            raise UnusableError("not only text")
        content = "".join(str(chunk.get("text") or "") for chunk in content)
    if not isinstance(content, str):
        raise _bad_content(row, name, index, content)
    return content.strip()


def _bad_content(row: Row, name: str, index: int, content: object) -> InputError:
    return row.fail(
        f"column {name!r}, message {index}: content must be text, found {quoted(content)}"
    )
