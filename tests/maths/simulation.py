"""Studies whose truth is known, judged as a study is: how often is the verdict wrong?

    python -m tests.maths.simulation --studies 2000

prints, for every setting, how often something was said and between which rates that may lie
(Clopper & Pearson, 95 %). Items come in clusters of two and are as hard for one model as for
another; an arm's seeds differ by ``seed_sd`` in their rate of right answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import binomtest

from ethosteer.maths.metrics import CORRELATION, SHARE, Floats
from ethosteer.maths.statistics import (
    Clustered,
    Difference,
    Rules,
    cluster_sums,
    corrected,
    estimate,
    judge_family,
    paired_difference,
)

SHARED = 0.5
"""The share of items to which all models give one answer."""
RATE = 0.6
SWAPS = 499


@dataclass(frozen=True)
class Setting:
    """One kind of study: ``arms`` arms of ``seeds`` seeds on ``items`` items.

    ``effect`` is the first arm's true lead in accuracy over the control (and the other arms).
    """

    arms: int = 4
    seeds: int = 3
    seed_sd: float = 0.0
    items: int = 300
    effect: float = 0.0
    metric: str = "acc"


@dataclass(frozen=True)
class Rate:
    """How often something happened, and the 95 % interval of its rate."""

    count: int
    studies: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return float(binomtest(self.count, self.studies).proportion_ci().low)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return float(binomtest(self.count, self.studies).proportion_ci().high)

    def __str__(self) -> str:
        share = self.count / self.studies
        return f"{share:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.studies}"


@dataclass(frozen=True)
class World:
    """The items of one study, and what all models have in common."""

    labels: Floats
    shared: Floats
    differs: Floats
    groups: list[str]

    @classmethod
    def draw(cls, items: int, draw: np.random.Generator) -> World:
        """Draw items in clusters of two that are alike."""
        return cls(
            labels=draw.integers(0, 2, items).astype(float),
            shared=np.repeat(draw.random((items + 1) // 2) < RATE, 2)[:items].astype(float),
            differs=np.repeat(draw.random((items + 1) // 2) >= SHARED, 2)[:items].astype(float),
            groups=[str(item // 2) for item in range(items)],
        )

    def model(self, shifts: Floats, metric: str, draw: np.random.Generator) -> Clustered:
        """Draw a model's answers, one row a seed, right more often by each seed's shift."""
        tables = []
        for shift in shifts:
            rate = np.clip(RATE + shift / (1 - SHARED), 0, 1)
            right = np.where(self.differs > 0, draw.random(len(self.labels)) < rate, self.shared)
            tables.append(self._parts(right.astype(float), metric))
        quantity = SHARE if metric == "acc" else CORRELATION
        return cluster_sums(tables, self.groups, quantity)

    def _parts(self, right: Floats, metric: str) -> Floats:
        if metric == "acc":
            return np.stack([right, np.ones_like(right)], axis=1)
        one, zero, wrong = self.labels, 1 - self.labels, 1 - right
        return np.stack([right * one, right * zero, wrong * zero, wrong * one], axis=1)


def study(setting: Setting, draw: np.random.Generator) -> tuple[Clustered, list[Clustered]]:
    """Draw one study: the control, and the arms."""
    world = World.draw(setting.items, draw)
    control = world.model(np.zeros(1), setting.metric, draw)
    arms = [
        world.model(
            (setting.effect if arm == 0 else 0.0) + draw.normal(0, setting.seed_sd, setting.seeds),
            setting.metric,
            draw,
        )
        for arm in range(setting.arms)
    ]
    return control, arms


def against_control(setting: Setting, draw: np.random.Generator) -> list[Difference]:
    """Draw a study and hold its arms to the control."""
    control, arms = study(setting, draw)
    return [paired_difference(arm, control, SWAPS, draw) for arm in arms]


def against_each_other(setting: Setting, draw: np.random.Generator) -> list[Difference]:
    """Draw a study and hold its arms to each other."""
    _, arms = study(setting, draw)
    return [paired_difference(a, b, SWAPS, draw) for a, b in combinations(arms, 2)]


def rate(studies: int, happens: Callable[[np.random.Generator], bool], seed: int = 0) -> Rate:
    """Count in how many studies something happens."""
    draw = np.random.default_rng(seed)
    return Rate(sum(happens(draw) for _ in range(studies)), studies)


Family = Callable[[Setting, np.random.Generator], list[Difference]]


def false_finds(setting: Setting, family: Family, studies: int) -> Rate:
    """How many studies call any arm better or worse, when none is."""

    def found(draw: np.random.Generator) -> bool:
        findings = judge_family(family(setting, draw), "higher", Rules())
        return any(each.verdict in ("better", "worse") for each in findings)

    return rate(studies, found)


def coverage(setting: Setting, studies: int) -> Rate:
    """How many 95 % intervals of a difference hold the true one (accuracy alone)."""

    def held(draw: np.random.Generator) -> bool:
        first = against_control(replace(setting, arms=1), draw)[0].estimate
        return first.low <= setting.effect <= first.high

    return rate(studies, held)


def coverage_of_one(setting: Setting, studies: int) -> Rate:
    """How many 95 % intervals of one model's accuracy hold the true one."""

    def held(draw: np.random.Generator) -> bool:
        found = estimate(study(replace(setting, arms=1), draw)[1][0])
        return found.low <= RATE <= found.high

    return rate(studies, held)


def false_equivalence(setting: Setting, studies: int) -> Rate:
    """How many studies call the first arm equivalent when it leads by exactly the margin."""
    rules = Rules(margin=setting.effect)

    def called(draw: np.random.Generator) -> bool:
        return (
            judge_family(against_control(setting, draw), "higher", rules)[0].verdict == "equivalent"
        )

    return rate(studies, called)


def power(setting: Setting, studies: int) -> Rate:
    """How many studies find the first arm's effect, with the items that a first study asks for.

    With one seed: how much seeds differ, three of them hardly tell a first study.
    """
    rules = Rules(effect=setting.effect)

    def found(draw: np.random.Generator) -> bool:
        pilot = judge_family(against_control(replace(setting, effect=0.0), draw), "higher", rules)
        clusters = pilot[0].clusters_needed
        items = 2 * int(clusters) if np.isfinite(clusters) else setting.items
        own = against_control(replace(setting, items=items), draw)
        return judge_family(own, "higher", rules)[0].verdict == "better"

    return rate(studies, found)


def power_at_smallest(setting: Setting, studies: int) -> Rate:
    """How many studies find an effect of the size that the median study calls detectable."""
    draw = np.random.default_rng(1)
    sizes = [
        judge_family(against_control(setting, draw), "higher", Rules())[0].smallest_detectable
        for _ in range(41)
    ]
    large = replace(setting, effect=float(np.median(sizes)))

    def found(draw: np.random.Generator) -> bool:
        return judge_family(against_control(large, draw), "higher", Rules())[0].verdict == "better"

    return rate(studies, found)


def finds_of_a_bootstrap(setting: Setting, studies: int, resamples: int = 400) -> Rate:
    """How many studies a two-level percentile bootstrap tells apart, when no arms differ.

    Beside it stands a permutation of items with seeds averaged, corrected by Holm: what was here
    before. Arms against each other.
    """

    def found(draw: np.random.Generator) -> bool:
        _, arms = study(setting, draw)
        p, apart = [], []
        for a, b in combinations(arms, 2):
            table = a.pseudo_values - b.pseudo_values
            seeds, clusters = table.shape
            of_seeds = draw.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
            of_items = draw.multinomial(clusters, np.full(clusters, 1 / clusters), resamples)
            means = np.einsum("bs,sc,bc->b", of_seeds, table, of_items / clusters)
            low, high = np.quantile(means, [0.025, 0.975])
            apart.append(low > 0 or high < 0)
            own = table.mean(axis=0)
            signs = draw.integers(0, 2, (resamples, clusters)) * 2 - 1
            extreme = np.abs(signs @ own) >= abs(own.sum()) - 1e-12
            p.append((1 + int(extreme.sum())) / (1 + resamples))
        adjusted = corrected(p)
        return any(own and each < 0.05 for own, each in zip(apart, adjusted, strict=True))

    return rate(studies, found)


def all_rates(studies: int) -> Iterator[tuple[str, Rate]]:
    """Go through every setting that is quoted."""
    for metric in ("acc", "mcc"):
        yield (
            f"no difference, one seed, {metric}",
            false_finds(Setting(seeds=1, metric=metric), against_control, studies),
        )
    for seeds in (2, 3, 5):
        for sd in (0.0, 0.02, 0.06):
            setting = Setting(seeds=seeds, seed_sd=sd)
            name = f"{seeds} seeds, sd {sd}"
            yield (
                f"no difference, {name}, to control",
                false_finds(setting, against_control, studies),
            )
            yield (
                f"no difference, {name}, mutual",
                false_finds(setting, against_each_other, studies),
            )
    many = Setting(seeds=3, seed_sd=0.06, items=1000)
    yield (
        "no difference, 3 seeds, sd 0.06, 1000 items, mutual",
        false_finds(many, against_each_other, studies),
    )
    yield (
        "no difference, 3 seeds, sd 0.06, mcc, mutual",
        false_finds(Setting(seed_sd=0.06, metric="mcc"), against_each_other, studies),
    )
    for sd in (0.0, 0.02, 0.06):
        yield (
            f"the bootstrap before: 3 seeds, sd {sd}, mutual",
            finds_of_a_bootstrap(Setting(seed_sd=sd), studies),
        )
    yield (
        "the bootstrap before: 3 seeds, sd 0.06, 1000 items, mutual",
        finds_of_a_bootstrap(many, studies),
    )
    yield "coverage, one seed", coverage(Setting(seeds=1, effect=0.05), studies)
    yield "coverage of one model, one seed", coverage_of_one(Setting(seeds=1), studies)
    for sd in (0.0, 0.02, 0.06, 0.2):
        yield f"coverage, 3 seeds, sd {sd}", coverage(Setting(seed_sd=sd, effect=0.05), studies)
    one = Setting(seeds=1, effect=0.08)
    yield "power at the items asked for, one seed", power(one, studies)
    for seeds, sd in ((1, 0.0), (3, 0.0), (3, 0.02), (3, 0.06), (5, 0.02), (5, 0.06)):
        yield (
            f"power at the smallest detectable, {seeds} seeds, sd {sd}",
            power_at_smallest(Setting(seeds=seeds, seed_sd=sd), studies),
        )
    yield "called equivalent at the margin, one seed", false_equivalence(one, studies)
    yield (
        "called equivalent at the margin, 3 seeds, sd 0.02",
        false_equivalence(replace(one, seeds=3, seed_sd=0.02), studies),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    for said, found in all_rates(parser.parse_args().studies):
        print(f"{said:58} {found}", flush=True)
