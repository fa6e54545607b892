"""Turns of a dialogue as token ids, in the same way in every stage.

One function joins a prompt, a response and the end of turn into a row: ``Template._row``. Rows of
known text (fine-tuning, pairs) and rows of sampled answers (rewards in steering) both come from it,
so a reward model is read at the token that it was trained at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Literal

from transformers import PreTrainedTokenizerBase

from ethosteer.errors import InputError
from ethosteer.models.chat_template import ChatTemplate, joined
from ethosteer.models.special_tokens import SpecialTokens
from ethosteer.records import Turn
from ethosteer.settings import TEMPLATE_DATE

HEADINGS = {
    "guanaco": {
        "system": "### System: ",
        "human": "### Human: ",
        "assistant": "### Assistant: ",
    },
    "hh": {
        "system": "\n\nSystem: ",
        "human": "\n\nHuman: ",
        "assistant": "\n\nAssistant: ",
    },
}
SEPARATORS = {"guanaco": " ", "hh": ""}
"""Between two turns."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and a response as token ids.

    ``response_ids`` end with the end of turn, where the template writes one. A reward is read at
    the last of them, in training as in steering. ``loss_mask`` covers ``ids``: the tokens that
    training by likelihood learns.
    """

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]

    @classmethod
    def of(cls, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> Row:
        """Join a prompt and a response, which is learned."""
        mask = (False,) * len(prompt_ids) + (True,) * len(response_ids)
        return cls(tuple(prompt_ids), tuple(response_ids), mask)

    @property
    def ids(self) -> list[int]:
        """The whole row."""
        return [*self.prompt_ids, *self.response_ids]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Identify a tokenizer by its whole definition, or by its vocabulary if that is all it has.

    Its latest padding and truncation, which calls to it change, are left out.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _digest(json.dumps(tokenizer.get_vocab(), sort_keys=True))
    definition = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
    return _digest(json.dumps(definition, sort_keys=True))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8")).hexdigest()


def find_stop_ids(
    tokenizer: PreTrainedTokenizerBase, configured: int | Sequence[int] | None
) -> frozenset[int]:
    """Return the tokens that end an answer; empty where none is known.

    They are those of the generation config (``configured``), the tokenizer's EOS, and the end of
    turn of its chat template. Raises InputError where ``configured`` holds no token ids.
    """
    stated = list(configured) if isinstance(configured, list | tuple) else [configured]
    ids = [index for index in stated if isinstance(index, int) and index >= 0]
    if len(ids) < len(stated) - stated.count(None):
        raise InputError(
            f"eos_token_id of generation_config.json (or config.json) is {configured!r}; it must "
            "be a token's id, or a list of them"
        )
    if tokenizer.eos_token_id is not None:
        ids.append(int(tokenizer.eos_token_id))
    if tokenizer.chat_template:
        try:
            end_of_turn = Template("chat", tokenizer).end_of_turn
        except InputError:  # of no use for chat, but the base may still be used without it
            end_of_turn = None
        ids += [] if end_of_turn is None else [end_of_turn]
    return frozenset(ids)


@dataclass(frozen=True)
class Template:
    """How a dialogue is written for the model.

    guanaco: ``### Human: ... ### Assistant: ...``, as in the 2024 study; hh: as in Anthropic's
    data; chat: the tokenizer's template. A response's ids continue its prompt's, as they do when it
    is sampled. ``date`` (YYYY-MM-DD) is today for templates that print it. Text of a turn that
    spells a special token is encoded as text.

    Methods raise RefusedDialogueError where a chat template does not take a dialogue, and
    InputError where the tokenizer has no chat template.
    """

    name: Literal["guanaco", "hh", "chat"]
    tokenizer: PreTrainedTokenizerBase
    date: str = TEMPLATE_DATE

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The tokenizer's chat template, which writes dialogues where ``name`` is "chat"."""
        return ChatTemplate(self._special_tokens, self.date)

    @cached_property
    def _special_tokens(self) -> SpecialTokens:
        return SpecialTokens(self.tokenizer)

    def row(self, turns: Sequence[Turn], response: str) -> Row:
        """Encode a known response to ``turns``, which end with the human; the response is learned.

        The whole is encoded, since some tokenizers (Llama 2's) put a space before every text. If a
        token would span the end of the prompt, the response is encoded by itself.
        """
        (row,) = self.rows(turns, [response])
        return row

    def rows(self, turns: Sequence[Turn], responses: Sequence[str]) -> list[Row]:
        """Encode known responses to the same ``turns``, each as ``row`` does; the prompt once."""
        prompt_text = self._prompt(turns)
        prompt, rows = self._encode(prompt_text), []
        for response in responses:
            answer = self._answer(turns, response)
            whole = self._encode(prompt_text + answer)
            if whole[: len(prompt)] == prompt:
                rows.append(self._row(prompt, whole[len(prompt) :]))
            else:
                rows.append(self._row(prompt, self._encode(answer, alone=True)))
        return rows

    def sampled_row(
        self, prompt_ids: Sequence[int], answer_ids: Sequence[int], stop_ids: Iterable[int]
    ) -> Row:
        """Return the row of a sampled answer, whether it ended by itself or at its limit.

        A last token among ``stop_ids`` (none where they are ignored) is not part of the text; where
        the template has an end of turn, every row has it.
        """
        ends = {*stop_ids, self.end_of_turn}
        ended = bool(answer_ids) and answer_ids[-1] in ends
        return self._row(prompt_ids, answer_ids[:-1] if ended else answer_ids)

    def conversation_row(self, turns: Sequence[Turn]) -> Row:
        """Encode a whole dialogue, which ends with the assistant, to be fine-tuned on.

        It closes with the end of turn, or with EOS where the template has none. A chat model learns
        what it would have to say: every turn of the assistant's, and its end, that stands in the
        dialogue as it would be sampled. With guanaco and hh a base learns the form as well: all
        tokens but the first, which nothing predicts. Raises InputError where there is no EOS.
        """
        if self.name == "chat":
            turns = joined(turns)
        *before, (_, answer) = turns
        row = self.row(before, answer)
        ids = row.ids
        if self.end_of_turn is None and ids[-1] != self._eos:
            ids.append(self._eos)
        if self.name != "chat":
            mask = [False] + [True] * (len(ids) - 1)
        else:
            mask = [index >= len(row.prompt_ids) for index in range(len(ids))]
            for index, (role, text) in enumerate(before):
                if role == "assistant":
                    earlier = self.row(turns[:index], text)
                    end = len(earlier.ids)
                    # some templates write an earlier turn otherwise than it was sampled (Qwen3)
                    if ids[:end] == earlier.ids:
                        mask[len(earlier.prompt_ids) : end] = [True] * len(earlier.response_ids)
        return Row(row.prompt_ids, tuple(ids[len(row.prompt_ids) :]), tuple(mask))

    def _row(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> Row:
        """Join a prompt, a response and the end of turn, where the template has one."""
        end = () if self.end_of_turn is None else (self.end_of_turn,)
        return Row.of(prompt_ids, (*response_ids, *end))

    def prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Encode ``turns``, which end with the human, up to where the answer starts."""
        return self._encode(self._prompt(turns))

    def prompt_text(self, turns: Sequence[Turn]) -> str:
        """Write ``turns``, which end with the human, up to where the assistant's answer starts."""
        return self._special_tokens.unescape(self._prompt(turns))

    def response_text(self, turns: Sequence[Turn], response: str) -> str:
        """Write the answer as it continues ``prompt_text(turns)``, without the end of turn."""
        return self._special_tokens.unescape(self._answer(turns, response))

    def request_text(self, turns: Sequence[Turn]) -> str:
        """Write a benchmark's request, as lm-evaluation-harness does with apply_chat_template.

        It is what the chat template itself writes, with its generation prompt, thinking off and the
        study's date. Unlike ``prompt_text`` it adds nothing where a template has no such prompt.
        """
        return self._special_tokens.unescape(self.chat_template.turns_text(turns, answer=False))

    def fingerprint(self) -> str:
        """Identify the template by how it writes a dialogue."""
        turns: list[Turn] = [("human", "A question."), ("assistant", "An answer.")]
        again: list[Turn] = [*turns, ("human", "Another?")]
        end = "" if self.end_of_turn is None else str(self.end_of_turn)
        return _digest(self.prompt_text(again) + self.response_text(again, "Another.") + end)

    def check(self) -> None:
        """Raise InputError for a chat template that is malformed or leaves out what a turn says."""
        if self.name == "chat":
            _ = self.chat_template.turn_ends

    @property
    def end_of_turn(self) -> int | None:
        """The token that ends the assistant's turn; None for guanaco, hh and templates without."""
        return self.chat_template.turn_ends.token if self.name == "chat" else None

    @property
    def decoded_end_of_turn(self) -> str | None:
        """The text of the token that ends the assistant's turn."""
        if self.end_of_turn is None:
            return None
        return str(self.tokenizer.convert_ids_to_tokens(self.end_of_turn))

    @property
    def _eos(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "base.model: its tokenizer has no EOS token, and its dialogue template no end of "
                "turn, so no row to fine-tune on can be closed; set eos_token in its "
                "tokenizer_config.json"
            )
        return int(self.tokenizer.eos_token_id)

    # --- text in which turns are escaped, so that special tokens are the template's own

    def _prompt(self, turns: Sequence[Turn]) -> str:
        if self.name == "chat":
            return self.chat_template.prompt(turns)
        headings = HEADINGS[self.name]
        written = [headings[role] + self._special_tokens.escape(text) for role, text in turns]
        # without the space, which most tokenizers make the beginning of the answer's first token
        return SEPARATORS[self.name].join([*written, headings["assistant"].rstrip(" ")])

    def _answer(self, turns: Sequence[Turn], response: str) -> str:
        if self.name == "chat":
            return self.chat_template.answer(turns, response)
        return " " + self._special_tokens.escape(response)

    def _encode(self, text: str, *, alone: bool = False) -> list[int]:
        """Encode what the functions above write; ``alone`` without the tokenizer's own specials."""
        add_special_tokens = self.name != "chat" and not alone
        return self._special_tokens.encode(text, add_special_tokens=add_special_tokens)


def decode(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop_ids: Iterable[int] = ()
) -> str:
    """Return a response as plain text, without special tokens and the token that ended it."""
    return decode_all(tokenizer, ids, stop_ids).strip()


def decode_all(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop_ids: Iterable[int] = ()
) -> str:
    """Return a response as ``decode`` does, with the blanks at its ends."""
    if ids and ids[-1] in set(stop_ids):
        ids = ids[:-1]
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    assert isinstance(text, str)
    return text
