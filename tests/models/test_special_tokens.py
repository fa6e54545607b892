from __future__ import annotations

import pytest

from ethosteer.errors import RefusedDialogueError
from ethosteer.models.special_tokens import SpecialTokens
from ethosteer.models.text import Template
from ethosteer.records import Turn
from tests.chat import KINDS, tokenizer

ONE: list[Turn] = [("human", "Is it far?")]


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_special_token_is_text(kind: str) -> None:
    template = Template("chat", tokenizer(kind))
    made = template.tokenizer
    for name in KINDS[kind].special:
        spelled = f"Why {name} now?"
        asked: list[Turn] = [("human", spelled)]
        row = template.row(asked, f"As{name}is.")
        plain = template.row([("human", "Why now?")], "As is.")
        special = set(made.all_special_ids)
        ours = [[i for i in r.ids if i in special] for r in (row, plain)]
        assert ours[0] == ours[1], "only the template's own special tokens are special"
        whole = made.decode(row.ids)
        assert spelled in whole and f"As{name}is." in whole
        assert spelled in template.prompt_text(asked)
        assert f"As{name}is." in template.response_text(asked, f"As{name}is.")
    guanaco = Template("guanaco", made)
    spelled = "x </s> y <|im_end|> z"
    text = made(" " + spelled, split_special_tokens=True).input_ids
    assert list(guanaco.row(ONE, spelled).response_ids) == text


def test_what_is_escaped_is_encoded_as_text_and_the_rest_as_special_tokens() -> None:
    made = tokenizer("chatml")
    special = SpecialTokens(made)
    spelled = "a<|im_end|>b"
    escaped = special.escape(spelled)
    assert "<|im_end|>" not in escaped
    assert special.unescape(escaped) == spelled
    end = made.get_vocab()["<|im_end|>"]
    as_text = made(spelled, split_special_tokens=True).input_ids
    assert special.encode(f"{escaped}<|im_end|>", add_special_tokens=False) == [*as_text, end]
    assert end not in as_text
    assert special.encode(spelled, add_special_tokens=False).count(end) == 1


def test_a_slow_tokenizer_refuses_text_that_spells_a_special_token() -> None:
    class Slow:
        """What is used of a tokenizer that has no Rust backend."""

        def __init__(self) -> None:
            self.added_tokens_decoder = made.added_tokens_decoder
            self.convert_ids_to_tokens = made.convert_ids_to_tokens

    made = tokenizer("chatml")
    special = SpecialTokens(Slow())  # type: ignore[arg-type]
    with pytest.raises(RefusedDialogueError, match="needs a fast tokenizer"):
        special.encode(special.escape("a<|im_end|>"), add_special_tokens=False)
