from __future__ import annotations

import copy
from typing import cast

import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from ethosteer.errors import InputError
from ethosteer.models.pairs import encode
from ethosteer.models.text import Template, decode, find_stop_ids
from ethosteer.records import PreferencePair, Turn
from tests.chat import KINDS, tokenizer

ONE: list[Turn] = [("human", "Is it far?")]
THREE: list[Turn] = [*ONE, ("assistant", "No."), ("human", "Which way?")]
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def chat(llama):
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.chat_template = CHAT
    return tokenizer


def test_guanaco(llama):
    template = Template("guanaco", llama.tokenizer)
    assert template.prompt_text(ONE) == "### Human: Is it far? ### Assistant:"
    assert template.prompt_text(THREE) == (
        "### Human: Is it far? ### Assistant: No. ### Human: Which way? ### Assistant:"
    )
    assert template.response_text(THREE, "Left.") == " Left."


def test_hh(llama):
    template = Template("hh", llama.tokenizer)
    assert template.prompt_text(ONE) == "\n\nHuman: Is it far?\n\nAssistant:"
    assert template.prompt_text(THREE) == (
        "\n\nHuman: Is it far?\n\nAssistant: No.\n\nHuman: Which way?\n\nAssistant:"
    )
    assert template.response_text(THREE, "Left.") == " Left."


def test_chat(chat):
    template = Template("chat", chat)
    assert template.prompt_text(ONE) == "<s>[user]Is it far?[end][assistant]"
    assert template.prompt_text(THREE) == (
        "<s>[user]Is it far?[end][assistant]No.[end][user]Which way?[end][assistant]"
    )
    assert template.response_text(THREE, "Left.") == "Left."
    assert template.end_of_turn is None, "[end] is no token"
    ids = template.prompt_ids(ONE)
    assert ids.count(chat.bos_token_id) == 1, "the chat template writes BOS itself"
    assert chat.decode(ids) == template.prompt_text(ONE)


def test_chat_without_a_template_is_the_users_error(llama):
    with pytest.raises(InputError, match=r"data\.template: .* no chat template; use guanaco or hh"):
        Template("chat", llama.tokenizer).prompt_ids(ONE)


@pytest.mark.parametrize("name", ["guanaco", "hh"])
def test_a_response_has_the_same_ids_after_every_prompt(name, llama, tiny_bases):
    tokenizer = llama.tokenizer
    template = Template(name, tokenizer)
    answer = list(template.row(ONE, "Left, then right.").response_ids)
    assert answer == list(template.row(THREE, "Left, then right.").response_ids)
    assert tokenizer.bos_token_id not in answer
    assert tokenizer.decode(answer) == " Left, then right."
    prompt = template.prompt_ids(ONE)
    assert prompt[0] == tokenizer.bos_token_id
    assert tokenizer.decode(prompt[1:]) == template.prompt_text(ONE)
    plain = Template(name, tiny_bases["qwen2"].tokenizer)
    assert plain.tokenizer.decode(plain.prompt_ids(ONE)) == template.prompt_text(ONE)


def test_a_tokenizer_that_puts_a_space_before_every_text():
    # Llama 2's fast tokenizer does: "a" alone has the ids of " a", and " a" those of "  a".
    letters = ["</s>", "\u2581", *sorted(set("### Human: Is it far? ### Assistant: No.") - {" "})]
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, merges=[]))
    raw.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    template = Template("guanaco", tokenizer)
    whole = tokenizer(template.prompt_text(ONE) + " No.").input_ids
    assert template.row(ONE, "No.").ids == whole
    assert template.conversation_row([*ONE, ("assistant", "No.")]).ids[:-1] == whole
    assert tokenizer(" No.").input_ids != list(template.row(ONE, "No.").response_ids)


def test_a_conversation_ends_with_one_eos(llama, chat):
    turns: list[Turn] = [*ONE, ("assistant", "No.")]
    template = Template("guanaco", llama.tokenizer)
    row = template.conversation_row(turns)
    eos = llama.tokenizer.eos_token_id
    assert row.ids == [*template.row(ONE, "No.").ids, eos]
    assert row.loss_mask == (False, *[True] * (len(row.ids) - 1)), "all that something predicts"
    chat.chat_template = CHAT.replace("[end]", "{{ eos_token }}")
    closed = Template("chat", chat).conversation_row(turns).ids
    assert closed[-1] == eos != closed[-2]


def stock_ids(
    tokenizer: PreTrainedTokenizerFast, turns: list[Turn], *, answer: bool = False
) -> list[int]:
    """Return the ids of transformers' own chat template, up to and with the end of turn."""
    roles = {"system": "system", "human": "user", "assistant": "assistant"}
    ids = tokenizer.apply_chat_template(
        [{"role": roles[role], "content": text} for role, text in turns],
        add_generation_prompt=not answer,
        return_dict=False,
        date_string="26 Jul 2024",
        enable_thinking=False,
    )
    return cast(list[int], ids)


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def template(kind):
    return Template("chat", tokenizer(kind))


def test_the_end_of_turn_is_found_by_writing_one(kind, template):
    end = KINDS[kind].end
    ids = template.tokenizer.convert_tokens_to_ids
    assert template.end_of_turn == (None if end is None else ids(end))
    assert find_stop_ids(template.tokenizer, [5, 6]) >= {5, 6, ids(KINDS[kind].eos)}
    assert end is None or ids(end) in find_stop_ids(template.tokenizer, None)


def test_prompts_and_answers_have_the_ids_of_the_stock_template(kind, template):
    tokenizer = template.tokenizer
    turns: list[Turn] = [("system", "Be brief."), *THREE] if KINDS[kind].system else THREE
    for asked in (ONE, turns):
        row = template.row(asked, "Left, then right.")
        assert list(row.prompt_ids) == template.prompt_ids(asked) == stock_ids(tokenizer, asked)
        whole = stock_ids(tokenizer, [*asked, ("assistant", "Left, then right.")], answer=True)
        assert row.ids == whole[: len(row.ids)]
        assert not tokenizer.decode(whole[len(row.ids) :]).strip()
        assert row.ids.count(template.end_of_turn) == row.prompt_ids.count(template.end_of_turn) + (
            template.end_of_turn is not None
        )


def test_every_use_reads_the_same_row(kind, template):
    """Pairs (rewards, DPO), sampled answers that ended or were cut, and fine-tuning."""
    row = template.row(ONE, "Left.")
    (pair,) = encode([PreferencePair("1", ONE[0][1], "Left.", "No.", "g", 1)], template)
    assert pair.chosen == row.ids and pair.prompt_tokens == len(row.prompt_ids)
    assert pair.rejected == template.row(ONE, "No.").ids
    said = list(row.response_ids[:-1] if template.end_of_turn is not None else row.response_ids)
    stops = find_stop_ids(template.tokenizer, None)
    prompt = template.prompt_ids(ONE)
    for stop in stops:
        assert template.sampled_row(prompt, [*said, stop], stops).ids == row.ids
    assert template.sampled_row(prompt, said, stops).ids == row.ids, "cut at its limit"
    if template.end_of_turn is not None:
        assert template.sampled_row(prompt, list(row.response_ids), ()).ids == row.ids
        assert template.sampled_row(prompt, said, ()).ids == row.ids, "stop tokens ignored"
        assert template.sampled_row(prompt, [], ()).ids == [*prompt, template.end_of_turn]
    learned = template.conversation_row([*ONE, ("assistant", "Left.")])
    closing = [template.tokenizer.eos_token_id] if template.end_of_turn is None else []
    assert learned.ids == [*row.ids, *closing]
    assert learned.loss_mask == (*row.loss_mask, *[True] * len(closing))
    assert decode(template.tokenizer, row.response_ids, stops) == "Left."


def test_a_conversation_is_learned_where_the_assistant_speaks(kind, template):
    ids, eot = template.tokenizer.convert_tokens_to_ids, template.end_of_turn
    row = template.conversation_row([*THREE, ("assistant", "Left.")])
    learned = [i for i, is_learned in zip(row.ids, row.loss_mask, strict=True) if is_learned]
    first, last = template.row(ONE, "No.").response_ids, template.row(THREE, "Left.").response_ids
    closing = () if eot is not None else (ids(KINDS[kind].eos),)
    # Qwen3's template writes earlier answers otherwise than they are sampled
    assert learned == [*(() if kind == "qwen3" else first), *last, *closing]


def test_without_any_end_a_row_to_learn_cannot_be_closed():
    own = tokenizer("plain")
    own.eos_token = None
    with pytest.raises(InputError, match="no EOS token"):
        Template("chat", own).conversation_row([*ONE, ("assistant", "No.")])
    assert find_stop_ids(own, None) == frozenset()


def test_decode_leaves_special_tokens_out(llama):
    tokenizer = llama.tokenizer
    ids = tokenizer(" Left. ").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert decode(tokenizer, [*ids, tokenizer.eos_token_id]) == "Left."
