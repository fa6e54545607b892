from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ethosteer import catalog
from ethosteer.algorithms.dpo import DPO, DPOSettings
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair, response_log_likelihoods
from ethosteer.settings import OptimiserSettings
from tests import tiny

GOOD, BAD = 40, 41
FAST: dict[str, Any] = {
    "steps": 24,
    "measure_every": 99,
    "checkpoint_every": 99,
    "optimiser": OptimiserSettings(learning_rate=1e-2, warmup=0.0, decay=False),
}


def make(base: SharedBase, pairs: list[list[EncodedPair]], **changes: Any) -> Steering:
    task = replace(tiny.task(base, range(len(pairs)), **changes), pairs=pairs)
    return catalog.algorithm("dpo").steering(task)


def batches(run: Steering) -> list[list[list[int]]]:
    """Return the numbers of each arm's pairs, step by step."""
    assert isinstance(run.learner, DPO)
    return run.learner.batches


def telling(count: int, seed: int, good: int = GOOD, bad: int = BAD) -> list[EncodedPair]:
    """Return pairs whose chosen answer has ``good`` in it where the rejected one has ``bad``."""
    found = []
    prompts, answers = tiny.ragged(count, 3, 8, seed), tiny.ragged(count, 3, 6, seed + 1)
    for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        at = place % len(answer)
        rows = [[*prompt, *answer[:at], token, *answer[at + 1 :]] for token in (good, bad)]
        found.append(EncodedPair(rows[0], rows[1], len(prompt), str(place)))
    return found


@torch.no_grad()
def plain(base: SharedBase, pairs: list[EncodedPair]) -> Tensor:
    """Log-likelihoods of both responses, each row by itself: ``[pairs, 2]``."""
    found = []
    for pair in pairs:
        for row in (pair.chosen, pair.rejected):
            log_p = base.logits(base.hidden(torch.tensor([row])))[0].log_softmax(-1)
            own = [float(log_p[at - 1, row[at]]) for at in range(pair.prompt_tokens, len(row))]
            found.append(sum(own))
    return torch.tensor(found).view(-1, 2)


def margins(run: Steering, arm: int, pairs: list[EncodedPair]) -> Tensor:
    """How much more an arm than the base likes chosen over rejected, in nats: ``[pairs]``."""
    reference = plain(run.base, pairs)
    with run.task.policies.applied([arm]):
        ratios = plain(run.base, pairs) - reference
    return ratios[:, 0] - ratios[:, 1]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@torch.no_grad()
def test_log_likelihoods_of_a_pair_equal_a_plain_forward(name, tiny_bases):
    base = tiny_bases[name]
    pairs = [*tiny.random_pairs(6, seed=2), *telling(4, seed=9)]
    pairs.append(EncodedPair([5, 6, 7, 8], [5, 6, 7], 2, "one is the other's beginning"))
    pairs.append(pairs[0])
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    tiny.close(response_log_likelihoods(base, pairs), plain(base, pairs), 1e-4)
    with bank.applied([1]):
        tiny.close(response_log_likelihoods(base, pairs), plain(base, pairs), 1e-4)
        alone = replace(base, runs_packed=False)
        tiny.close(response_log_likelihoods(alone, pairs), plain(base, pairs), 1e-4)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@pytest.mark.parametrize("budget", [None, 20])
def test_the_loss_starts_at_log_two_exactly(budget, name, tiny_bases):
    run = tiny.steering(
        "dpo", tiny_bases[name], lora=tiny.lora(name, dropout=0.3), tokens_per_batch=budget
    )
    for own in run.step(0).values():
        assert own.loss == pytest.approx(math.log(2), rel=1e-6)
    assert [own.loss for own in run.step(2).values()] != pytest.approx([math.log(2)] * 2, rel=1e-5)


def test_a_step_learns_from_the_mean_loss_of_the_arms_own_pairs(llama):
    pairs = [telling(4, seed=1), tiny.random_pairs(4, seed=5)]
    run = make(llama, pairs, dpo=DPOSettings(pairs=4, beta=0.3))
    tiny.fill(run.task.policies, scale=0.1)
    expected = []
    for arm in range(2):
        own = margins(run, arm, pairs[arm]).tolist()
        assert max(map(abs, own)) > 1
        expected.append(sum(math.log1p(math.exp(-0.3 * margin)) for margin in own) / 4)
    learned = run.learner.learn(0, None)
    assert [learned[arm].loss for arm in range(2)] == pytest.approx(expected, rel=1e-4)


def test_every_pair_is_read_once_before_any_comes_again(llama, monkeypatch):
    pairs = telling(12, seed=1)
    run = make(llama, [pairs], steps=6, dpo=DPOSettings(pairs=4))
    groups = [[pairs[i].group for i in batch] for batch in batches(run)[0]]
    assert len(groups) >= 6
    for first in (0, 3):
        epoch = [group for batch in groups[first : first + 3] for group in batch]
        assert sorted(epoch, key=int) == [str(i) for i in range(12)]
    assert groups[:3] != groups[3:6], "another order in another epoch"
    read: list[list[str]] = []

    def watched(base: SharedBase, own: list[EncodedPair], *rest: int) -> Tensor:
        read.append([pair.group for pair in own])
        return response_log_likelihoods(base, own, *rest)

    monkeypatch.setattr("ethosteer.models.pairs.response_log_likelihoods", watched)
    for step in range(6):
        read.clear()
        run.learner.learn(step, None)
        seen = sorted(group for part in read for group in part)
        assert seen == sorted(2 * groups[step]), "by reference and policy alike"


def test_one_step_raises_chosen_over_rejected(llama):
    slow = {**FAST, "optimiser": OptimiserSettings(learning_rate=1e-4, warmup=0.0, decay=False)}
    pairs = telling(4, seed=1)
    run = make(llama, [pairs], **slow)
    run.step(0)
    assert float(margins(run, 0, pairs).sum()) > 0


@pytest.mark.parametrize(("count", "steps"), [(31, 40), (3, 5), (8, 4), (9, 1)])
def test_every_step_has_a_batch_of_its_own_whatever_an_epoch_drops(count, steps, llama):
    run = make(llama, [telling(count, 1)], steps=steps, dpo=DPOSettings(pairs=8))
    (plan,) = batches(run)
    per_epoch = max(1, count // 8)
    assert len(plan) >= steps
    for start in range(0, steps - per_epoch + 1, per_epoch):
        epoch = [pair for batch in plan[start : start + per_epoch] for pair in batch]
        assert len(epoch) == len(set(epoch)) == per_epoch * min(8, count)
    if count == 31:
        assert plan[0] != plan[3] and plan[0] != plan[33]
