"""The chat template of a tokenizer: dialogues as it writes them, and how it ends an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.models.foreign import foreign
from ethosteer.models.special_tokens import SpecialTokens
from ethosteer.records import Turn
from ethosteer.settings import TEMPLATE_DATE

ROLES = {"system": "system", "human": "user", "assistant": "assistant"}
"""As chat templates name them."""

QUESTION: list[Turn] = [("human", "Is it far?")]
PROBE = "ProbeOfTheAnswer"
"""An answer whose surroundings show how a chat template opens and ends the assistant's turn."""

TODAY = re.compile(r"strftime_now\s*\(\s*(['\"])([^'\"]*)\1\s*\)")
"""A template's call for today's date, and its form."""


@dataclass(frozen=True, slots=True)
class TurnEnds:
    """How a chat template writes an answer.

    After the generation prompt stands ``cue``, where the template has no generation prompt; an
    answer follows after ``gap`` (spaces, which become part of its first token), then ``after``, in
    which ``token`` ends the turn.
    """

    cue: str
    gap: str
    after: str
    token: int | None


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template; ``date`` (YYYY-MM-DD) is today for one that prints it.

    Turns are written escaped (``SpecialTokens``). Methods raise RefusedDialogueError where the
    template does not take a dialogue, and InputError where there is none or it is malformed.
    """

    special_tokens: SpecialTokens
    date: str = TEMPLATE_DATE

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer whose template it is."""
        return self.special_tokens.tokenizer

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Write ``turns``, which end with the human, up to where the assistant's answer starts."""
        turns = joined(turns)
        if turns[-1][0] != "human":
            raise RefusedDialogueError("the turn before an answer must be the human's")
        return self.turns_text(turns, answer=False) + self.turn_ends.cue

    def answer(self, turns: Sequence[Turn], response: str) -> str:
        """Write the answer as it continues ``prompt(turns)``, without the end of turn."""
        prompt, ends = self.prompt(turns), self.turn_ends
        whole = self.turns_text([*joined(turns), ("assistant", response)], answer=True)
        if whole.startswith(prompt) and whole.endswith(ends.after):
            return whole[len(prompt) : len(whole) - len(ends.after)]
        return ends.gap + self.special_tokens.escape(response)

    @cached_property
    def turn_ends(self) -> TurnEnds:
        """How the template opens and ends the assistant's turn, read off one that it wrote."""
        prompt = self.turns_text(QUESTION, answer=False)
        whole = self.turns_text([*QUESTION, ("assistant", PROBE)], answer=True)
        if self.special_tokens.escape(QUESTION[0][1]) not in prompt or PROBE not in whole:
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
        return TurnEnds(cue, lead[len(cue) :], after, known[match[1]] if match else None)

    def turns_text(self, turns: Sequence[Turn], *, answer: bool) -> str:
        """Write turns as the template does: with their ``answer``, or up to where one starts."""
        escape = self.special_tokens.escape
        messages = [{"role": ROLES[role], "content": escape(text)} for role, text in turns]
        return self._apply(messages, generation_prompt=not answer)

    def messages_text(
        self, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write messages (``role`` and ``content``), in which special tokens are not escaped.

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


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Join turns of one speaker that follow each other, which many chat templates refuse."""
    merged: list[Turn] = []
    for role, text in turns:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n\n{text}")
        else:
            merged.append((role, text))
    return merged
