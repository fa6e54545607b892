from __future__ import annotations

import pytest

from ethosteer.algorithms.algorithm import Cost
from ethosteer.data.sources import Origin
from ethosteer.settings import ModelShape, StudySettings
from ethosteer.study.costs import stage_costs
from ethosteer.study.footprint import stage_disk
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import Pairs, Texts, read_texts

SHARED = "arms={virtue={}, v-dpo={dataset='virtue', algorithm='dpo'}, duty={dataset='deontology'}}"
SMALL = (
    SHARED,
    "seeds=[0, 1]",
    "data.max_prompt_tokens=20",
    "reward.epochs=3",
    "reward.validations=2",
    "reward.validation_pairs=200",
    "reward.normalisation_samples=16",
    "steer.steps=6",
    "steer.batch=8",
    "steer.epochs=2",
    "steer.min_new_tokens=10",
    "steer.algorithm='ppo'",
    "steer.minibatches=2",
    "steer.max_new_tokens=30",
    "steer.measure_every=4",
    "steer.held_out_prompts=8",
    "steer.dpo.pairs=4",
    "evaluate.cross_pairs=10",
)
ROW = 10 + 20
TEXTS = Texts(
    {
        "virtue": Pairs(100, 9, 12, tokens=50, answer_share=0.4, longest=90),
        "duty": Pairs(200, 300, 8, tokens=40, answer_share=0.5, longest=70),
    },
    item_tokens=1000,
    conversation_tokens=500,
    conversation_length=25,
)
SHAPE = ModelShape(hidden=4, layers=3, intermediate=10, vocabulary=50)


@pytest.fixture
def small() -> StudySettings:
    return load_study("demo", SMALL)


def test_every_stage_by_hand(small: StudySettings):
    costs = stage_costs(small, TEXTS)
    assert costs["curate"] == costs["compare"] == Cost()
    assert costs["finetune"] == Cost(trained_tokens=500)
    # Two reward models a seed: pairs in three epochs, validation pairs (at most 200) twice, test
    # pairs once, and 16 answers of the base.
    samples = 16 * ROW
    reward = Cost(
        sampled_tokens=samples,
        forward_tokens=(2 * 9 + 12) * 50 + (2 * 200 + 8) * 40 + 2 * samples,
        trained_tokens=3 * (100 * 50 + 200 * 40),
    )
    assert costs["reward"] == reward * 2
    # Of each arm: its algorithm (as in tests/algorithms/test_algorithm.py), the other reward model
    # on the 16 answers of two steps, and 8 held-out answers three times (before, last, equal KL),
    # read by reference, reward model and policy.
    ppo = Cost(48 * ROW, (48 + 48 + 8) * ROW, 2 * 48 * ROW)
    dpo = Cost(16 * ROW, 3 * 16 * ROW + 24 * 50, 24 * 50)
    others = Cost(forward_tokens=16 * ROW)
    ends = Cost(24 * ROW, 3 * 24 * ROW)
    steer = ppo * 2 + dpo + (others + ends) * 3
    assert costs["steer"] == steer * 2
    # five models answer 8 prompts; two reward models read them and at most 10 pairs of each dataset
    answers = 5 * 8 * ROW
    assert costs["cross"] == Cost(answers, 2 * (answers + 10 * 50 + 8 * 40)) * 2
    assert costs["evaluate"] == Cost(forward_tokens=(3 * 2 + 2) * 1000)


def test_pairs_that_arms_share_are_read_once(small: StudySettings):
    texts = read_texts(small, Origin("sample"), [])
    assert list(texts.pairs) == ["virtue", "duty"]
    alone = load_study("demo", [*SMALL, "arms={virtue={}, duty={dataset='deontology'}}"])
    assert read_texts(alone, Origin("sample"), []) == texts
    assert stage_costs(alone, texts)["reward"] == stage_costs(small, texts)["reward"]
    assert stage_disk(alone, SHAPE, texts)["reward"] == stage_disk(small, SHAPE, texts)["reward"]


def test_an_arm_is_counted_at_its_own_pace(small: StudySettings):
    slow = load_study("demo", [*SMALL, "steer.dpo.steps=12"])
    more = stage_costs(slow, TEXTS)["steer"].trained_tokens
    # 6 more steps of 4 pairs, of both seeds
    assert more - stage_costs(small, TEXTS)["steer"].trained_tokens == 2 * 6 * 4 * 50


def test_bfloat16_recomputes_the_policys_log_probabilities(small: StudySettings):
    coarse = load_study("demo", [*SMALL, "base.dtype=bfloat16"])
    forward = [stage_costs(own, TEXTS)["steer"].forward_tokens for own in (small, coarse)]
    assert forward[1] - forward[0] == 2 * 2 * (48 - 8) * ROW  # of two PPO arms and two seeds
