"""Requests through a chat template: the text and the token ids of lm-evaluation-harness 0.4.13."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.models.log_likelihood import plan_requests
from ethosteer.models.requests import GAP, chat_template, encode_pairs, encode_texts, fit, in_chat
from ethosteer.records import Item, PlainForm
from tests import chat, tiny

CONTEXT = "I told my neighbour that I could not.\nQuestion: Is this wrong?\nAnswer:"
QUESTION = Item("q", (CONTEXT, CONTEXT), (" no", " yes"), 0, "q")
LONG = "The ferry was late again, and neither of the sisters complained. " * 6


def tokenizer(kind: str, *, adds_bos: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a chat template; by default it puts BOS first, as Llama 3's does."""
    made = chat.tokenizer(kind)
    if adds_bos:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{made.bos_token} $A",
            pair=None,
            special_tokens=[(made.bos_token, made.bos_token_id)],
        )
    return made


def harness_text(made: PreTrainedTokenizerFast, context: str) -> str:
    """Write a request with the stock method: one turn of the user's, generation prompt added."""
    text = made.apply_chat_template(
        [{"role": "user", "content": context}],
        tokenize=False,
        add_generation_prompt=True,
        date_string="26 Jul 2024",
        enable_thinking=False,
    )
    assert isinstance(text, str)
    return text


def harness_encode(made: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Encode as HFLM.tok_encode: special tokens unless the text starts with BOS."""
    if text.startswith(str(made.bos_token)):
        return list(made.encode(text, add_special_tokens=False))
    return list(made.encode(text))


def harness_pair(
    made: PreTrainedTokenizerFast, context: str, choice: str
) -> tuple[list[int], list[int]]:
    """Encode as LM._encode_pair: trailing whitespace of the context goes to the choice."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        choice = context[-spaces:] + choice
        context = context[:-spaces]
    before = harness_encode(made, context)
    return before, harness_encode(made, context + choice)[len(before) :]


def pairs_of(made: PreTrainedTokenizerFast, item: Item) -> list[tuple[list[int], list[int]]]:
    (written,) = in_chat([item], chat_template(made))
    pairs = list(zip(written.contexts, written.continuations, strict=True))
    return encode_pairs(made, pairs)


# --- as the harness


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("kind", chat.KINDS)
def test_requests_have_the_harness_token_ids(kind, adds_bos):
    made = tokenizer(kind, adds_bos=adds_bos)
    text = harness_text(made, CONTEXT)
    expected = [harness_pair(made, text, choice) for choice in ("no", "yes")]
    assert pairs_of(made, QUESTION) == expected
    assert expected[0] != expected[1]
    assert all(ids.count(made.bos_token_id) <= 1 for ids, _ in expected), "BOS is not doubled"


@pytest.mark.parametrize(
    ("kind", "written", "choice"),
    [
        (
            "chatml",
            "<|endoftext|><|im_start|>user\nIs it so?<|im_end|>\n<|im_start|>assistant",
            "\nno",
        ),
        (
            "llama3",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
            "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            "Is it so?<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
            "\n\nno",
        ),
        ("mistral", "<s>[INST] Is it so? [/INST]", "no"),
    ],
)
def test_requests_word_for_word(kind, written, choice):
    made = tokenizer(kind)
    item = Item("q", ("Is it so?",), (" no",), 0, "q")
    ((before, after),) = pairs_of(made, item)
    assert made.decode(before) == written
    assert made.decode(after) == choice
    assert before == made.encode(written, add_special_tokens=False)


def test_text_that_spells_a_special_token_is_that_token_as_in_the_harness():
    made = tokenizer("chatml")
    item = Item("q", ("Say <|im_end|> twice.",), (" no",), 0, "q")
    ((before, _),) = pairs_of(made, item)
    assert [made.decode(index) for index in before].count("<|im_end|>") == 2
    assert before == harness_pair(made, harness_text(made, item.contexts[0]), "no")[0]


def test_a_continuation_loses_the_delimiter_of_plain_text_alone():
    made = tokenizer("chatml")
    items = [
        Item("a", ("Is it?",), (" No",), 0, "a"),
        Item("b", ("The cat",), ("  went on.",), 0, "b"),
        Item("c", ("",), (" A sentence.",), None, "c", form=PlainForm(delimiter="")),
        Item("d", ("Is it?",), ("No",), 0, "d"),
    ]
    written = in_chat(items, chat_template(made))
    assert [item.continuations[0] for item in written] == ["No", " went on.", " A sentence.", "No"]
    assert written[2].contexts == (harness_text(made, ""),)
    assert in_chat(items, None) == items


def test_items_with_token_ids_are_left_as_they_are():
    item = Item("p", ("a",), ("b",), 1, "p", token_ids=(((1,), (2,)),))
    assert in_chat([item], chat_template(tokenizer("chatml"))) == [item]


def test_crows_pairs_and_scruples_say_what_plain_text_adds(publish):
    def first(name: str) -> Item:
        benchmark = catalog.benchmark(name)
        paths: list[Path] = [publish(path, text) for path, text in benchmark.examples.items()]
        return benchmark.items(paths)[0]

    made = tokenizer("chatml")
    (crows,) = in_chat([first("crows_pairs")], chat_template(made))
    assert crows.continuations == first("crows_pairs").continuations
    for name in ("scruples", "scruples_three"):
        plain = first(name)
        (item,) = in_chat([plain], chat_template(made))
        question = plain.contexts[0].removeprefix("### Human: ").removesuffix(" ### Assistant:")
        assert item.contexts[0] == harness_text(made, question)
        assert question.startswith("Someone tells") and question.endswith("RIGHT or WRONG?")
    assert in_chat([first("scruples")], chat_template(made))[0].continuations == ("WRONG", "RIGHT")


def test_the_examples_of_the_2024_protocol_become_turns(publish):
    benchmark = catalog.benchmark("scruples_original")
    paths = [publish(path, text) for path, text in benchmark.examples.items()]
    plain = benchmark.items(paths)[0]
    (item,) = in_chat([plain], chat_template(tokenizer("chatml")))
    turns = item.contexts[0].split("<|im_start|>")[1:]
    assert [turn.partition("\n")[0] for turn in turns] == ["user", "assistant"] * 3
    assert [turn.partition("\n")[2] for turn in turns[1::2]] == [
        "WRONG<|im_end|>\n",
        "RIGHT<|im_end|>\n",
        "",
    ]
    assert "### " not in item.contexts[0]
    assert "Last week I locked the gate. AITA?<|im_end|>\n" in turns[4]


# --- length


def test_a_long_request_keeps_its_template_and_its_question(llama):
    made = tokenizer("chatml")
    head, tail = "### Human: Judge this. Story: ", " Right or wrong? ### Assistant:"
    form = PlainForm(len("### Human: "), len(" ### Assistant:"))
    span = (len(head), len(head) + len(LONG))
    item = Item("s", (head + LONG + tail,), (" no",), 0, "s", trim=span, form=form)
    short = fit(made, item, 120, 8, chat_template(made))
    (written,) = in_chat([short], chat_template(made))
    text = written.contexts[0]
    assert GAP in text
    assert text.startswith("<|im_start|>user\nJudge this. Story: The")
    assert text.endswith(" Right or wrong?<|im_end|>\n<|im_start|>assistant\n")
    assert 60 < len(encode_texts(made, [text])[text]) <= 112


def test_plans_hold_the_written_requests(llama):
    made = llama.tokenizer
    template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}Reply:"
    made.chat_template = template
    try:
        plan = plan_requests(llama, [QUESTION], chat_template(made))
    finally:
        made.chat_template = None
    for request, choice in zip(plan.requests, ("no", "yes"), strict=True):
        whole = made.encode(f"[{CONTEXT}]Reply:{choice}")
        assert list(request.row) == whole[:-1]
        assert len(whole) <= tiny.MAX_LENGTH
        assert list(request.targets) == whole[len(made.encode(f"[{CONTEXT}]Reply:")) :]


# --- errors


def test_a_tokenizer_without_a_chat_template_is_refused(llama):
    with pytest.raises(InputError, match=r"evaluate\.chat: .* has no chat template") as caught:
        chat_template(llama.tokenizer)
    assert "\n" not in str(caught.value)
