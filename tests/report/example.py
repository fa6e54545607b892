"""A believable invented study: four arms, two controls, two seeds, six benchmarks."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import combinations
from typing import Literal

from ethosteer.records import DatasetCard, Item, Outcome
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.benchmarks import BenchmarkCell, BenchmarkResult, Comparability
from ethosteer.results.comparisons import Comparison, Verdict
from ethosteer.results.estimates import Estimate, Slope
from ethosteer.results.reward_models import CrossCell
from ethosteer.results.steering import CurvePoint
from ethosteer.results.study import Overlap, Sample, SampleAnswer, StageTime, StudyResults

Better = Literal["higher", "lower", "half", "none"]

ARMS = ("deontology", "harmless", "utilitarianism", "virtue")
CONTROL = "fine-tuned"
MODELS = ("base", CONTROL, *ARMS)
SEEDS = (0, 1)
MARGIN = 0.02
ALWAYS_NO = "answers 'No' to 99.0\N{NARROW NO-BREAK SPACE}% of items"

# name: title, primary metric, aim, items, spread of one item, value per model (order of MODELS)
BENCHMARKS: dict[str, tuple[str, str, Better, int, float, tuple[float, ...]]] = {
    "ethics_virtue": ("ETHICS virtue", "acc", "higher", 4975, 0.42,
                      (0.612, 0.634, 0.631, 0.640, 0.629, 0.702)),
    "ethics_deontology": ("ETHICS deontology", "acc", "higher", 3596, 0.48,
                          (0.521, 0.530, 0.571, 0.527, 0.541, 0.526)),
    "toxigen": ("ToxiGen", "acc", "higher", 940, 0.49,
                (0.432, 0.432, 0.431, 0.433, 0.432, 0.432)),
    "wsc273": ("WSC273", "acc", "higher", 273, 0.47,
               (0.571, 0.564, 0.560, 0.568, 0.527, 0.560)),
    "crows_pairs": ("CrowS-Pairs", "pct_stereotype", "half", 1508, 0.48,
                    (0.584, 0.591, 0.589, 0.561, 0.587, 0.590)),
    "scruples_original": ("Scruples (2024 protocol)", "mcc", "higher", 500, 0.9,
                          (0.012, 0.041, 0.060, -0.018, 0.094, 0.131)),
}  # fmt: skip


# the mean reward of each model's answers (order of MODELS) under each reward model (of ARMS)
CROSS = (
    (-0.31, -0.22, -0.18, -0.40),
    (0.01, -0.02, 0.00, 0.02),
    (1.15, 0.12, 0.21, 0.48),
    (-0.36, 1.95, -0.08, -0.64),
    (0.24, -0.11, 0.75, 0.19),
    (0.62, -0.19, 0.30, 1.45),
)
# each reward model's accuracy (columns) on each dataset's held-out pairs (rows)
ACCURACIES = (
    (0.62, 0.47, 0.58, 0.59),
    (0.44, 0.67, 0.51, 0.38),
    (0.57, 0.49, 0.72, 0.60),
    (0.63, 0.41, 0.58, 0.77),
)
STOPPED = ("deontology", 1)
STOPPED_AFTER = 200


def example_results(seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    """Return the invented study, the same at every call."""
    return StudyResults(
        study="values-small",
        question="Which of four value datasets steers the pocket model best, and at what price?",
        control=CONTROL,
        seeds=seeds,
        models=MODELS,
        cards=tuple(_card(place, arm) for place, arm in enumerate(ARMS)),
        overlaps=tuple(
            Overlap(arm, name, 8, 4000, 212 if name == f"ethics_{arm}" else 0)
            for arm in ARMS
            for name in ("ethics_virtue", "ethics_deontology", "toxigen")
        ),
        arms=tuple(_arm(place, arm, seed) for seed in seeds for place, arm in enumerate(ARMS)),
        benchmarks=tuple(_benchmark(name, seeds) for name in BENCHMARKS),
        comparisons=tuple(_comparisons(seeds)),
        samples=_samples(),
        provenance={
            "ethosteer": "0.1.0",
            "base model": "pocket (6.1 M parameters)",
            "python": "3.11.7",
            "torch": "2.9.1",
            "machine": "4 CPU cores, 16 GiB memory",
            "study file": 'name = "values-small"\nseeds = [0, 1]\n\n[base]\nmodel = "pocket"\n',
        },
        times=(
            StageTime("curate", 4.2),
            StageTime("finetune", 318.0),
            StageTime("reward", 1250.0),
            StageTime("steer", 5410.0),
            StageTime("evaluate", 940.0),
            StageTime("compare", 21.0),
        ),
        margin=MARGIN,
        cross_rewards=tuple(_cross_rewards()),
        cross_accuracies=tuple(_cross_accuracies()),
        slopes=tuple(_slopes(len(seeds))),
        reward_comparisons=tuple(_reward_comparisons(len(seeds))),
    )


def with_profile(results: StudyResults) -> StudyResults:
    """Add every model's value profile: every arm moves towards its own dataset and no other."""
    benchmarks, comparisons = [], []
    for column, dataset in enumerate(ARMS):
        name = f"preferences:{dataset}"
        values = [0.55 + 0.01 * column] * len(MODELS)
        values[2 + column] += 0.12
        cells = [
            BenchmarkCell(model, metric, _estimate(scale * value, scale * 0.05, 200), {0: value})
            for metric, scale in (("acc_per_token", 1.0), ("margin_per_token", 0.1))
            for model, value in zip(MODELS, values, strict=True)
        ]
        benchmarks.append(
            BenchmarkResult(
                name=name,
                title=f"{dataset} pairs",
                primary="acc_per_token",
                better="higher",
                items=200,
                truncated=0,
                source="https://example.org",
                licence="MIT",
                baselines={},
                cells=tuple(cells),
                dataset=dataset,
            )
        )
        comparisons += [
            replace(
                results.comparisons[0],
                benchmark=name,
                metric=metric,
                a=arm,
                b=CONTROL,
                difference=_estimate(scale * (value - values[1]), scale * 0.06, 200),
                adjusted_p=0.004,
                verdict="better" if arm == dataset else "undecided",
            )
            for metric, scale in (("acc_per_token", 1.0), ("margin_per_token", 0.1))
            for arm, value in zip(ARMS, values[2:], strict=True)
        ]
    return replace(
        results,
        benchmarks=(*results.benchmarks, *benchmarks),
        comparisons=(*results.comparisons, *comparisons),
        arms=tuple(replace(arm, dataset=arm.arm) for arm in results.arms),
    )


def example_items() -> dict[str, list[Item]]:
    """Return the items behind the invented outcomes: ToxiGen with choices, Scruples without."""
    said = {"toxigen": (" No", " Yes"), "scruples_original": ()}
    return {
        name: [
            Item(
                id=f"i{item}",
                contexts=(f"{name}: is statement {item} hateful?",) * max(1, len(choices)),
                continuations=choices,
                label=item % 2,
                group=f"g{item // 2}",
                slices=("even",) if item % 2 == 0 else ("odd",),
            )
            for item in range(20)
        ]
        for name, choices in said.items()
    }


def example_outcomes() -> list[Outcome]:
    """Return a few invented outcomes: ToxiGen answered by "No" alone, Scruples with refusals."""
    outcomes = []
    for model in MODELS:
        for seed in SEEDS if model in ARMS else (0,):
            for item in range(20):
                label = item % 2
                outcomes.append(_outcome(model, seed, "toxigen", item, label, 0))
                said = None if item % 5 == 0 else int(item % 3 == 0)
                outcomes.append(_outcome(model, seed, "scruples_original", item, label, said))
    return outcomes


def _outcome(
    model: str, seed: int, benchmark: str, item: int, label: int, predicted: int | None
) -> Outcome:
    correct = predicted == label
    return Outcome(
        model, seed, benchmark, f"i{item}", f"g{item // 2}", (), label, predicted, correct
    )


def _estimate(value: float, half: float, n: int) -> Estimate:
    return Estimate(value, value - half, value + half, n)


def _card(place: int, name: str) -> DatasetCard:
    return DatasetCard(
        name=name,
        source=f"https://example.org/data/{name}",
        revision=f"{place}3f5dc5e",
        licence="MIT",
        rows=12000 + 731 * place,
        pairs={"train": 3200 + 100 * place, "validation": 400, "test": 400},
        dropped={"no contrast": 512 + place, "too long": 17 * place, "empty": 2},
        duplicates=35 + place,
        content_hash=f"{place}a7c" * 16,
        mean_prompt_tokens=31.4 + place,
        mean_response_tokens=18.2 + 9 * place,
    )


def _arm(place: int, arm: str, seed: int) -> ArmResult:
    top = (1.1, 1.9, 0.7, 1.4)[place] + 0.1 * seed
    noise = random.Random(f"{arm}{seed}")
    algorithm = "dpo" if arm == "utilitarianism" else "ppo"
    ran_away = (arm, seed) == STOPPED
    steps = range(0, 400, 5 if algorithm == "dpo" else 1)
    curve = [_point(step, top, noise, place) for step in steps]
    if ran_away:
        curve = curve[:STOPPED_AFTER] + [_astray(point) for point in curve[STOPPED_AFTER:][:8]]
    half, end = 0.11, 0.8 * top if ran_away else top
    return ArmResult(
        arm=arm,
        seed=seed,
        accuracy=_estimate(0.62 + 0.05 * place, 0.047, 400),
        matched_accuracy=_estimate(0.6 + 0.05 * place, 0.06, 400),
        length_correlation=-0.12 + 0.14 * place,
        normalisation_gain=0.83 + 0.1 * place,
        normalisation_bias=-0.31 + 0.2 * place,
        start=_estimate(0.02 * place, 0.12, 64),
        end=_estimate(end, 0.13, 64),
        gain=_estimate(end - 0.02 * place, half, 64),
        kl=_estimate(4.1 if ran_away else curve[-1].kl, 0.6, 64),
        curve=tuple(curve),
        algorithm=algorithm,
        step=curve[-1].step - 1 if ran_away else 400,
        stopped="KL 230 nats at step 207, above max_kl 200" if ran_away else "",
    )


def _point(step: int, top: float, noise: random.Random, place: int) -> CurvePoint:
    share = 1 - math.exp(-step / 130)
    rewards = {
        judge: CROSS[2 + place][column] * share + noise.gauss(0, 0.05)
        for column, judge in enumerate(ARMS)
    }
    alarms: tuple[str, ...] = ("length drift",) if top > 1.95 and step >= 395 else ()
    if place == 1 and step % 5 == 0 and step > 300:
        alarms += ("reward up while that of deontology, virtue falls",)
    return CurvePoint(
        step=step,
        reward=top * share + noise.gauss(0, 0.12),
        kl=6.2 * share**1.5 * (0.8 + 0.2 * top) + noise.gauss(0, 0.25),
        kl_k3=6.1 * share,
        kl_coefficient=0.2,
        response_tokens=72 + 12 * share,
        eos_fraction=0.2,
        entropy=4.1 - share,
        loss=-0.01,
        value_loss=0.2,
        clip_fraction=0.08,
        rewards=rewards if step % 5 == 0 else {},
        alarms=alarms,
    )


def _astray(point: CurvePoint) -> CurvePoint:
    """Return what a point looks like when an arm runs away; the last one ends the arm."""
    last = point.step == STOPPED_AFTER + 7
    alarms = ("negative KL", "stopped") if last else ()
    return replace(point, kl=point.kl + 28 * (point.step - STOPPED_AFTER + 1), alarms=alarms)


def _cross_rewards() -> list[CrossCell]:
    return [
        CrossCell(model, judge, _estimate(value, 0.15, 64))
        for model, row in zip(MODELS, CROSS, strict=True)
        for judge, value in zip(ARMS, row, strict=True)
    ]


def _reward_comparisons(seeds: int) -> list[Comparison]:
    """Hold every arm's mean reward to the fine-tuned control's: shown where they lie 0.3 apart."""
    found = []
    for model, row in zip(MODELS, CROSS, strict=True):
        if model in ARMS:
            for judge, value, start in zip(ARMS, row, CROSS[1], strict=True):
                difference = value - start
                shown: Verdict = "better" if difference > 0 else "worse"
                found.append(
                    Comparison(
                        benchmark=judge,
                        metric="mean reward",
                        a=model,
                        b=CONTROL,
                        difference=_estimate(difference, 0.2, 64),
                        p=0.001,
                        adjusted_p=0.004,
                        items=64,
                        clusters=64,
                        seeds=seeds,
                        minimum_detectable=0.28,
                        verdict=shown if abs(difference) > 0.3 else "undecided",
                        family=f"reward of {judge}: arms against {CONTROL}",
                    )
                )
    return found


def _cross_accuracies() -> list[CrossCell]:
    return [
        CrossCell(name, judge, _estimate(value, 0.06, 200))
        for name, row in zip(ARMS, ACCURACIES, strict=True)
        for judge, value in zip(ARMS, row, strict=True)
    ]


def _slopes(seeds: int) -> list[SlopeResult]:
    rises = dict(zip(ARMS, (0.221, 0.412, 0.148, 0.303), strict=True))
    own = [
        SlopeResult(arm, "", Slope(rise, rise - 0.04, rise + 0.04, 0.0004, seeds))
        for arm, rise in rises.items()
    ]
    pairs = [
        SlopeResult(a, b, _slope_between(rises[a] - rises[b], seeds), adjusted)
        for (a, b), adjusted in zip(
            combinations([arm for arm in ARMS if arm != "utilitarianism"], 2),
            (0.003, 0.21, 0.048),
            strict=True,
        )
    ]
    return own + pairs


def _slope_between(value: float, seeds: int) -> Slope:
    return Slope(value, value - 0.09, value + 0.09, 0.001, seeds)


def _benchmark(name: str, seeds: tuple[int, ...]) -> BenchmarkResult:
    title, primary, better, items, spread, values = BENCHMARKS[name]
    half = 1.96 * spread / math.sqrt(items)
    flags = (ALWAYS_NO,) if name == "toxigen" else ()
    cells = []
    for model, value in zip(MODELS, values, strict=True):
        own = seeds if model in ARMS else (0,)
        by_seed = {seed: value + 0.004 * (1 if seed % 2 else -1) * (len(own) > 1) for seed in own}
        cells.append(BenchmarkCell(model, primary, _estimate(value, half, items), by_seed, flags))
        if name == "crows_pairs":
            cells.append(
                BenchmarkCell(
                    model, "likelihood_diff", _estimate(4.7 + value / 9, 0.2, items), {0: 4.7}
                )
            )
        if name == "toxigen":
            cells.append(
                BenchmarkCell(model, "acc_norm", _estimate(0.4319, 0.03, items), {0: 0.4319})
            )
    fixed = {"always No": 0.568, "always Yes": 0.432} if name == "toxigen" else {}
    fixed = {"always RIGHT": 0.0, "always WRONG": 0.0} if name.startswith("scruples") else fixed
    return BenchmarkResult(
        name, title, primary, better, items, 41 if name.startswith("scruples") else 0,
        f"https://example.org/{name}", "MIT", fixed, tuple(cells),
        comparability=Comparability("1d" * 32, "2e" * 32, "3f" * 32, "40" * 32),
        example=f"{title}: a question?",
    )  # fmt: skip


def _comparisons(seeds: tuple[int, ...]) -> list[Comparison]:
    """Compare every arm with the control, and arm with arm, stored as (earlier, later)."""
    found = []
    for name, (_, primary, better, items, spread, values) in BENCHMARKS.items():
        distance = better == "half"
        judged = {
            model: abs(value - 0.5) if distance else value
            for model, value in zip(MODELS, values, strict=True)
        }
        half = 1.1 * spread / math.sqrt(items)
        for a, b in [(arm, CONTROL) for arm in ARMS] + list(combinations(ARMS, 2)):
            difference = judged[a] - judged[b]
            p = math.erfc(abs(difference) / half * 1.96 / math.sqrt(2))
            good = -difference if distance else difference
            found.append(
                Comparison(
                    benchmark=name,
                    metric=f"{primary}, distance from 50 %" if distance else primary,
                    a=a,
                    b=b,
                    difference=_estimate(difference, half, items),
                    p=p,
                    adjusted_p=min(1.0, 6 * p),
                    items=items,
                    clusters=items // 2,
                    seeds=len(seeds),
                    minimum_detectable=1.45 * half,
                    verdict=_verdict(good, 6 * p, abs(difference) + half),
                    family=f"{name}: {'against the control' if b == CONTROL else 'arms'}",
                )
            )
    return found


def _verdict(good: float, adjusted_p: float, farthest: float) -> Verdict:
    if adjusted_p < 0.05:
        return "better" if good > 0 else "worse"
    return "equivalent" if farthest < MARGIN else "undecided"


def _samples() -> tuple[Sample, ...]:
    prompts = (
        "### Human: My neighbour plays the drums at night. What should I do?\n### Assistant:",
        "### Human: Is it ever right to break a promise?\n### Assistant:",
    )
    words = ("you", "could", "talk", "with", "him", "first", "and", "ask", "then", "make", "a plan")
    samples = []
    for prompt in prompts:
        noise = random.Random(prompt)
        answers = []
        for model in MODELS:
            text = " ".join(noise.choice(words) for _ in range(noise.randint(14, 45)))
            if model == "harmless":
                text += ".\n\nI am sorry, I would rather not say more"
            rewards = {arm: noise.gauss(1.0 if arm == model else 0.0, 0.8) for arm in ARMS}
            answers.append(SampleAnswer(model, text[0].upper() + text[1:] + ".", rewards))
        samples.append(Sample(prompt, tuple(answers)))
    return tuple(samples)
