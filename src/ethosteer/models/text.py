"""Turns of a dialogue as token ids, in the same way in every stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from transformers import PreTrainedTokenizerBase

from ethosteer.errors import InputError
from ethosteer.records import Turn

HEADINGS = {
    "guanaco": {"human": "### Human: ", "assistant": "### Assistant: "},
    "hh": {"human": "\n\nHuman: ", "assistant": "\n\nAssistant: "},
}
SEPARATORS = {"guanaco": " ", "hh": ""}
"""Between two turns."""


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


@dataclass(frozen=True, slots=True)
class Template:
    """How a dialogue is written for the model.

    guanaco: ``### Human: ... ### Assistant: ...``, as in the 2024 study; hh: as in Anthropic's
    data; chat: the tokenizer's template. A response's ids continue its prompt's, as they do when it
    is sampled.
    """

    name: Literal["guanaco", "hh", "chat"]
    tokenizer: PreTrainedTokenizerBase

    def prompt_text(self, turns: Sequence[Turn]) -> str:
        """Write ``turns``, which end with the human, up to where the assistant's answer starts."""
        if self.name == "chat":
            return self._chat(turns, answer=False)
        headings = HEADINGS[self.name]
        written = [headings[role] + text for role, text in turns]
        # without the space, which most tokenizers make the beginning of the answer's first token
        return SEPARATORS[self.name].join([*written, headings["assistant"].rstrip(" ")])

    def response_text(self, turns: Sequence[Turn], response: str) -> str:
        """Write the assistant's answer as it continues ``prompt_text(turns)``."""
        if self.name != "chat":
            return " " + response
        prompt = self._chat(turns, answer=False)
        whole = self._chat([*turns, ("assistant", response)], answer=True)
        return whole[len(prompt) :] if whole.startswith(prompt) else response

    def fingerprint(self) -> str:
        """Identify the template by how it writes a dialogue."""
        turns: list[Turn] = [("human", "A question."), ("assistant", "An answer.")]
        again: list[Turn] = [*turns, ("human", "Another?")]
        return _digest(self.prompt_text(again) + self.response_text(again, "Another."))

    def prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Encode the prompt, with the tokenizer's default special tokens."""
        ids: list[int] = self.tokenizer(
            self.prompt_text(turns), add_special_tokens=self.name != "chat"
        ).input_ids
        return ids

    def response_ids(self, turns: Sequence[Turn], response: str) -> list[int]:
        """Encode an answer: the ids that the whole text has beyond the prompt's.

        The whole is encoded, since some tokenizers (Llama 2's) put a space before every text. If a
        token would span the end of the prompt, the answer is encoded by itself.
        """
        special = self.name != "chat"
        prompt, answer = self.prompt_ids(turns), self.response_text(turns, response)
        text = self.prompt_text(turns) + answer
        whole: list[int] = self.tokenizer(text, add_special_tokens=special).input_ids
        if whole[: len(prompt)] == prompt:
            return whole[len(prompt) :]
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False).input_ids
        return ids

    def conversation_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Encode a whole dialogue, which ends with the assistant, and close it with EOS."""
        *before, (_, answer) = turns
        ids = self.prompt_ids(before) + self.response_ids(before, answer)
        eos = self.tokenizer.eos_token_id
        return ids if ids[-1] == eos else [*ids, int(eos)]

    def _chat(self, turns: Sequence[Turn], *, answer: bool) -> str:
        if not self.tokenizer.chat_template:
            raise InputError(
                "data.template: the base's tokenizer has no chat template; use guanaco or hh"
            )
        roles = {"human": "user", "assistant": "assistant"}
        text = self.tokenizer.apply_chat_template(
            [{"role": roles[role], "content": text} for role, text in turns],
            tokenize=False,
            add_generation_prompt=not answer,
        )
        assert isinstance(text, str)
        return text


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return a response as plain text, special tokens left out."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    assert isinstance(text, str)
    return text.strip()
