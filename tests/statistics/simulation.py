"""Whole families of simulated studies: how often the statistics err, cover, find and equate.

``python -m tests.statistics.simulation --studies 2000`` prints one line per setting.

Four arms and a control answer the same items, half of which come as twins that are alike to every
model. An item is answered rightly where its difficulty, uniform on 0 to 1, lies below a model's
skill. Most items have one difficulty for all; some have one of each arm's own, whatever its seed,
and some one of every seed's own. A seed moves the arm's skill. So the true difference of two models
is exactly that of their skills: of accuracy, and, with as many items of either label, of the
Matthews correlation, which is twice the accuracy less 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from ethosteer.results import Estimate
from ethosteer.statistics.metrics import CORRELATION, PROPORTION, Floats
from ethosteer.statistics.paired import (
    NAN,
    Clustered,
    Difference,
    cluster_sums,
    estimate,
    paired_difference,
)
from ethosteer.statistics.uncertainty import Uncertainty
from ethosteer.statistics.verdicts import Decision, Rules, adjusted_p_values, family_decisions

Design = Literal["control", "each other"]

ARMS = 4
SKILL = 0.6
OF_ARM = 0.15
"""The share of items whose difficulty is an arm's own."""
OF_SEED = 0.2
"""The share of items whose difficulty is of one seed of an arm."""
BOOTSTRAP = 500
ALIKE = 0.5
"""The share of clusters whose two items are alike."""


@dataclass(frozen=True)
class Setting:
    """One kind of study. ``lead`` is each arm's true difference to the control, in the metric.

    ``single`` items are clusters of their own: of shares p is then McNemar's.
    """

    metric: Literal["acc", "mcc"] = "acc"
    items: int = 160
    seeds: int = 1
    seed_sd: float = 0.0
    lead: tuple[float, ...] = (0.0,) * ARMS
    design: Design = "control"
    swaps: int = 2000
    single: bool = False

    @property
    def name(self) -> str:
        """The setting in words."""
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        single = " single" if self.single else ""
        return (
            f"{self.metric}, {self.items}{single} items, {seeds} of sd {self.seed_sd:.2f}, "
            f"arms against {'a control' if self.design == 'control' else 'each other'}"
        )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The comparisons of a study; model 0 is the control."""
        arms = range(1, ARMS + 1)
        return [(arm, 0) for arm in arms] if self.design == "control" else [*combinations(arms, 2)]


def models(setting: Setting, draw: np.random.Generator) -> list[Clustered]:
    """Simulate the answers of a control, which has one seed, and of all arms."""
    size = 1 if setting.single else 2
    clusters = setting.items // size
    alike = draw.random(clusters) < ALIKE
    scale = 0.5 if setting.metric == "mcc" else 1.0  # skill is an accuracy, and mcc = 2 acc - 1
    labels = draw.random((clusters, size)) < 0.5
    names = [str(cluster) for cluster in range(clusters) for _ in range(size)]

    def twins(*shape: int) -> Floats:
        drawn = draw.random((*shape, clusters, size))
        drawn[..., alike, -1] = drawn[..., alike, 0]
        return drawn

    common = twins()
    found: list[Clustered] = []
    for lead in (0.0, *setting.lead):
        control = not found
        seeds = 1 if control else setting.seeds
        moved = np.zeros(seeds) if control else draw.normal(scale=setting.seed_sd, size=seeds)
        own = np.where(twins() < OF_ARM, twins(), common)
        own = np.where(twins(seeds) < OF_SEED, twins(seeds), own)
        right = own < (SKILL + scale * (lead + moved))[:, None, None]
        found.append(_sums(setting, right.reshape(seeds, -1), labels.ravel(), names))
    return found


def _sums(
    setting: Setting, right: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> Clustered:
    if setting.metric == "acc":
        parts = np.stack([right, np.ones_like(right)], axis=-1)
        return cluster_sums(list(parts.astype(float)), names, PROPORTION)
    cells = [right & labels, right & ~labels, ~right & ~labels, ~right & labels]
    return cluster_sums(list(np.stack(cells, axis=-1).astype(float)), names, CORRELATION)


def study(setting: Setting, rules: Rules, draw: np.random.Generator) -> list[Decision]:
    """Simulate a study and judge its family as any study's is judged."""
    own = models(setting, draw)
    differences = [paired_difference(own[a], own[b], setting.swaps, draw) for a, b in setting.pairs]
    return family_decisions(differences, ["higher"] * len(differences), rules)


# --- what is counted


def claims(setting: Setting, draw: np.random.Generator) -> bool:
    """Is any model called better or worse?"""
    return any(found.verdict in {"better", "worse"} for found in study(setting, Rules(), draw))


def holds(setting: Setting, draw: np.random.Generator) -> bool:
    """Does the first comparison's interval hold the true difference?"""
    found = study(setting, Rules(), draw)[0].difference.estimate
    a, b = setting.pairs[0]
    truth = (0.0, *setting.lead)[a] - (0.0, *setting.lead)[b]
    return found.low <= truth <= found.high


def holds_value(setting: Setting, draw: np.random.Generator) -> bool:
    """Does the first arm's own interval hold its true value?"""
    found = estimate(models(setting, draw)[1])
    truth = SKILL + setting.lead[0] if setting.metric == "acc" else 2 * SKILL - 1 + setting.lead[0]
    return found.low <= truth <= found.high


def finds(setting: Setting, draw: np.random.Generator) -> bool:
    """Is the first arm, which is better, called better?"""
    return study(setting, Rules(), draw)[0].verdict == "better"


def equates(setting: Setting, draw: np.random.Generator) -> bool:
    """Is any arm called equivalent, with a margin that is the first arm's true difference?"""
    rules = Rules(margin=abs(setting.lead[0]))
    return any(found.verdict == "equivalent" for found in study(setting, rules, draw))


def claims_by_bootstrap(setting: Setting, draw: np.random.Generator) -> bool:
    """Would the percentile bootstrap of seeds and clusters call any model better or worse?

    It is the method that these statistics replaced: p of swaps of clusters, corrected by Holm, and
    an interval that leaves out 0.
    """
    own = models(setting, draw)
    found = [_bootstrap(own[a], own[b], BOOTSTRAP, draw) for a, b in setting.pairs]
    adjusted = adjusted_p_values([p for p, _, _ in found])
    return any(
        p < 0.05 and (low > 0 or high < 0)
        for p, (_, low, high) in zip(adjusted, found, strict=True)
    )


def _bootstrap(
    a: Clustered, b: Clustered, resamples: int, draw: np.random.Generator
) -> tuple[float, float, float]:
    def weights(count: int) -> Floats:
        return draw.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)

    clusters, of_a = weights(a.clusters), weights(a.seeds)
    of_b = of_a if a.seeds == b.seeds else weights(b.seeds)
    drawn = [
        each.quantity.combine(np.einsum("rc,rs,sck->rk", clusters, seeds, each.sums, optimize=True))
        for each, seeds in ((a, of_a), (b, of_b))
    ]
    low, high = np.nanquantile(drawn[0] - drawn[1], [0.025, 0.975])
    mean_a, mean_b = a.sums.mean(axis=0), b.sums.mean(axis=0)
    moved = draw.integers(0, 2, size=(resamples, a.clusters)).astype(float) @ (mean_b - mean_a)
    combine = a.quantity.combine
    swapped = combine(mean_a.sum(axis=0) + moved) - combine(mean_b.sum(axis=0) - moved)
    observed = abs(float(combine(mean_a.sum(axis=0)) - combine(mean_b.sum(axis=0))))
    extreme = int(np.sum(np.abs(swapped) >= observed - 1e-12))
    return (1 + extreme) / (1 + resamples), float(low), float(high)


def planned(setting: Setting, pilots: int = 200) -> Setting:
    """Return the setting with as many items as ``clusters_needed`` says for the first arm's lead.

    It is asked with the mean variances of many pilot studies, which is to know them.
    """
    draw = np.random.default_rng(11)
    errors = []
    for _ in range(pilots):
        own = models(setting, draw)
        errors.append(paired_difference(own[1], own[0], 1, draw).error)
    known = Uncertainty(
        item_variance=float(np.mean([error.item_variance for error in errors])),
        item_df=errors[0].item_df,
        seed_variance=float(np.mean([error.seed_variance for error in errors])),
        seed_df=errors[0].seed_df,
        interaction_variance=float(np.mean([error.interaction_variance for error in errors])),
    )
    asked = Difference(Estimate(0.0, NAN, NAN, setting.items), NAN, 0.0, known)
    clusters = asked.clusters_needed(setting.lead[0], Rules().alpha / len(setting.pairs))
    return replace(setting, items=(1 if setting.single else 2) * int(clusters))


@dataclass(frozen=True)
class Rate:
    """How many studies of all did something, with the Clopper-Pearson interval of their share."""

    count: int
    studies: int

    @property
    def share(self) -> float:
        """The share of studies."""
        return self.count / self.studies

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return self.at_level(0.95)

    def at_level(self, level: float) -> tuple[float, float]:
        """Return its interval at another level."""
        found = stats.binomtest(self.count, self.studies).proportion_ci(level, "exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:6.1%} [{low:.1%}, {high:.1%}]"


Count = Callable[[Setting, np.random.Generator], bool]


def rate(count: Count, setting: Setting, studies: int, seed: int = 0) -> Rate:
    """Simulate ``studies`` and count those of which ``count`` is true."""
    draw = np.random.default_rng(seed)
    return Rate(sum(count(setting, draw) for _ in range(studies)), studies)


SEEDED = [(1, 0.0), *((seeds, sd) for seeds in (2, 3, 5) for sd in (0.0, 0.02, 0.06))]
AHEAD = (0.1, 0.0, 0.0, 0.0)
FAR_AHEAD = (0.2, 0.0, 0.0, 0.0)
AT_THE_MARGIN = (0.1,) * ARMS


def lines() -> Iterator[tuple[str, Count, Setting]]:
    """Every setting that is printed, under what is counted of it."""
    metrics: tuple[Literal["acc", "mcc"], ...] = ("acc", "mcc")
    designs: tuple[Design, ...] = ("control", "each other")
    for metric in metrics:
        seeded = [
            Setting(metric, seeds=seeds, seed_sd=sd, design=design)
            for design in designs
            for seeds, sd in SEEDED
        ]
        single = Setting(metric, single=True)
        many = [Setting(metric, 2000, seeds, 0.06) for seeds in (2, 3, 5)]  # seeds are all
        none = "called better or worse though none differs"
        yield from ((none, claims, own) for own in (*seeded, single, *many))
        yield from (
            ("the same by the two-level bootstrap", claims_by_bootstrap, own)
            for own in seeded
            if own.seeds == 3
        )
        against = [replace(own, lead=AHEAD) for own in seeded if own.design == "control"]
        yield from (("a difference's interval holds the truth", holds, own) for own in against)
        yield from (("a value's interval holds the truth", holds_value, own) for own in against)
        for seeds, sd, lead in (
            (1, 0.0, AHEAD), (3, 0.0, AHEAD), (3, 0.0, FAR_AHEAD), (3, 0.02, FAR_AHEAD),
            (5, 0.02, AHEAD), (5, 0.02, FAR_AHEAD),
        ):  # fmt: skip
            setting = Setting(metric, seeds=seeds, seed_sd=sd, lead=lead)
            yield f"found, {lead[0]} ahead, with the items it needs", finds, planned(setting)
        if metric == "acc":
            setting = planned(Setting(lead=AHEAD, single=True))
            yield "found, 0.1 ahead, with the items it needs", finds, setting
        for seeds, sd in SEEDED:
            items = 600 if metric == "acc" else 2400  # enough that equivalence could be shown
            setting = Setting(metric, items, seeds, sd, AT_THE_MARGIN)
            yield "called equivalent, each differing by the margin", equates, setting


def _line(task: tuple[str, Count, Setting], studies: int) -> str:
    what, count, setting = task
    return f"{rate(count, setting, studies)!s:24} {what}: {setting.name}"


def main() -> None:
    """Print the rate of every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies a setting")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    tasks = list(lines())
    with ProcessPoolExecutor(given.processes) as pool:
        for line in pool.map(_line, tasks, [given.studies] * len(tasks)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
