"""A template that counts a text's words as tokens, so that lengths are seen by eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ethosteer.models.text import Row, Template
from ethosteer.records import Turn


class WordTemplate:
    def prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        return list(range(sum(len(text.split()) for _, text in turns)))

    def rows(self, turns: Sequence[Turn], responses: Sequence[str]) -> list[Row]:
        prompt = self.prompt_ids(turns)
        return [Row.of(prompt, range(len(response.split()))) for response in responses]


TEMPLATE = cast(Template, WordTemplate())
