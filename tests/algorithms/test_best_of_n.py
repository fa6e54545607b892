from __future__ import annotations

from typing import Any

import pytest
import torch

from ethosteer.algorithms.best_of_n import BestOfN, BestOfNSettings
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.models.base import SharedBase
from ethosteer.models.pairs import accumulate_nll
from ethosteer.models.text import Row
from tests import tiny

Read = list[tuple[list[int], list[int]]]


@pytest.fixture
def learnt(monkeypatch) -> list[Read]:
    """Return what is learnt, one (prompt, answer) list for every arm and step in turn."""
    seen: list[Read] = []

    def watched(base: SharedBase, own: list[Row], *rest: Any) -> float:
        assert own == [Row.of(row.prompt_ids, row.response_ids) for row in own]
        seen.append([(list(row.prompt_ids), list(row.response_ids)) for row in own])
        return accumulate_nll(base, own, *rest)

    monkeypatch.setattr("ethosteer.models.pairs.accumulate_nll", watched)
    return seen


def candidates(
    run: Steering, step: int, arms: list[int]
) -> tuple[list[list[int]], list[list[int]]]:
    """Return prompts and answers of a step."""
    assert isinstance(run.learner, BestOfN)
    return run.learner.candidates(step, arms)


def score_by_hand(
    base: SharedBase, run: Steering, arm: int, prompt: list[int], reply: list[int]
) -> float:
    """Score one answer by a plain forward pass, without the EOS that ended it."""
    ended = not run.task.sampling.ignore_eos and reply[-1] == base.tokenizer.eos_token_id
    read = torch.tensor([[*prompt, *(reply[:-1] if ended else reply)]])
    rewards = run.task.reward_models
    with rewards.bank.applied([arm]):
        return float(base.hidden(read)[0, -1] @ rewards.heads.weights[arm])


@pytest.mark.parametrize("ragged", [False, True])
@torch.no_grad()
def test_an_arm_learns_which_of_its_own_answers_its_reward_likes_best(ragged, llama, learnt):
    base = tiny.often(llama) if ragged else llama
    run = tiny.steering("best_of_n", base, (0, 1), ignore_eos=not ragged)
    tiny.fill(run.task.policies)  # so that the arms' answers differ
    eos = base.tokenizer.eos_token_id
    ended = 0
    for step in (1, 2, 3):
        prompts, answers = candidates(run, step, [0, 1])
        assert len(prompts) == 16 and len(answers) == 32
        assert answers[:16] != answers[16:], "each arm's own"
        learnt.clear()
        with torch.enable_grad():
            run.learner.learn(step, None)  # which draws the same again
        assert len(learnt) == 2
        for arm, own in enumerate(learnt):
            assert len(own) == 4
            drawn = answers[16 * arm : 16 * (arm + 1)]
            for place, (prompt, answer) in enumerate(own):
                block = slice(4 * place, 4 * place + 4)
                assert all(asked == prompt for asked in prompts[block])
                scores = [score_by_hand(base, run, arm, prompt, one) for one in drawn[block]]
                assert answer == drawn[block][scores.index(max(scores))], "whole, with its EOS"
                ended += answer[-1] == eos
    assert (ended > 0) == ragged


def test_answers_are_drawn_from_the_policy_as_it_has_become_with_noise_that_arms_share(llama):
    trained, fresh = (tiny.steering("best_of_n", llama) for _ in range(2))
    tiny.fill(trained.task.policies)
    _, before = candidates(fresh, 1, [0, 1])
    assert before[:16] == before[16:], "arms that are the base answer as one"
    assert len(set(map(tuple, before))) > 12
    with torch.no_grad():
        assert candidates(trained, 1, [0, 1])[1] != before
    assert candidates(fresh, 2, [0, 1])[1] != before, "other noise at another step"
    assert candidates(trained, 1, [1])[1] == candidates(trained, 1, [0, 1])[1][16:]


def test_every_epoch_is_an_update_on_the_same_answers(llama, learnt):
    settings = BestOfNSettings(n=4, prompts=4, epochs=3)
    run = tiny.steering("best_of_n", llama, (0,), best_of_n=settings)
    run.step(0)
    assert run.updates == 3
    assert learnt[0] == learnt[1] == learnt[2] and len(learnt) == 3
    assert run.optimisers[0].schedule.last_epoch == 3
