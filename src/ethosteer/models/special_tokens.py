"""Special tokens that a dialogue template writes, apart from turns that spell one.

A turn is escaped before a template writes it, so that afterwards every special token in the text is
the template's. The escaped text is encoded, or unescaped to be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from ethosteer.errors import RefusedDialogueError

LITERAL, ALIAS = "\ue000{}\ue001", "\ue002{}\ue003"
"""Stand in, by the token's id, for a special token's text in a turn, and for one of the template.

Characters for private use, which no template treats in a special way.
"""


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of a tokenizer: text that spells one is escaped and encoded as text."""

    tokenizer: PreTrainedTokenizerBase

    def escape(self, text: str) -> str:
        """Write the special tokens that a turn spells as LITERAL, to tell them apart."""
        ids = self._ids
        return self._pattern.sub(lambda match: LITERAL.format(ids[match[0]]), text)

    def unescape(self, text: str) -> str:
        """Undo ``escape``."""
        tokens = self.tokenizer.convert_ids_to_tokens
        pattern = LITERAL.format(r"(\d+)")
        return re.sub(pattern, lambda match: str(tokens(int(match[1]))), text)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Encode text whose turns are escaped; with those that the tokenizer itself adds, or not.

        Raises RefusedDialogueError where a turn spells a special token and the tokenizer is slow.
        """
        if self.unescape(text) == text:
            whole: list[int] = self.tokenizer(text, add_special_tokens=add_special_tokens).input_ids
            return whole
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            raise RefusedDialogueError(
                "a turn spells a special token, which needs a fast tokenizer"
            )
        ids = self._ids
        # the template's own special tokens, then those that turns spell
        aliased = self._pattern.sub(lambda match: ALIAS.format(ids[match[0]]), text)
        encoder, real = self._text_encoder
        encoding = encoder.encode(self.unescape(aliased), add_special_tokens=add_special_tokens)
        return [real.get(index, index) for index in encoding.ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The ids of the special tokens by their text."""
        tokens = self.tokenizer.added_tokens_decoder.items()
        return {token.content: index for index, token in tokens if token.special}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        names = sorted(self._ids, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

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
        for index in self._ids.values():
            token, alias = self.tokenizer.added_tokens_decoder[index], ALIAS.format(index)
            copied = AddedToken(alias, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False)
            encoder.add_tokens([copied])
            alias_id = encoder.token_to_id(alias)
            assert alias_id is not None, "it was added just now"
            real[alias_id] = index
        return encoder, real
