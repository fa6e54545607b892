"""Pairs as token rows: what of them runs, in which batches, and what they are likely to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import (
    EncodedPair,
    accumulate_nll,
    batches,
    encode,
    pair_passes,
    response_log_likelihoods,
    schedule,
)
from ethosteer.models.text import Row, Template
from ethosteer.records import PreferencePair
from tests import tiny


def make_pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> EncodedPair:
    return EncodedPair([*prompt, *chosen], [*prompt, *rejected], len(prompt), "g")


PAIRS = [
    make_pair(prompt, chosen, rejected)
    for prompt, chosen, rejected in zip(
        tiny.ragged(5, 3, 20, seed=1),
        tiny.ragged(5, 1, 9, seed=2),
        tiny.ragged(5, 1, 9, seed=3),
        strict=True,
    )
]
PAIRS += [
    make_pair([5, 6, 7], [8, 9], [8, 9, 10]),  # one response begins the other
    make_pair([5, 6, 7], [8, 9], [11]),  # another pair's dialogue and response
]


def orders(seed: int = 0):
    """Return what orders an epoch, and the epochs that were asked for."""
    asked = []

    def noise(epoch: int) -> torch.Generator:
        asked.append(epoch)
        return torch.Generator().manual_seed(100 * seed + epoch)

    return noise, asked


# --- what a pair is


def test_a_pairs_tokens_by_hand():
    pair = make_pair([1, 2, 3], [4, 5], [6, 7, 8])
    assert pair.response_tokens == (2, 3)
    assert pair.tokens == 8, "the prompt once"


# --- what it is made from


def test_pairs_are_encoded_as_prompt_and_response(llama):
    template = Template("guanaco", llama.tokenizer)
    pair = PreferencePair("id", "May I?", "You may.", "No, you may not.", "g", 1)
    (found,) = encode([pair], template)
    text = "### Human: May I? ### Assistant:"
    prompt = llama.tokenizer(text).input_ids
    decode = llama.tokenizer.decode
    assert found.chosen[: len(prompt)] == found.rejected[: len(prompt)] == prompt
    assert decode(found.chosen[len(prompt) :]) == " You may."
    assert decode(found.rejected[len(prompt) :]) == " No, you may not."
    lengths = len(found.chosen) - len(prompt), len(found.rejected) - len(prompt)
    assert found.response_tokens == lengths
    assert found.prompt_tokens == len(prompt)
    assert found.tokens == len(prompt) + sum(lengths)
    assert found.group == "g"


# --- batches


def test_batches_are_full_and_hold_a_pair_once_in_random_order():
    found = batches(61, 8, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in found] == [8] * 7
    flat = [index for batch in found for index in batch]
    assert len(set(flat)) == 56
    assert set(flat) <= set(range(61))
    assert flat != sorted(flat)
    assert batches(61, 8, torch.Generator().manual_seed(0)) == found
    assert batches(61, 8, torch.Generator().manual_seed(1)) != found
    whole = batches(200, 8, torch.Generator().manual_seed(0))
    assert sorted(index for batch in whole for index in batch) == list(range(200))


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 5), (0.4, 2), (2.0, 10), (1.5, 8), (0.01, 1)])
def test_a_schedule_covers_whole_and_part_epochs(epochs, steps):
    noise, asked = orders()
    plan = schedule(40, 8, epochs, noise)
    assert len(plan) == steps
    assert asked == list(range(-(-steps // 5))), "each epoch has an order of its own"
    for start in range(0, steps, 5):
        epoch = [index for batch in plan[start : start + 5] for index in batch]
        assert len(epoch) == len(set(epoch))
        assert len(epoch) < 40 or sorted(epoch) == list(range(40))
    if epochs > 1:
        assert plan[5:10] != plan[: len(plan[5:10])]
    assert schedule(40, 8, epochs, orders()[0]) == plan
    assert schedule(40, 8, epochs, orders(1)[0]) != plan


def test_fewer_pairs_than_a_batch_make_one_smaller_batch():
    plan = schedule(3, 8, 2.0, orders()[0])
    assert [sorted(batch) for batch in plan] == [[0, 1, 2]] * 2


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), min_size=1),
    st.integers(1, 60),
)
def test_passes_hold_every_pair_once_in_order_within_the_budget(lengths, token_budget):
    pairs = [make_pair([1] * p, [2] * c, [3] * r) for p, c, r in lengths]
    found = pair_passes(pairs, token_budget)
    assert [pair for chunk in found for pair in chunk] == pairs
    for chunk in found:
        assert len(chunk) == 1 or sum(pair.tokens for pair in chunk) <= token_budget


# --- likelihoods


@torch.no_grad()
def plain(base: SharedBase, row: list[int], start: int) -> Tensor:
    """Log-probabilities of a row's tokens from ``start`` on, of the row alone."""
    log_p = base.logits(base.hidden(torch.tensor([row]))[0]).log_softmax(dim=-1)
    return torch.stack([log_p[place - 1, row[place]] for place in range(start, len(row))])


@pytest.fixture(params=[*tiny.ARCHITECTURES, "llama, not packed"])
def adapted(request, tiny_bases) -> tuple[SharedBase, LoraBank]:
    name, _, plainly = request.param.partition(",")
    base = replace(tiny_bases[name], runs_packed=not plainly)
    return base, tiny.fill(LoraBank(base.layers, 1, tiny.lora(name), seed=0))


@torch.no_grad()
def test_responses_are_as_likely_as_in_a_plain_forward_of_each(adapted):
    base, bank = adapted
    bare = response_log_likelihoods(base, PAIRS)
    with bank.applied():
        found = response_log_likelihoods(base, PAIRS)
        expected = torch.tensor(
            [
                [float(plain(base, row, p.prompt_tokens).sum()) for row in (p.chosen, p.rejected)]
                for p in PAIRS
            ]
        )
    tiny.close(found, expected, 1e-4)
    assert (found - bare).abs().min() > 1e-3, "the adapters in use count"


@pytest.mark.parametrize("token_budget", [1, 60, 100_000])
def test_the_mean_is_over_all_tokens_of_all_answers(token_budget, adapted):
    base, bank = adapted
    split = [(p.chosen[: p.prompt_tokens], p.chosen[p.prompt_tokens :]) for p in PAIRS]
    split.append(split[0])  # the same answer drawn twice counts twice
    assert len({len(answer) for _, answer in split}) > 1
    with bank.applied():
        found = accumulate_nll(base, [Row.of(*pair) for pair in split], token_budget)
        tokens = [
            likely
            for prompt, answer in split
            for likely in plain(base, [*prompt, *answer], len(prompt)).tolist()
        ]
        logits = [base.logits(base.hidden(torch.tensor([[*p, *a]]))[0]) for p, a in split]
    assert found == pytest.approx(-sum(tokens) / len(tokens), rel=1e-5)
    gradients = [p.grad.clone() for p in bank.parameters() if p.grad is not None]
    bank.zero_grad(set_to_none=True)
    losses = [
        functional.cross_entropy(own[len(p) - 1 : -1], torch.tensor(a), reduction="sum")
        for own, (p, a) in zip(logits, split, strict=True)
    ]
    (torch.stack(losses).sum() / len(tokens)).backward()
    expected = [p.grad for p in bank.parameters() if p.grad is not None]
    assert len(gradients) == len(expected) > 0
    for own, other in zip(gradients, expected, strict=True):
        assert (own - other).norm() < 1e-4 * other.norm()


def test_gradients_of_the_likelihoods_are_those_of_plain_rows(adapted):
    base, bank = adapted
    with bank.applied():
        both = response_log_likelihoods(base, PAIRS)
    (both[:, 0] - 0.5 * both[:, 1]).sum().backward()
    found = [p.grad for p in bank.parameters() if p.grad is not None]
    bank.zero_grad(set_to_none=True)
    for pair in PAIRS:
        for row, factor in ((pair.chosen, 1.0), (pair.rejected, -0.5)):
            with bank.applied():
                logits = base.logits(base.hidden(torch.tensor([row]))[0])
            log_p = logits.log_softmax(dim=-1)
            own = [log_p[i - 1, row[i]] for i in range(pair.prompt_tokens, len(row))]
            (factor * torch.stack(own).sum()).backward()
    expected = [p.grad for p in bank.parameters() if p.grad is not None]
    assert len(found) == len(expected) > 0
    for own, other in zip(found, expected, strict=True):
        assert (own - other).norm() < 1e-4 * other.norm()


@torch.no_grad()
def test_a_pairs_dialogue_runs_once(llama, tokens_run):
    dialogue = tiny.ragged(1, 30, 30, seed=9)[0]
    pair = make_pair(dialogue, [40, 41], [42, 43, 44])
    with tokens_run(llama) as counts:
        response_log_likelihoods(llama, [pair])
    assert counts == [pair.tokens] == [35]
