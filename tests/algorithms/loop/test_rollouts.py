from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from statistics import fmean
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ethosteer.algorithms.loop.curve import measure
from ethosteer.algorithms.loop.rollouts import Collector, draw_prompts
from ethosteer.models.base import SharedBase
from ethosteer.models.engine.protocol import Completion, Request
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.reward_models import RewardModels
from ethosteer.records import Rollout
from tests import tiny

PROMPTS = tiny.ragged(6, 2, 12)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def collector(base: SharedBase, arms: int = 2, name: str = "llama", **changes: Any) -> Collector:
    values = ScalarHeads(arms, base.hidden_size, bias=True, seed=3)
    for arm in range(arms):
        values.biases[arm].fill_(arm)
    settings: dict[str, Any] = {
        "lora": tiny.lora(name, dropout=0.3),
        "min_new_tokens": 3,
        "max_new_tokens": 9,
        "ignore_eos": False,
        "temperature": 0.8,
        "batch": 8,
        "minibatches": 2,
        "tokens_per_batch": 40,
    }
    task = tiny.task(base, range(arms), **{**settings, **changes})
    tiny.fill(task.policies)
    return Collector(task, values)


@pytest.fixture
def ragged(llama) -> SharedBase:
    return tiny.often(llama)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@pytest.mark.parametrize("recompute", [True, False])
@torch.no_grad()
def test_every_number_of_a_rollout_row_by_row(recompute, name, tiny_bases):
    base = tiny.often(tiny_bases[name])
    own = collector(base, name=name)
    rollout = own.collect(PROMPTS, noise(), [0, 1], recompute=recompute)
    assert rollout.arms == (0, 1)
    lengths = rollout.response_mask.sum(dim=1).tolist()
    ended = own.ended(rollout)
    assert ended.any() and not ended.all(), "rows that end and rows that do not"
    assert len(set(lengths)) > 2
    assert own.values is not None
    for row in range(12):
        arm, prompt = row // 6, PROMPTS[row % 6]
        answer = rollout.response_tokens[row, : lengths[row]].tolist()
        whole = torch.tensor([[*prompt, *answer]])
        assert rollout.tokens[row, : whole.shape[1]].tolist() == whole[0].tolist()
        assert int(rollout.prompt_lengths[row]) == len(prompt)
        mask = [True] * lengths[row] + [False] * (max(lengths) - lengths[row])
        assert rollout.response_mask[row].tolist() == mask, "with EOS, and nothing after it"
        eos = base.tokenizer.eos_token_id
        assert eos not in answer[:-1]
        assert bool(ended[row]) == (answer[-1] == eos)
        reference = base.model(whole).logits[0, len(prompt) - 1 : -1] / 0.8
        with own.task.policies.applied([arm]):
            hidden = base.hidden(whole)[0, len(prompt) - 1 : -1]
        policy = base.logits(hidden) / 0.8
        picked = (torch.arange(len(answer)), torch.tensor(answer))
        for found, expected in (
            (rollout.log_probabilities, policy.log_softmax(-1)[picked]),
            (rollout.reference_log_probabilities, reference.log_softmax(-1)[picked]),
            (rollout.entropy, torch.distributions.Categorical(logits=policy).entropy()),
            (rollout.values, hidden @ own.values.weights[arm] + arm),
        ):
            tiny.close(found[row, : len(answer)], expected, 1e-4)
            assert not found[row, len(answer) :].any()
        read = torch.tensor([[*prompt, *(answer[:-1] if ended[row] else answer)]])
        with own.task.reward_models.bank.applied([arm]):
            score = base.hidden(read)[0, -1] @ own.task.reward_models.heads.weights[arm]
        tiny.close(rollout.scores[row], (1 + arm) * score - 0.5 * (1 + arm), 1e-4)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_the_sampling_pass_stands_for_the_learners_own(name, tiny_bases):
    own = collector(tiny.often(tiny_bases[name]), name=name)
    read = own.collect(PROMPTS, noise(), [0, 1], recompute=True)
    cheap = own.collect(PROMPTS, noise(), [0, 1], recompute=False)
    assert read.log_probabilities.abs().max() > 1
    for field in fields(Rollout):
        found, expected = getattr(cheap, field.name), getattr(read, field.name)
        if field.name == "pass_tokens":
            assert (found, expected) == (None, 40), "the budget of ``collector``"
        elif field.name in {"arms", "engine_log_probabilities"}:
            assert found == expected
        else:
            tiny.close(found, expected)


class Recorded:
    """An engine that returns what another sampler has, with log-probabilities of its own."""

    max_disagreement = 0.05

    def __init__(self, answers: list[list[int]]) -> None:
        self.completions = [
            Completion(answer, [-0.5 * (1 + row + column) for column in range(len(answer))])
            for row, answer in enumerate(answers)
        ]

    def start(self) -> None:
        pass

    def complete(self, requests: Sequence[Request], arms: int) -> list[Completion]:
        assert arms * len(requests) == len(self.completions)
        return self.completions


@pytest.mark.parametrize("recompute", [True, False])
def test_an_engines_answers_are_read_by_the_trainer(recompute, ragged):
    read = collector(ragged).collect(PROMPTS, noise(), [0, 1])
    lengths = read.response_mask.sum(dim=1).tolist()
    answers = [row[:n] for row, n in zip(read.response_tokens.tolist(), lengths, strict=True)]
    own = collector(replace(ragged, engine=Recorded(answers)))
    rollout = own.collect(PROMPTS, noise(), [0, 1], recompute=recompute)
    assert rollout.pass_tokens is not None, "by the learner's passes, at every step"
    for field in fields(Rollout):
        if field.name not in {"arms", "pass_tokens", "engine_log_probabilities"}:
            assert torch.equal(getattr(rollout, field.name), getattr(read, field.name))
    given = rollout.engine_log_probabilities
    assert given is not None
    for row, length in enumerate(lengths):
        expected = [-0.5 * (1 + row + column) for column in range(length)]
        assert given[row].tolist() == expected + [0.0] * (given.shape[1] - length)
    points = measure(own, 1, rollout, [0.1, 0.1])
    for position, arm in enumerate(rollout.arms):
        differences = [
            abs(float(given[row, column] - read.log_probabilities[row, column]))
            for row in own.block(rollout, position).tolist()
            for column in range(lengths[row])
        ]
        assert points[arm].engine_difference == pytest.approx(fmean(differences), rel=1e-5)
        assert points[arm].engine_largest == pytest.approx(max(differences), rel=1e-5)


def test_chosen_arms_answer_as_they_do_beside_all_others(ragged):
    own = collector(ragged, arms=3)
    for recompute in (True, False):
        every = own.collect(PROMPTS, noise(), [0, 1, 2], recompute=recompute)
        some = own.collect(PROMPTS, noise(), [2, 0], recompute=recompute)
        assert some.arms == (2, 0)
        for place, arm in enumerate(some.arms):
            mine, theirs = own.block(some, place), own.block(every, arm)
            shared = some.response_mask.shape[1]
            assert not every.response_mask[theirs, shared:].any()
            for name in ("response_tokens", "log_probabilities", "entropy", "values"):
                tiny.close(getattr(some, name)[mine], getattr(every, name)[theirs, :shared])
            tiny.close(some.scores[mine], every.scores[theirs])


@settings(deadline=None, max_examples=25)
@given(
    st.permutations(range(6)),
    st.integers(1, 6),
    st.integers(1, 120),
    st.integers(0, 9),
    st.booleans(),
    st.sampled_from([None, 0, 1]),
)
@torch.no_grad()
def test_log_probabilities_do_not_depend_on_padding_order_batch_or_budget(
    tiny_bases, order, count, budget, padding, packed, arm
):
    base = tiny_bases["llama"]
    answers = tiny.ragged(6, 1, 9, seed=5)
    own = collector(replace(base, runs_packed=packed), tokens_per_batch=budget)
    chosen = order[:count]
    rollout = tiny.answered([PROMPTS[i] for i in chosen], [answers[i] for i in chosen])
    rollout = replace(rollout, tokens=functional.pad(rollout.tokens, (0, padding), value=9))
    found = torch.zeros(rollout.response_mask.shape)
    passes = [
        rows
        for minibatch in own.minibatches(rollout, 0)
        for rows in own.passes(rollout, minibatch, own.token_budget)
    ]
    for part in passes:
        block = torch.zeros(len(part), found.shape[1])
        logits = base.logits(own.states(rollout, arm, part))
        block[rollout.response_mask[part]] = own.log_p(rollout, part, logits)
        found[part] = block
    for row, index in enumerate(chosen):
        prompt, answer = PROMPTS[index], answers[index]
        whole = torch.tensor([[*prompt, *answer]])
        if arm is None:
            logits = base.model(whole).logits[0]
        else:
            with own.task.policies.applied([arm]):
                logits = base.logits(base.hidden(whole))[0]
        alone = (logits[len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
        expected = alone[torch.arange(len(answer)), torch.tensor(answer)]
        tiny.close(found[row, : len(answer)], expected)


def test_the_stop_token_is_not_scored(ragged, monkeypatch):
    seen: list[list[int]] = []

    def score(_self, _base, _judge, rows):
        seen.extend(map(list, rows))
        return torch.zeros(len(rows))

    monkeypatch.setattr(RewardModels, "score", score)
    eos = ragged.tokenizer.eos_token_id
    rollout = collector(ragged).collect(PROMPTS, noise(), [0, 1])
    answers = [row[len(p) :] for row, p in zip(seen, PROMPTS * 2, strict=True)]
    lengths = rollout.response_mask.sum(dim=1).tolist()
    assert not any(eos in answer for answer in answers)
    assert 0 < sum(map(len, answers)) < sum(lengths)
    seen.clear()
    free = collector(ragged, ignore_eos=True)
    free.collect(PROMPTS, noise(), [0, 1])
    assert any(eos in row[len(p) :] for row, p in zip(seen, PROMPTS * 2, strict=True))


def test_a_missing_eos_costs_its_penalty_once(ragged, monkeypatch):
    monkeypatch.setattr(RewardModels, "score", lambda *own: torch.ones(len(own[-1])))
    own = collector(ragged, missing_eos_penalty=0.75)
    rollout = own.collect(PROMPTS, noise(), [0, 1])
    expected = [1.0 if ended else 0.25 for ended in own.ended(rollout)]
    assert rollout.scores.tolist() == expected
    assert set(expected) == {1.0, 0.25}
    own = collector(ragged, ignore_eos=True, missing_eos_penalty=0.75)
    assert own.collect(PROMPTS, noise(), [0, 1]).scores.tolist() == [1.0] * 12


@torch.no_grad()
def test_each_arm_is_scored_by_its_own_judge(ragged):
    own = collector(ragged, arms=3)
    own.task = replace(own.task, reward_index=[2, 0, 1])
    rollout = own.collect(PROMPTS, noise(), [2, 0])
    for place, judge in ((0, 1), (1, 2)):
        block = own.block(rollout, place)
        tiny.close(rollout.scores[block], own.score(rollout, block, judge))
        for other in {0, 1, 2} - {judge}:
            gap = own.score(rollout, block, other) - rollout.scores[block]
            assert gap.abs().max() > 0.1


def test_minibatches_are_rows_of_one_arm_in_the_order_that_is_asked(llama):
    own = collector(llama, arms=3)
    rollout = tiny.answered(PROMPTS * 3, tiny.ragged(18, 1, 5), arms=(0, 1, 2))
    plain = [part.tolist() for part in own.minibatches(rollout, 1)]
    assert plain == [[6, 7, 8, 9], [10, 11]]
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    mixed = [part.tolist() for part in own.minibatches(rollout, 2, order)]
    assert mixed == [[17, 12, 15, 13], [16, 14]]


def test_passes_stay_within_the_token_budget_and_no_row_is_cut(llama):
    # a row's last token predicts nothing: these read 3 + 4 - 1 = 6, 2, 9 and 4 tokens
    prompts = [[5] * n for n in (3, 2, 1, 4)]
    answers = [[6] * n for n in (4, 1, 9, 1)]
    rollout = tiny.answered(prompts, answers)
    assert rollout.read_lengths.tolist() == [6, 2, 9, 4]
    rows = torch.tensor([0, 1, 2, 3])
    for budget, expected in (
        (1, [[0], [1], [2], [3]]),
        (12, [[0, 1], [2], [3]]),
        (13, [[0, 1], [2, 3]]),
        (17, [[0, 1], [2, 3]]),
        (21, [[0, 1, 2, 3]]),
    ):
        passes = collector(llama).passes(rollout, rows, budget)
        assert [chunk.tolist() for chunk in passes] == expected


def test_held_out_gives_answers_scores_and_kl_by_arm_and_prompt(ragged):
    own = collector(ragged)
    held_out = own.held_out(PROMPTS, noise(), [0, 1])
    rollout = own.collect(PROMPTS, noise(), [0, 1])
    kl = (rollout.log_probabilities - rollout.reference_log_probabilities) * rollout.response_mask
    assert held_out.kl.shape == held_out.scores.shape == (2, 6)
    torch.testing.assert_close(held_out.kl.flatten(), kl.sum(dim=1))
    assert torch.equal(held_out.scores.flatten(), rollout.scores)
    for row, answer in enumerate(held_out.responses):
        assert answer == rollout.response_tokens[row][rollout.response_mask[row]].tolist()


def test_prompts_are_drawn_in_turn():
    prompts = [[i] for i in range(5)]
    drawn = draw_prompts(prompts, 12, noise())
    assert sorted(map(tuple, drawn[:5])) == [(i,) for i in range(5)]
    assert drawn[5:10] == drawn[:5] and drawn[10:] == drawn[:2]
    assert draw_prompts(prompts, 5, noise(1)) != drawn[:5]
    assert len(draw_prompts(prompts, 3, noise())) == 3
