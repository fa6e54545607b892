"""The work of a study's stages, counted in tokens that pass through the base (``Cost``)."""

from __future__ import annotations

from ethosteer import catalog
from ethosteer.algorithms.algorithm import Cost, Workload, measured_steps
from ethosteer.settings import StudySettings
from ethosteer.study.text_sizes import Texts


def stage_costs(settings: StudySettings, texts: Texts) -> dict[str, Cost]:
    """Return the tokens that each stage passes through the base, for all arms and seeds."""
    seeds = len(settings.seeds)
    models = len(settings.arm_seeds()) + len(settings.controls)
    return {
        "curate": Cost(),
        "finetune": Cost(trained_tokens=texts.conversation_tokens),
        "reward": reward_cost(settings, texts) * seeds,
        "steer": steering_cost(settings, texts) * seeds,
        "cross": cross_cost(settings, texts) * seeds,
        "evaluate": Cost(forward_tokens=models * texts.item_tokens),
        "compare": Cost(),
    }


def reward_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's reward models: one for each set of pairs."""
    reward = settings.reward
    samples = reward.normalisation_samples * mean_row(settings)
    cost = Cost(sampled_tokens=samples)
    for pairs in texts.pairs.values():
        validated = reward.validations * min(reward.validation_pairs, pairs.validation)
        cost += Cost(
            forward_tokens=(validated + pairs.test) * pairs.tokens + samples,
            trained_tokens=reward.epochs * pairs.train * pairs.tokens,
        )
    return cost


def steering_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's arms."""
    return sum((arm_cost(settings, texts, arm) for arm in settings.arms), Cost())


def arm_cost(settings: StudySettings, texts: Texts, arm: str) -> Cost:
    """Return the tokens of steering one arm: its algorithm, curve and held-out evaluations."""
    algorithm = catalog.algorithm(settings.algorithm_of(arm))
    steer = settings.steer.for_algorithm(algorithm.name)
    workload = Workload(
        prompt_tokens=mean_prompt(settings),
        answer_tokens=mean_row(settings) - mean_prompt(settings),
        pair_tokens=texts.pairs[settings.data_of(arm)].tokens,
        exact=settings.base.is_exact,
    )
    # the arm's own reward model has scored these answers already
    scored = measured_steps(steer) * steer.batch * (len(texts.pairs) - 1)
    # before the first step, after the last one, and at the last one within kl_target
    ends = (2 if steer.kl_target is None else 3) * steer.held_out_prompts
    cost = algorithm.cost(steer, workload) + workload.rollouts(ends, recomputed=ends)
    return cost + Cost(forward_tokens=scored * workload.row_tokens)


def cross_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's held-out answers and pairs under every reward model."""
    reward_models, models = len(texts.pairs), len(settings.arms) + len(settings.controls)
    answers = models * settings.steer.held_out_prompts * mean_row(settings)
    limit = settings.evaluate.cross_pairs
    pairs = sum(min(limit, pairs.test) * pairs.tokens for pairs in texts.pairs.values())
    return Cost(sampled_tokens=answers, forward_tokens=reward_models * (answers + pairs))


def mean_prompt(settings: StudySettings) -> float:
    """Return the assumed mean length of a steering prompt: half of the longest."""
    return settings.data.max_prompt_tokens / 2


def mean_row(settings: StudySettings) -> float:
    """Return the assumed mean length of a steering prompt and an answer that runs to its limit."""
    steer = settings.steer
    return mean_prompt(settings) + (steer.min_new_tokens + steer.max_new_tokens) / 2
