"""What a run of each algorithm costs, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ethosteer import catalog
from ethosteer.algorithms.algorithm import Cost, Workload
from ethosteer.algorithms.best_of_n import BestOfNSettings
from ethosteer.algorithms.dpo import DPOSettings
from tests import tiny

STEER = catalog.steer_settings(
    steps=6,
    batch=8,
    minibatches=2,
    epochs=2,
    measure_every=4,
    dpo=DPOSettings(pairs=4),
    best_of_n=BestOfNSettings(n=3, prompts=2, epochs=5),
)
ROW = 10 + 20
PAIR = 50
# steps 0 and 4 are measured for the curve: 8 answers each, sampled, and read by the reference, the
# reward model and the policy
CURVE = Cost(sampled_tokens=16 * ROW, forward_tokens=3 * 16 * ROW)


def cost(algorithm: str, *, exact: bool = True) -> Cost:
    workload = Workload(prompt_tokens=10, answer_tokens=20, pair_tokens=PAIR, exact=exact)
    return catalog.algorithm(algorithm).cost(STEER, workload)


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_policy_gradient_reads_its_answers_twice_and_learns_from_them_every_epoch(algorithm):
    # 48 answers; in exact arithmetic the policy reads the first step's 8 once more
    assert cost(algorithm) == Cost(48 * ROW, (48 + 48 + 8) * ROW, 2 * 48 * ROW)
    assert cost(algorithm, exact=False) == Cost(48 * ROW, 3 * 48 * ROW, 2 * 48 * ROW)


def test_dpo_reads_its_pairs_by_the_reference_and_learns_from_them_once():
    # 6 steps of 4 pairs
    assert cost("dpo") == CURVE + Cost(forward_tokens=24 * PAIR, trained_tokens=24 * PAIR)


def test_best_of_n_samples_and_scores_n_answers_and_learns_from_one():
    # 6 steps of 2 prompts, 3 answers to each, 5 epochs on the best
    best = Cost(sampled_tokens=36 * ROW, forward_tokens=36 * ROW, trained_tokens=5 * 12 * ROW)
    assert cost("best_of_n") == CURVE + best


def test_a_backward_pass_through_frozen_weights_costs_as_much_as_a_forward_pass():
    assert Cost(sampled_tokens=1, forward_tokens=2, trained_tokens=3).flop(100) == 2 * 100 * (
        1 + 2 + 2 * 3
    )
    again = Cost(trained_tokens=3).flop(100, checkpointing=True)
    assert again == 2 * 100 * 3 * 3, "the forward pass is run twice"
    assert Cost(1, 2, 3) * 4 == Cost(4, 8, 12)


@pytest.mark.parametrize("algorithm", catalog.algorithm_names())
def test_a_cost_counts_the_tokens_that_run(algorithm, llama, tokens_run, tmp_path):
    task = tiny.task(
        llama, (0,), steps=6, measure_every=3, min_new_tokens=8, max_new_tokens=8, kl_target=None
    )
    task = replace(task, prompts=[[5 + i, *range(20 + i, 31 + i)] for i in range(20)])
    pair_tokens = sum(pair.tokens for pair in task.pairs[0]) / len(task.pairs[0])
    run = catalog.algorithm(algorithm).steering(task)
    with tokens_run(llama) as counts:
        run.train(tmp_path, tiny.quiet)
    counted = catalog.algorithm(algorithm).cost(task.settings, Workload(12, 8, pair_tokens))
    tokens = counted.sampled_tokens + counted.forward_tokens + counted.trained_tokens
    # More are counted than run: a row's last token need not be read for its log-probabilities, and
    # answers to one prompt are scored with their prompt once.
    assert 1 <= tokens / sum(counts) < 1.25
