from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ethosteer.algorithms.rloo import RLOOSettings, targets
from tests import tiny


def test_targets_by_hand(llama):
    # two answers to a prompt: each one's advantage is its penalised reward less its sibling's
    run = tiny.steering("rloo", llama, (0,), rloo=RLOOSettings(answers=2))
    run.coefficients = [0.5]
    rollout = tiny.answered([[5]] * 4, [[6, 7], [6], [8, 9, 4], [9]])
    rollout = replace(
        rollout,
        scores=torch.tensor([1.0, 3.0, -2.0, 0.0]),
        # k1 of the tokens: 1 + 1; 4; 0.5 - 0.5 + 2; -2 (a sampled estimate may be negative)
        log_probabilities=torch.tensor(
            [[-1.0, -2.0, 0.0], [-1.0, 0.0, 0.0], [-1.0, -2.0, -1.0], [-3.0, 0.0, 0.0]]
        ),
        reference_log_probabilities=torch.tensor(
            [[-2.0, -3.0, -9.0], [-5.0, -9.0, -9.0], [-1.5, -1.5, -3.0], [-1.0, -9.0, -9.0]]
        ),
    )
    # penalised: 1 - 1 = 0; 3 - 2 = 1; -2 - 1 = -3; 0 + 1 = 1
    found = targets(run, rollout)
    assert found.returns is None, "there is no critic"
    expected = [[-1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [-4.0, -4.0, -4.0], [4.0, 0.0, 0.0]]
    tiny.close(found.advantages, torch.tensor(expected))


def test_targets_of_a_real_rollout_row_by_row(llama):
    run = tiny.steering("rloo", tiny.often(llama), ignore_eos=False)
    tiny.fill(run.task.policies, scale=0.1)
    run.coefficients = [0.1, 0.8]
    rollout = tiny.observed(run, 3)
    found = targets(run, rollout).advantages.numpy()
    mask = rollout.response_mask.numpy()
    log_p, log_q = rollout.log_probabilities.numpy(), rollout.reference_log_probabilities.numpy()
    lengths = mask.sum(axis=1)
    assert len(set(lengths.tolist())) > 2
    prompts = [
        tuple(row[:length].tolist())
        for row, length in zip(rollout.tokens, rollout.prompt_lengths.tolist(), strict=True)
    ]
    for arm in range(2):
        rows = range(8 * arm, 8 * arm + 8)
        penalised = {}
        for row in rows:
            kl = sum(log_p[row, t] - log_q[row, t] for t in range(lengths[row]))
            penalised[row] = float(rollout.scores[row]) - run.coefficients[arm] * kl
        for row in rows:
            siblings = [other for other in rows if other != row and prompts[other] == prompts[row]]
            assert len(siblings) == 3
            expected = penalised[row] - np.mean([penalised[other] for other in siblings])
            assert found[row, : lengths[row]].tolist() == pytest.approx(
                [expected] * int(lengths[row]), abs=1e-4
            )
            assert not found[row, lengths[row] :].any()


def test_a_step_answers_as_many_prompts_as_the_batch_has_room_for(llama):
    run = tiny.steering("rloo", llama, rloo=RLOOSettings(answers=2))
    rollout = tiny.observed(run, 1)
    assert len(rollout.tokens) == 16
    rows = rollout.tokens.tolist()
    lengths = rollout.prompt_lengths.tolist()
    prompts = [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True)]
    assert prompts[0:8:2] == prompts[1:8:2] and len(set(prompts[:8])) == 4
    assert run.values is None and not rollout.values.any()


def test_the_first_loss_is_the_mean_over_tokens_of_the_advantages(llama):
    base = tiny.often(llama)
    run = tiny.steering(
        "rloo", base, ignore_eos=False, epochs=1, minibatches=1, tokens_per_batch=30
    )
    rollout = tiny.observed(run, 0)
    advantages = targets(run, rollout).advantages
    points = run.step(0)
    for arm in range(2):
        rows = slice(8 * arm, 8 * arm + 8)
        own = advantages[rows][rollout.response_mask[rows]].double()
        assert points[arm].loss == pytest.approx(-float(own.mean()), rel=1e-5)
        assert abs(points[arm].loss) > 1e-3 and points[arm].value_loss == 0
