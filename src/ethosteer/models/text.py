"""Turns of a dialogue as token ids, in the same way in every stage.

One function joins a prompt, a response and the end of turn into a row: ``Template._row``. Rows of
known text (fine-tuning, pairs) and rows of sampled answers (rewards in steering) both come from it,
so a reward model is read at the token that it was trained at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Literal

from jinja2 import TemplateSyntaxError
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.models.foreign import foreign
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
ROLES = {"system": "system", "human": "user", "assistant": "assistant"}
"""As chat templates name them."""

QUESTION: list[Turn] = [("human", "Is it far?")]
PROBE = "ProbeOfTheAnswer"
"""An answer whose surroundings show how a chat template opens and ends the assistant's turn."""

TODAY = re.compile(r"strftime_now\s*\(\s*(['\"])(.*?)\1\s*\)")
"""A template's call for today's date, and its form."""
LITERAL, ALIAS = "\ue000{}\ue001", "\ue002{}\ue003"
"""Stand in, by the token's id, for a special token's text in a turn, and for one of the template.

Characters for private use, which no template treats in a special way.
"""


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
        return self._plain(self._prompt(turns))

    def response_text(self, turns: Sequence[Turn], response: str) -> str:
        """Write the answer as it continues ``prompt_text(turns)``, without the end of turn."""
        return self._plain(self._answer(turns, response))

    def request_text(self, turns: Sequence[Turn]) -> str:
        """Write a benchmark's request, as lm-evaluation-harness does with apply_chat_template.

        It is what the chat template itself writes, with its generation prompt, thinking off and the
        study's date. Unlike ``prompt_text`` it adds nothing where a template has no such prompt.
        """
        return self._plain(self._chat(turns, answer=False))

    def fingerprint(self) -> str:
        """Identify the template by how it writes a dialogue."""
        turns: list[Turn] = [("human", "A question."), ("assistant", "An answer.")]
        again: list[Turn] = [*turns, ("human", "Another?")]
        end = "" if self.end_of_turn is None else str(self.end_of_turn)
        return _digest(self.prompt_text(again) + self.response_text(again, "Another.") + end)

    def check(self) -> None:
        """Raise InputError for a chat template that is malformed or leaves out what a turn says."""
        if self.name == "chat":
            _ = self._turn_ends

    @property
    def end_of_turn(self) -> int | None:
        """The token that ends the assistant's turn; None for guanaco, hh and templates without."""
        return self._turn_ends.token if self.name == "chat" else None

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

    # --- text; special tokens that a turn spells are written as LITERAL

    def _prompt(self, turns: Sequence[Turn]) -> str:
        if self.name == "chat":
            turns = joined(turns)
            if turns[-1][0] != "human":
                raise RefusedDialogueError("the turn before an answer must be the human's")
            return self._chat(turns, answer=False) + self._turn_ends.cue
        headings = HEADINGS[self.name]
        written = [headings[role] + self._literal(text) for role, text in turns]
        # without the space, which most tokenizers make the beginning of the answer's first token
        return SEPARATORS[self.name].join([*written, headings["assistant"].rstrip(" ")])

    def _answer(self, turns: Sequence[Turn], response: str) -> str:
        if self.name != "chat":
            return " " + self._literal(response)
        prompt, ends = self._prompt(turns), self._turn_ends
        whole = self._chat([*joined(turns), ("assistant", response)], answer=True)
        if whole.startswith(prompt) and whole.endswith(ends.after):
            return whole[len(prompt) : len(whole) - len(ends.after)]
        return ends.gap + self._literal(response)

    @cached_property
    def _turn_ends(self) -> _TurnEnds:
        """Find how the chat template opens and ends the assistant's turn, by writing one."""
        prompt = self._chat(QUESTION, answer=False)
        whole = self._chat([*QUESTION, ("assistant", PROBE)], answer=True)
        if self._literal(QUESTION[0][1]) not in prompt or PROBE not in whole:
            raise InputError(
                "data.template: the base's chat template leaves out what a turn says; mend it, or "
                "use guanaco or hh"
            )
        before, _, after = whole.rpartition(PROBE)
        # what a template writes before an answer beside its generation prompt, if it has one
        lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
        cue = lead.rstrip(" ")
        # longest first, as the tokenizer matches
        known = {
            token.content: index
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.content.strip()
        }
        names = sorted(known, key=len, reverse=True)
        match = re.match(rf"\s*({'|'.join(map(re.escape, names))})", after) if names else None
        return _TurnEnds(cue, lead[len(cue) :], after, known[match[1]] if match else None)

    def _chat(self, turns: Sequence[Turn], *, answer: bool) -> str:
        """Write turns by the chat template: with their ``answer``, or up to where one starts."""
        messages = [{"role": ROLES[role], "content": self._literal(text)} for role, text in turns]
        return self._apply(messages, generation_prompt=not answer)

    def messages_text(
        self, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write messages (``role`` and ``content``) by the chat template, as ``request_text`` does.

        Without a generation prompt the last message is left open, to be continued.
        """
        return self._apply(
            messages, generation_prompt=add_generation_prompt, continued=not add_generation_prompt
        )

    def _apply(
        self,
        messages: Sequence[dict[str, str]],
        *,
        generation_prompt: bool,
        continued: bool = False,
    ) -> str:
        """Write messages by the chat template; RefusedDialogueError where it does not take them."""
        subject = "data.template: the base's chat template"
        with foreign(subject, "refuses a dialogue", RefusedDialogueError):
            try:
                text = self.tokenizer.apply_chat_template(
                    list(messages),
                    chat_template=self._dated_template,
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    continue_final_message=continued,
                    date_string=datetime.fromisoformat(self.date).strftime("%d %b %Y"),
                    enable_thinking=False,
                )
            except TemplateSyntaxError as fault:  # no dialogue's fault
                raise InputError(
                    f"{subject} is not valid Jinja, line {fault.lineno}: {fault.message}; mend it, "
                    "or use guanaco or hh"
                ) from fault
        assert isinstance(text, str)
        return text

    @cached_property
    def _dated_template(self) -> str:
        """The tokenizer's chat template, with the study's date where it asks for today's."""
        if not self.tokenizer.chat_template:
            raise InputError(
                "data.template: the base's tokenizer has no chat template; use guanaco or hh"
            )
        day = datetime.fromisoformat(self.date)
        template = str(self.tokenizer.get_chat_template())
        # transformers hands templates no functions but its own, so the call itself is replaced
        template = TODAY.sub(lambda call: json.dumps(day.strftime(call[2])), template)
        if re.search(r"strftime_now\s*\(", template):
            raise InputError(
                "data.template: the base's chat template prints today's date in a computed form, "
                "so the study's date cannot be put there; use guanaco or hh"
            )
        return template

    # --- special tokens

    @cached_property
    def _specials(self) -> dict[str, int]:
        """The ids of the special tokens by their text."""
        tokens = self.tokenizer.added_tokens_decoder.items()
        return {token.content: index for index, token in tokens if token.special}

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        names = sorted(self._specials, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def _literal(self, text: str) -> str:
        """Write the special tokens that a turn spells in another way, to tell them apart."""
        ids = self._specials
        return self._special_pattern.sub(lambda match: LITERAL.format(ids[match[0]]), text)

    def _plain(self, text: str) -> str:
        """Undo ``_literal``."""
        tokens = self.tokenizer.convert_ids_to_tokens
        pattern = LITERAL.format(r"(\d+)")
        return re.sub(pattern, lambda match: str(tokens(int(match[1]))), text)

    def _encode(self, text: str, *, alone: bool = False) -> list[int]:
        """Encode what the functions above write; ``alone`` without the tokenizer's own specials."""
        add_special_tokens = self.name != "chat" and not alone
        if self._plain(text) == text:
            whole: list[int] = self.tokenizer(text, add_special_tokens=add_special_tokens).input_ids
            return whole
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            raise RefusedDialogueError(
                "a turn spells a special token, which needs a fast tokenizer"
            )
        ids = self._specials
        # the template's own special tokens, then those that turns spell
        aliased = self._special_pattern.sub(lambda match: ALIAS.format(ids[match[0]]), text)
        encoder, real = self._text_encoder
        encoding = encoder.encode(self._plain(aliased), add_special_tokens=add_special_tokens)
        return [real.get(index, index) for index in encoding.ids]

    @cached_property
    def _text_encoder(self) -> tuple[Tokenizer, dict[int, int]]:
        """A copy of the tokenizer to which special tokens are text, and their aliases are special.

        Returned with the ids that the aliases stand for.
        """
        encoder = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        encoder.no_truncation()
        encoder.no_padding()
        encoder.encode_special_tokens = True
        real: dict[int, int] = {}
        for index in self._specials.values():
            token, alias = self.tokenizer.added_tokens_decoder[index], ALIAS.format(index)
            copied = AddedToken(alias, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False)
            encoder.add_tokens([copied])
            alias_id = encoder.token_to_id(alias)
            assert alias_id is not None, "it was added just now"
            real[alias_id] = index
        return encoder, real


@dataclass(frozen=True, slots=True)
class _TurnEnds:
    """How a chat template writes an answer.

    After the generation prompt stands ``cue``, where the template has no generation prompt; an
    answer follows after ``gap`` (spaces, which become part of its first token), then ``after``, in
    which ``token`` ends the turn.
    """

    cue: str
    gap: str
    after: str
    token: int | None


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Join turns of one speaker that follow each other, which many chat templates refuse."""
    merged: list[Turn] = []
    for role, text in turns:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n\n{text}")
        else:
            merged.append((role, text))
    return merged


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
