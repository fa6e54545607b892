"""Simulated studies: models whose true metrics are known, and a study's differences.

Arms and a control answer the same items. An item has a noise for every model, and a model's margin
on it is the model's skill plus that noise; the answer is right where the margin is positive. Most
items have one noise for all models; of the others it is an arm's, or a seed's. Items of a cluster
may be alike. A seed moves an arm's skill. Skills are solved for, so that the true value of every
model's metric, averaged over seeds, is exactly what a setting says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import optimize, stats

from ethosteer.records import Outcome
from ethosteer.results.benchmarks import Better
from ethosteer.statistics.from_half import distance_difference
from ethosteer.statistics.metrics import (
    AUC,
    BALANCED,
    CORRELATION,
    MEAN,
    PROPORTION,
    Floats,
    Quantity,
)
from ethosteer.statistics.moderation import Testable, with_moderated_errors
from ethosteer.statistics.paired import Clustered, cluster_sums, paired_difference
from ethosteer.statistics.verdicts import Decision, Rules, family_decisions

Design = Literal["control", "each other"]
Measure = Literal["acc", "mcc", "balanced_acc", "auc", "margin", "distance"]

OF_ARM = 0.15
"""The share of items whose noise is an arm's."""
OF_SEED = 0.2
"""The share of items whose noise is that of one seed of an arm."""
ALIKE = 0.5
"""The share of clusters whose items are alike."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

NOISE = {
    "uniform": stats.uniform(-1, 1),
    "normal": stats.norm(),
    "t3": stats.t(3),
    "lognormal": stats.lognorm(1, loc=-np.exp(0.5)),
}
"""Distributions of items' noise, beside ``rare``: 2 % of items are 1 and the others nearly 0."""
QUANTITIES: dict[Measure, Quantity] = {
    "acc": PROPORTION,
    "mcc": CORRELATION,
    "balanced_acc": BALANCED,
    "auc": AUC.quantity,
    "margin": MEAN,
    "distance": PROPORTION,
}


@dataclass(frozen=True)
class Setting:
    """One kind of study.

    ``value`` is the control's true metric, ``lead`` by how much the first ``ahead`` arms exceed it.
    The skills of ``varied`` arms move with the seed by ``seed_sd``; those of others do not.
    ``positives`` is the share of items of label 1.
    """

    metric: Measure = "acc"
    noise: str = "normal"
    items: int = 160
    clusters: Literal["single", "twins", "unequal"] = "twins"
    arms: int = 4
    seeds: int = 1
    seed_sd: float = 0.0
    varied: int = 99
    value: float = 0.6
    lead: float = 0.0
    ahead: int = 1
    positives: float = 0.5
    design: Design = "control"
    swaps: int = 1000

    @property
    def name(self) -> str:
        """The setting in words."""
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        varied = f" in {self.varied} arm{'s' if self.varied > 1 else ''}"
        rare = f", {self.positives:.0%} positives" if self.positives != 0.5 else ""
        return (
            f"{self.metric}, {self.items} {self.clusters} {self.noise} items{rare}, "
            f"{seeds} of sd {self.seed_sd:g}{varied if self.varied < self.arms else ''}, "
            f"{self.arms} arms, {'control' if self.design == 'control' else 'pairs of arms'}"
        )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The comparisons of a study; model 0 is the control."""
        arms = range(1, self.arms + 1)
        return [(arm, 0) for arm in arms] if self.design == "control" else [*combinations(arms, 2)]

    @property
    def truths(self) -> list[float]:
        """The true metric of the control and of all arms."""
        leads = [self.lead if arm < self.ahead else 0.0 for arm in range(self.arms)]
        return [self.value, *(self.value + lead for lead in leads)]


def true_value(setting: Setting, skill: float, seed_sd: float) -> float:
    """Return the metric of a model with endless items, averaged over endless seeds."""
    skills = skill + seed_sd * NODES
    if setting.metric == "margin":
        return skill
    if setting.metric == "auc":  # of normal noise, P(noise + noise' > -2 skill)
        values = stats.norm.cdf(np.sqrt(2) * skills)
    else:
        right, positives = NOISE[setting.noise].sf(-skills), setting.positives
        table = [positives * right, (1 - positives) * right]
        table += [(1 - positives) * (1 - right), positives * (1 - right)]
        cells = np.stack(table, axis=-1)
        quantity = QUANTITIES[setting.metric]
        values = right if quantity.is_proportion else quantity.combine(cells)
    return float(WEIGHTS @ values)


@lru_cache(maxsize=1024)
def skill_of(setting: Setting, value: float, seed_sd: float) -> float:
    """Return the skill of which a model's true metric is ``value``."""
    if setting.metric == "margin":
        return value
    return float(optimize.brentq(lambda skill: true_value(setting, skill, seed_sd) - value, -4, 4))


def models(setting: Setting, draw: np.random.Generator) -> list[Clustered]:
    """Simulate the answers of a control, which has one seed, and of all arms."""
    sizes = {"single": (1,), "twins": (2,), "unequal": (1, 1, 1, 1, 12)}[setting.clusters]
    drawn_sizes = draw.choice(sizes, size=setting.items)
    cluster = np.repeat(np.arange(setting.items), drawn_sizes)[: setting.items]
    names = [str(index) for index in cluster]
    # an item of a cluster that is alike takes what is drawn for the cluster's first item
    first = np.searchsorted(cluster, cluster)
    source = np.where((draw.random(setting.items) < ALIKE)[first], first, np.arange(setting.items))

    def replaced(values: Floats, share: float, *shape: int) -> Floats:
        chosen = draw.random((*shape, setting.items)) < share
        return np.where(chosen, _noise(setting.noise, (*shape, setting.items), draw), values)

    labels = draw.random(setting.items) < setting.positives
    common = _noise(setting.noise, (setting.items,), draw)
    simulated: list[Clustered] = []
    for model, truth in enumerate(setting.truths):
        seeds = 1 if model == 0 else setting.seeds
        seed_sd = setting.seed_sd if 0 < model <= setting.varied else 0.0
        skill = skill_of(setting, truth, seed_sd)
        moved = draw.normal(scale=seed_sd, size=(seeds, 1)) if seed_sd else np.zeros((seeds, 1))
        noise = replaced(replaced(common, OF_ARM), OF_SEED, seeds)[:, source]
        margins = noise + skill + moved
        simulated.append(_clustered(setting, margins, labels, names))
    return simulated


def _noise(name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Floats:
    if name == "rare":
        return (draw.random(shape) < 0.02) - 0.02 + draw.normal(scale=0.001, size=shape)
    return np.asarray(NOISE[name].rvs(size=shape, random_state=draw))


def _clustered(
    setting: Setting, margins: Floats, labels: np.ndarray, names: Sequence[str]
) -> Clustered:
    quantity = QUANTITIES[setting.metric]
    right = margins > 0
    if setting.metric == "margin":
        tables = np.stack([margins, np.ones_like(margins)], axis=-1)
    elif quantity.is_proportion:
        tables = np.stack([right, np.ones_like(right)], axis=-1).astype(float)
    elif setting.metric == "auc":
        tables = np.stack([AUC.table(_outcomes(seed, labels)) for seed in margins])
    else:
        cells = [right & labels, right & ~labels, ~right & ~labels, ~right & labels]
        tables = np.stack(cells, axis=-1).astype(float)
    return cluster_sums(list(tables), names, quantity)


def _outcomes(margins: Floats, labels: np.ndarray) -> list[Outcome]:
    """Outcomes of which only what AUC reads is filled in."""
    scores = np.where(labels, margins, -margins)
    return [
        Outcome("", 0, "", "", "", (), int(label), None, None, (0.0, float(score)))
        for score, label in zip(scores, labels, strict=True)
    ]


def differences(setting: Setting, draw: np.random.Generator) -> list[Testable]:
    """Simulate a study and return its differences, with seed variances moderated."""
    simulated = models(setting, draw)
    difference = distance_difference if setting.metric == "distance" else paired_difference
    pairs = [difference(simulated[a], simulated[b], setting.swaps, draw) for a, b in setting.pairs]
    independent = setting.arms if setting.design == "control" else setting.arms - 1
    return with_moderated_errors(pairs, independent)


def study(setting: Setting, rules: Rules, draw: np.random.Generator) -> list[Decision]:
    """Simulate a study and decide its family as any study's is decided."""
    family = differences(setting, draw)
    better: Better = "lower" if setting.metric == "distance" else "higher"
    return family_decisions(family, [better] * len(family), rules)


def true_differences(setting: Setting) -> list[float]:
    """Return the true difference of every comparison."""
    values = [
        abs(truth - 0.5) if setting.metric == "distance" else truth for truth in setting.truths
    ]
    return [values[a] - values[b] for a, b in setting.pairs]
