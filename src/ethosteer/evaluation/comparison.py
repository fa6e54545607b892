"""Comparisons of models on benchmarks: paired differences, in families, with verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ethosteer.benchmarks.base import Benchmark
from ethosteer.evaluation.summary import ByModel, clustered
from ethosteer.records import CONTROLS
from ethosteer.results import Better, Comparison
from ethosteer.settings import CompareSettings
from ethosteer.statistics.metrics import Metric, Quantity
from ethosteer.statistics.paired import Clustered, paired_difference
from ethosteer.statistics.verdicts import Rules, family_decisions

PERMUTATION_SEED = 20240

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """Comparisons that are corrected together: one metric of one benchmark, or one reward model."""

    name: str
    benchmark: str
    metric: str
    better: Better


def compare_models(
    benchmark: Benchmark, outcomes: ByModel, settings: CompareSettings
) -> list[Comparison]:
    """Compare on every metric in two families: arms with the control, and arms with each other."""
    arms = [model for model in outcomes if model not in CONTROLS]
    families: dict[str, list[Pair]] = {
        f"arms against {settings.control}": [(arm, settings.control) for arm in arms],
        "arms against each other": list(combinations(arms, 2)),
    }
    return [
        comparison
        for metric in map(compared_metric, benchmark.metrics)
        for name, pairs in families.items()
        for comparison in compare_on_metric(
            f"{benchmark.title}, {metric.name}: {name}",
            benchmark.name,
            metric,
            outcomes,
            pairs,
            settings,
        )
    ]


def compare_on_metric(
    family: str,
    benchmark: str,
    metric: Metric,
    outcomes: ByModel,
    pairs: Sequence[Pair],
    settings: CompareSettings,
) -> list[Comparison]:
    """Compare pairs of models on one metric of one benchmark, as the family of that name."""
    models = {model: clustered(metric, outcomes[model]) for pair in pairs for model in pair}
    return compare_family(
        Family(family, benchmark, metric.name, metric.better), models, pairs, settings
    )


def compare_family(
    family: Family,
    models: Mapping[str, Clustered],
    pairs: Sequence[Pair],
    settings: CompareSettings,
) -> list[Comparison]:
    """Compare pairs of models, correct for multiple testing, and give each pair its verdict."""
    differences = [
        paired_difference(
            models[a],
            models[b],
            settings.resamples,
            # The same permutations for every pair, so that a family's p do not differ by chance.
            np.random.default_rng(PERMUTATION_SEED),
        )
        for a, b in pairs
    ]
    rules = Rules(settings.alpha, settings.correction, settings.margin, settings.effect)
    decisions = family_decisions(differences, family.better, rules)
    return [
        Comparison(
            benchmark=family.benchmark,
            metric=family.metric,
            a=a,
            b=b,
            difference=decision.difference.estimate,
            p=decision.difference.p,
            adjusted_p=decision.adjusted_p,
            items=models[a].items,
            clusters=models[a].clusters,
            # Controls are not trained with seeds, so only arms can have too few.
            seeds=min((models[name].seeds for name in (a, b) if name not in CONTROLS), default=1),
            minimum_detectable=decision.minimum_detectable,
            verdict=decision.verdict,
            family=family.name,
            equivalence_p=decision.equivalence_p,
            items_needed=float(
                np.ceil(decision.clusters_needed * models[a].items / models[a].clusters)
            ),
        )
        for (a, b), decision in zip(pairs, decisions, strict=True)
    ]


def compared_metric(metric: Metric) -> Metric:
    """Return the metric to compare by: where 50 % is the aim, the distance from it."""
    if metric.better != "half":
        return metric
    combine = metric.quantity.combine
    return replace(
        metric,
        name=f"{metric.name}, distance from 50 %",
        better="lower",
        quantity=Quantity(lambda sums: np.abs(combine(sums) - 0.5), (0.0, 0.5)),
    )
