"""Log-likelihoods against stock transformers, item by item, and the reference's encoding."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ethosteer.errors import InputError
from ethosteer.models.log_likelihood import log_likelihoods, plan_requests
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.requests import GAP, encode_pairs, fit
from ethosteer.records import Item
from tests import tiny

LONG = "The ferry was late again, and neither of the sisters complained. " * 6


def encode_pair(tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    (found,) = encode_pairs(tokenizer, [(context, continuation)])
    return found


def item(*contexts: str, answers=(" Yes", " No"), trim=None) -> Item:
    if len(contexts) == 1:
        contexts = contexts * len(answers)
    return Item("i", contexts, tuple(answers), label=0, group="g", trim=trim)


ITEMS = [
    item("Is the following statement hateful? Answer:"),
    item("The baker gave the last loaf", answers=(" to a child", " to nobody", ".")),
    item("I told my neighbour ", "I told her neighbour ", answers=(" that I could not",) * 2),
    item("", answers=("Two sisters shared one bicycle.", "Two brothers shared it.")),
    item("Statement:  ", answers=("right", "wrong, and  more")),
    item("Respond with", answers=(" Yes", " Yes")),
    item(LONG, answers=(" Yes", " reasonable or unreasonable")),
    item("Q: " + LONG + "\nAnswer:", trim=(3, 3 + len(LONG))),
]


def reference(model, tokenizer, own: Item, choice: int) -> float:
    """Score one continuation as lm-evaluation-harness defines it, with stock parts only."""
    context, continuation = own.contexts[choice], own.continuations[choice]
    if context:
        spaces = len(context) - len(context.rstrip())
        if spaces:
            continuation = context[-spaces:] + continuation
            context = context[:-spaces]
        before = tokenizer.encode(context)
        after = tokenizer.encode(context + continuation)[len(before) :]
    else:
        start = tokenizer.eos_token_id if tokenizer.bos_token is None else tokenizer.bos_token_id
        before, after = [start], tokenizer.encode(continuation, add_special_tokens=False)
    inputs = torch.tensor([(before + after)[-(tiny.MAX_LENGTH + 1) :][:-1]])
    with torch.no_grad():
        log_p = model(inputs).logits[0].float().softmax(-1).log()
    return sum(float(log_p[i - len(after), token]) for i, token in enumerate(after))


def scored(base, items, arms, tokens_per_batch) -> dict[tuple[int, int], np.ndarray]:
    plan = plan_requests(base, items)
    found = {}
    for batch in log_likelihoods(base, plan, arms, tokens_per_batch):
        for request, values, _ in batch:
            assert values.shape == (arms,)
            assert (request.item, request.choice) not in found
            found[request.item, request.choice] = values
    return found


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_log_likelihoods_equal_stock_transformers_item_by_item(name, tiny_models, tiny_bases):
    base = tiny_bases[name]
    model = AutoModelForCausalLM.from_pretrained(tiny_models[name])
    tokenizer = AutoTokenizer.from_pretrained(tiny_models[name])
    fitted = [fit(tokenizer, own, tiny.MAX_LENGTH, 8) for own in ITEMS]
    expected = {
        (index, choice): reference(model, tokenizer, own, choice)
        for index, own in enumerate(fitted)
        for choice in range(len(own.continuations))
    }
    for tokens_per_batch in (1, 150, 100_000):
        order = list(range(len(fitted)))
        random.Random(tokens_per_batch).shuffle(order)
        found = scored(base, [fitted[i] for i in order], 1, tokens_per_batch)
        assert len(found) == len(expected)
        for place, index in enumerate(order):
            for choice in range(len(fitted[index].continuations)):
                value = expected[index, choice]
                assert found[place, choice][0] == pytest.approx(value, abs=1e-4)
    spread = [expected[i, 0] - expected[i, 1] for i in range(len(fitted)) if i not in {2, 5}]
    assert min(map(abs, spread)) > 0.01, "choices must differ, or the test means nothing"


def test_arms_beside_each_other_score_as_each_alone(llama):
    bank = tiny.fill(LoraBank(llama.layers, 3, tiny.lora(), seed=0))
    with bank.applied():
        together = scored(llama, ITEMS, 3, 400)
    for arm in range(3):
        with bank.applied([arm]):
            for key, value in scored(llama, ITEMS, 1, 100_000).items():
                assert together[key][arm] == pytest.approx(value[0], abs=1e-4)
    assert abs(together[0, 0][0] - together[0, 0][1]) > 0.01


def test_choices_of_one_token_share_a_pass(llama):
    plan = plan_requests(llama, [item("The baker", answers=("!", "?", "# of"))])
    rows = [request.row for request in plan.requests]
    assert rows[0] == rows[1] != rows[2]
    assert [request.choice for request in plan.requests] == [0, 1, 2]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_trailing_spaces_of_the_context_move_to_the_continuation(name, tiny_bases):
    tokenizer = tiny_bases[name].tokenizer
    whole = tokenizer("The baker  gave").input_ids
    start = tokenizer("The baker").input_ids
    assert encode_pair(tokenizer, "The baker ", " gave") == (start, whole[len(start) :])
    assert encode_pair(tokenizer, "The baker", "  gave") == (start, whole[len(start) :])
    assert tokenizer.decode(whole[len(start) :]) == "  gave"
    assert (start[0] == tokenizer.bos_token_id) == (name == "llama")


@pytest.mark.parametrize(("name", "prefix"), [("llama", 0), ("gpt2", 0), ("qwen2", 0)])
def test_an_empty_context_is_bos_or_else_eos(name, prefix, tiny_bases):
    tokenizer = tiny_bases[name].tokenizer
    ids = tokenizer("The baker", add_special_tokens=False).input_ids
    assert encode_pair(tokenizer, "", "The baker") == ([prefix], ids)
    token = {"llama": "bos_token_id", "gpt2": "bos_token_id", "qwen2": "eos_token_id"}[name]
    assert getattr(tokenizer, token) == prefix
    assert name != "qwen2" or tokenizer.bos_token_id is None


def test_continuations_of_one_and_of_several_tokens(llama):
    tokenizer = llama.tokenizer
    before, after = encode_pair(tokenizer, "The", " a")
    assert (before, len(after)) == (tokenizer("The").input_ids, 1)
    before, after = encode_pair(tokenizer, "The", " sparrow!")
    assert len(after) > 3
    assert before + after == tokenizer("The sparrow!").input_ids


def test_a_long_item_keeps_its_last_tokens(llama):
    tokenizer, limit = llama.tokenizer, llama.max_length
    long = item(LONG, answers=(" a", " reasonable"))
    plan = plan_requests(llama, [long, item("short")])
    assert plan.cut == (True, False)
    for request, continuation in zip(plan.requests, long.continuations, strict=False):
        whole = tokenizer(LONG.rstrip() + " " + continuation).input_ids
        assert len(whole) > limit + 1
        assert list(request.row) == whole[-(limit + 1) : -1]
        assert len(request.row) == limit
        assert list(request.targets) == whole[-len(request.targets) :]


def test_an_item_that_fills_the_model_exactly_is_not_cut(llama):
    text = "?" * (llama.max_length - 1)
    tokens = len(llama.tokenizer(text).input_ids)
    assert tokens == llama.max_length
    assert plan_requests(llama, [item(text, answers=("!", "#"))]).cut == (False,)
    assert plan_requests(llama, [item("?" + text, answers=("!", "#"))]).cut == (True,)


@pytest.mark.parametrize("room", [1, 8, 20])
def test_fit_cuts_only_the_middle_of_the_span(room, llama):
    head, tail = "Instruction: judge this. Story: ", "\nQuestion: right or wrong? Answer:"
    long = item(head + LONG + tail, answers=("a", "b"), trim=(len(head), len(head) + len(LONG)))
    fitted = fit(llama.tokenizer, long, llama.max_length, room)
    assert len(set(fitted.contexts)) == 1
    text = fitted.contexts[0]
    assert text.startswith(head) and text.endswith(tail)
    start, end = text.removeprefix(head).removesuffix(tail).split(GAP)
    assert LONG.startswith(start) and LONG.endswith(end)
    assert 0 <= len(start) - len(end) <= 1
    tokens = len(llama.tokenizer(text).input_ids)
    assert tokens + room <= llama.max_length
    assert tokens + room >= 0.6 * llama.max_length or not start, "no more than needed is cut"
    assert fitted.continuations == long.continuations


def test_fit_leaves_alone_what_fits_and_what_has_no_span(llama):
    short = item("Story: brief.", trim=(7, 12))
    assert fit(llama.tokenizer, short, llama.max_length, 8) is short
    long = item(LONG)
    assert fit(llama.tokenizer, long, llama.max_length, 8) is long


def test_a_trimmed_item_keeps_its_beginning_and_counts_as_cut(llama):
    plan = plan_requests(llama, [ITEMS[-1]])
    assert plan.cut == (True,)
    start = llama.tokenizer("Q:").input_ids
    for request in plan.requests:
        assert list(request.row[: len(start)]) == start
        assert len(request.row) <= llama.max_length


def test_a_text_that_spells_a_token_without_an_embedding_is_named(llama):
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    base = replace(llama, tokenizer=tokenizer)
    plan_requests(base, [item("A photograph. Answer:")])
    with pytest.raises(InputError, match=r"item i: its text spells the special token '<image>'"):
        plan_requests(base, [item("A photograph <image>. Answer:")])
