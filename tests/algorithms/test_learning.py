"""Arms learn what their own reward prefers, and the KL penalty holds them back.

What is asserted are means over seeds, with margins several times the spread of those means, since
one trajectory depends on the rounding of the processor that runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
import torch

from ethosteer import catalog
from ethosteer.algorithms.best_of_n import BestOfNSettings
from ethosteer.algorithms.dpo import DPOSettings
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.reward_models import RewardModels
from ethosteer.settings import OptimiserSettings
from tests import tiny
from tests.algorithms.test_dpo import BAD, GOOD, make, margins, telling

SEEDS = range(3)
SETTINGS: dict[str, Any] = {
    "steps": 10,
    "batch": 32,
    "minibatches": 4,
    "min_new_tokens": 8,
    "measure_every": 99,
    "checkpoint_every": 99,
    "kl_coefficient": 0.01,
    "kl_target": None,
    "optimiser": OptimiserSettings(learning_rate=2e-2, warmup=0.0, decay=False),
    "best_of_n": BestOfNSettings(n=8, prompts=8, epochs=2),
}


@pytest.fixture
def token_scores(llama: SharedBase) -> torch.Tensor:
    """Return a score of each token, linear in its output embedding, with mean 0 and SD 1.

    A policy raises it by a shift of its hidden states, which an adapter learns in a few steps.
    """
    weight = llama.model.get_output_embeddings().weight.detach()
    direction = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(5))
    scores: torch.Tensor = weight @ direction
    return (scores - scores.mean()) / scores.std()


@pytest.fixture
def reward(
    token_scores: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[int]], None]:
    """Return a function that makes rewards of token scores, each with a sign of its own."""

    def set_signs(signs: Sequence[int]) -> None:
        def score(_self: object, _base: object, index: int, rows: list[list[int]]) -> torch.Tensor:
            means = torch.stack([token_scores[torch.tensor(row)].mean() for row in rows])
            return 4 * means * signs[index]

        monkeypatch.setattr(RewardModels, "score", score)

    return set_signs


def steered(algorithm: str, base: SharedBase, seed: int, **changes: Any) -> Steering:
    """Return a run of two arms, whose adapters and noise are those of a seed."""
    task = tiny.task(base, (0, 1), **{**SETTINGS, **changes})
    policies = LoraBank(base.layers, 2, task.settings.lora, seed=seed)
    return catalog.algorithm(algorithm).steering(replace(task, policies=policies, seed=seed))


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "best_of_n"])
def test_each_arm_learns_what_its_own_reward_prefers(
    algorithm, llama, token_scores, reward, tmp_path_factory
):
    reward((1, -1))
    differences, rises = [], []
    for seed in SEEDS:
        run = steered(algorithm, llama, seed)
        before = run.held_out(tiny.PROMPTS)
        assert before.responses[:20] == before.responses[20:], "both arms start from the base"
        run.train(tmp_path_factory.mktemp("run"), tiny.quiet)
        after = run.held_out(tiny.PROMPTS)
        high, low = token_scores[torch.tensor(after.responses)].view(2, -1).mean(dim=1).tolist()
        differences.append(high - low)
        rises += (after.scores - before.scores).mean(dim=1).tolist()
        assert float(after.kl.mean()) > 2
    # Over nine seeds the difference was 1.5 (SD 0.3) with ppo, more with the others.
    assert fmean(differences) > 0.5
    assert fmean(rises) > 0.5


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_the_kl_penalty_holds_an_arm_to_the_reference(algorithm, llama, reward, tmp_path_factory):
    reward((1, 1))
    slower = OptimiserSettings(learning_rate=5e-3, warmup=0.0, decay=False)
    free, tied = [], []
    for seed in SEEDS:
        run = steered(algorithm, llama, seed, steps=15, batch=64, minibatches=2, optimiser=slower)
        run.coefficients = [0.01, 3.0]
        run.train(tmp_path_factory.mktemp("run"), tiny.quiet)
        kl = run.held_out(tiny.PROMPTS).kl.mean(dim=1).tolist()
        free.append(kl[0])
        tied.append(kl[1])
    # measured: 0.2 to 0.7 nats against 6 to 9
    assert fmean(tied) < 0.25 * fmean(free)


def test_best_of_n_learns_where_to_end_an_answer(llama, tmp_path_factory, monkeypatch):
    def length(_self: object, _base: object, index: int, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([float(len(row) if index else -len(row)) for row in rows])

    monkeypatch.setattr(RewardModels, "score", length)
    shorter, longer = [], []
    for seed in SEEDS:
        run = steered(
            "best_of_n", tiny.often(llama), seed, ignore_eos=False, batch=64, measure_every=9
        )
        run.train(tmp_path_factory.mktemp("run"), tiny.quiet)
        changes = [curve[-1].eos_fraction - curve[0].eos_fraction for curve in run.curves]
        shorter.append(changes[0])
        longer.append(changes[1])
    # measured: from 0.77 of the answers to 1 and to 0.2
    assert fmean(shorter) > 0.1 and fmean(longer) < -0.3


def test_dpo_learns_a_preference_that_holds_for_pairs_it_never_read(llama, tmp_path_factory):
    """Arm 0 prefers one token to another, arm 1 the other way round."""
    means, agreements = [], []
    for seed in SEEDS:
        run = dpo(llama, 48, seed)
        held_out = telling(20, seed=77)
        assert margins(run, 0, held_out).abs().max() == 0
        run.train(tmp_path_factory.mktemp("run"), tiny.quiet)
        signed = torch.stack([margins(run, 0, held_out), -margins(run, 1, held_out)])
        means.append(float(signed.mean()))
        agreements.append(float((signed > 0).float().mean()))
    # measured: 6.5 to 7.8 nats, 0.95 to 1
    assert fmean(means) > 2
    assert fmean(agreements) > 0.75


def test_dpo_with_a_smaller_beta_goes_further(llama, tmp_path_factory):
    ends: dict[float, list[float]] = {0.02: [], 2.0: []}
    for beta, margins_of_beta in ends.items():
        for seed in SEEDS:
            run = dpo(llama, 16, seed, beta=beta)
            run.train(tmp_path_factory.mktemp("run"), tiny.quiet)
            margins_of_beta.append(float(margins(run, 0, telling(20, seed=77)).mean()))
    # measured: 6.1 to 7.4 nats against 1.6 to 3.2
    assert fmean(ends[0.02]) > 2 + fmean(ends[2.0])


def dpo(base: SharedBase, count: int, seed: int, beta: float = 0.1) -> Steering:
    """Return a DPO run of two arms of opposite preferences."""
    pairs = [telling(count, 10 * seed + 1), telling(count, 10 * seed + 1, good=BAD, bad=GOOD)]
    return make(
        base,
        pairs,
        steps=24,
        measure_every=99,
        checkpoint_every=99,
        optimiser=OptimiserSettings(learning_rate=1e-2, warmup=0.0, decay=False),
        dpo=DPOSettings(pairs=4, beta=beta),
    )
