"""Whole families of simulated studies: how often the statistics err, cover, detect and equate.

``python -m tests.statistics.simulation --studies 1000`` prints one table; ``simulated`` says how
studies are drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import stats

from ethosteer.statistics.metrics import Floats
from ethosteer.statistics.paired import Clustered, Difference, estimate, paired_difference
from ethosteer.statistics.uncertainty import Uncertainty
from ethosteer.statistics.verdicts import Rules, adjusted_p_values
from tests.statistics.power_bound import power_bound
from tests.statistics.simulated import Setting, differences, models, study, true_differences

BOOTSTRAP = 500

# --- what is counted


def claims(setting: Setting, draw: np.random.Generator) -> bool:
    """Is any model called better or worse?"""
    return any(
        decision.verdict in {"better", "worse"} for decision in study(setting, Rules(), draw)
    )


def covers(setting: Setting, draw: np.random.Generator) -> bool:
    """Does the first comparison's 95 % interval contain the true difference?"""
    interval = study(setting, Rules(), draw)[0].difference.estimate
    return interval.low <= true_differences(setting)[0] <= interval.high


def covers_together(setting: Setting, draw: np.random.Generator) -> bool:
    """Do the intervals by which verdicts were decided all contain the true differences?"""
    return all(
        decision.low <= truth <= decision.high
        for decision, truth in zip(
            study(setting, Rules(), draw), true_differences(setting), strict=True
        )
    )


def covers_value(setting: Setting, draw: np.random.Generator) -> bool:
    """Does the interval of the first arm's metric contain its true value?"""
    interval = estimate(models(setting, draw)[1])
    return interval.low <= setting.truths[1] <= interval.high


def detects(setting: Setting, draw: np.random.Generator) -> bool:
    """Is the first arm, which is better, called better?"""
    return study(setting, Rules(), draw)[0].verdict == "better"


def equates(setting: Setting, draw: np.random.Generator) -> bool:
    """Is any arm called equivalent, with a margin that is the first arm's true difference?"""
    rules = Rules(margin=abs(true_differences(setting)[0]))
    return any(decision.verdict == "equivalent" for decision in study(setting, rules, draw))


# --- other methods, by what they replace our p with

PValue = Callable[[Difference], float]


def unmoderated_p(difference: Difference) -> float:
    """P by an arm's seed variance alone, as a generalised confidence interval."""
    return difference.p


def satterthwaite_p(difference: Difference) -> float:
    """P of Student's t with Satterthwaite's (1946) degrees of freedom."""
    error = difference.error
    variances = (error.item_variance, error.seed_variance, error.interaction_variance)
    df = (error.item_df, error.seed_df, error.item_df * error.seed_df)
    terms = [v**2 / d for v, d in zip(variances, df, strict=True) if d]
    freedom = error.standard_error**4 / sum(terms)
    return float(2 * stats.t.sf(abs(difference.centre) / error.standard_error, freedom))


def items_only_p(difference: Difference) -> float:
    """P of Student's t over items, with seeds averaged as if they were fixed."""
    error = difference.error
    t = abs(difference.centre) / np.sqrt(error.item_variance)
    return float(2 * stats.t.sf(t, error.item_df))


def by_method(p_value: PValue, power: bool) -> Count:
    """Count studies in which a method's p, corrected by Holm, rejects: the first arm, or any."""

    def count(setting: Setting, draw: np.random.Generator) -> bool:
        simulated = models(setting, draw)
        family = [paired_difference(simulated[a], simulated[b], 1, draw) for a, b in setting.pairs]
        adjusted = adjusted_p_values([p_value(difference) for difference in family])
        return adjusted[0] < 0.05 and family[0].centre > 0 if power else min(adjusted) < 0.05

    return count


@lru_cache
def known_error(setting: Setting, pilots: int = 400) -> float:
    """Return the true error of the first difference: its standard deviation over pilot studies."""
    draw = np.random.default_rng(12)
    centres = []
    for _ in range(pilots):
        control, arm, *_ = models(replace(setting, arms=1), draw)
        centres.append(paired_difference(arm, control, 1, draw).centre)
    return float(np.std(centres, ddof=1))


def known_error_p(setting: Setting) -> PValue:
    """Return p of z with the true error."""
    error = known_error(setting)
    return lambda difference: float(2 * stats.norm.sf(abs(difference.centre) / error))


def with_power(setting: Setting, power: float = 0.77) -> Setting:
    """Return the setting with the lead that z with the known error detects with that power."""
    alpha = Rules().alpha / len(setting.pairs)
    z = stats.norm.isf(alpha / 2) + stats.norm.ppf(power)
    for _ in range(3):  # the error grows a little with the lead
        setting = replace(setting, lead=round(float(z * known_error(setting)), 3))
    return setting


def claims_by_bootstrap(setting: Setting, draw: np.random.Generator) -> bool:
    """Would the percentile bootstrap of seeds and clusters call any model better or worse?

    Its p is that of swaps of clusters, corrected by Holm, and its interval leaves out 0.
    """
    simulated = models(setting, draw)
    results = [_bootstrap(simulated[a], simulated[b], BOOTSTRAP, draw) for a, b in setting.pairs]
    adjusted = adjusted_p_values([p for p, _, _ in results])
    return any(
        p < 0.05 and (low > 0 or high < 0)
        for p, (_, low, high) in zip(adjusted, results, strict=True)
    )


def _bootstrap(
    a: Clustered, b: Clustered, resamples: int, draw: np.random.Generator
) -> tuple[float, float, float]:
    def weights(count: int) -> Floats:
        return draw.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)

    clusters, of_a = weights(a.clusters), weights(a.seeds)
    of_b = of_a if a.seeds == b.seeds else weights(b.seeds)
    sums = [
        np.einsum("rc,rs,sck->rk", clusters, seeds, model.sums, optimize=True)
        for model, seeds in ((a, of_a), (b, of_b))
    ]
    drawn = [a.quantity.combine(sums[0]), b.quantity.combine(sums[1])]
    low, high = np.nanquantile(drawn[0] - drawn[1], [0.025, 0.975])
    mean_a, mean_b = a.sums.mean(axis=0), b.sums.mean(axis=0)
    moved = draw.integers(0, 2, size=(resamples, a.clusters)).astype(float) @ (mean_b - mean_a)
    combine = a.quantity.combine
    swapped = combine(mean_a.sum(axis=0) + moved) - combine(mean_b.sum(axis=0) - moved)
    observed = abs(float(combine(mean_a.sum(axis=0)) - combine(mean_b.sum(axis=0))))
    extreme = int(np.sum(np.abs(swapped) >= observed - 1e-12))
    return (1 + extreme) / (1 + resamples), float(low), float(high)


@lru_cache
def planned(setting: Setting, pilots: int = 200) -> Setting:
    """Return the setting with as many items as ``clusters_needed`` says for the first arm's lead.

    It is asked with the mean variances of many pilot studies, which is to know them.
    """
    draw = np.random.default_rng(11)
    pilot_differences = [differences(replace(setting, swaps=1), draw)[0] for _ in range(pilots)]
    errors = [first.error for first in pilot_differences if isinstance(first, Difference)]
    clusters = float(np.mean([error.item_df + 1 for error in errors]))
    known = Uncertainty(
        item_variance=float(np.mean([error.item_variance for error in errors])),
        item_df=clusters - 1,
        seed_variance=float(np.mean([error.seed_variance for error in errors])),
        seed_df=float(np.median([error.seed_df for error in errors])),
        interaction_variance=float(np.mean([error.interaction_variance for error in errors])),
    )
    question = Difference(0.0, setting.items, 0.0, known, known)
    needed = question.clusters_needed(setting.lead, Rules().alpha / len(setting.pairs))
    return replace(setting, items=int(np.ceil(needed * setting.items / clusters)))


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
        interval = stats.binomtest(self.count, self.studies).proportion_ci(level, "exact")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:6.1%} [{low:.1%}, {high:.1%}]"


Count = Callable[[Setting, np.random.Generator], bool]


def rate(count: Count, setting: Setting, studies: int, seed: int = 0) -> Rate:
    """Simulate ``studies`` and count those of which ``count`` is true."""
    draw = np.random.default_rng(seed)
    return Rate(sum(bool(count(setting, draw)) for _ in range(studies)), studies)


# --- the table

Row = tuple[str, float | None, Count, Setting]
"""What is counted, what is promised (an upper bound below 0.5, else a lower), how, and of what."""


def false_claims() -> Iterator[Row]:
    """Yield the settings in which no arm differs from another."""
    text = "false claims in the family"
    one_seed = Setting()
    for setting in (
        one_seed,
        replace(one_seed, noise="uniform"),
        replace(one_seed, clusters="single"),
        replace(one_seed, clusters="unequal", items=400),
        *(replace(one_seed, items=items) for items in (20, 60)),
        *(replace(one_seed, arms=arms) for arms in (2, 12)),
        replace(one_seed, design="each other"),
        replace(one_seed, metric="mcc", value=0.2),
        replace(one_seed, metric="balanced_acc", positives=0.1, items=400),
        replace(one_seed, metric="auc", positives=0.1, items=400),
        *(
            replace(one_seed, metric="margin", noise=noise, items=items)
            for noise in ("t3", "lognormal", "rare")
            for items in (60, 200)
        ),
    ):
        yield text, 0.05, claims, setting
    for seeds in (2, 3, 5):
        for seed_sd in (0.0, 0.05, 0.15):
            yield text, 0.05, claims, Setting(seeds=seeds, seed_sd=seed_sd)
        decisive = Setting(seeds=seeds, seed_sd=0.3, items=600)
        yield text, 0.05, claims, decisive
        for varied in (1, 2):
            yield text, 0.05, claims, replace(decisive, varied=varied)
        yield text, 0.05, claims, replace(decisive, design="each other")
        yield text, 0.05, claims, replace(decisive, design="each other", varied=2)
    for arms in (2, 12):
        for varied in (1, arms):
            setting = Setting(seeds=3, seed_sd=0.3, items=600, arms=arms, varied=varied)
            yield text, 0.05, claims, setting
    three_seeds = Setting(seeds=3, seed_sd=0.15)
    yield text, 0.05, claims, replace(three_seeds, metric="mcc", value=0.2)
    yield text, 0.05, claims, replace(three_seeds, metric="auc", value=0.65)
    yield text, 0.05, claims, replace(three_seeds, metric="margin", value=0.25)
    for seeds, seed_sd in ((1, 0.0), (3, 0.05), (3, 0.15)):
        mirrored = Setting("distance", value=0.49, lead=0.02, ahead=4, seeds=seeds, seed_sd=seed_sd)
        for items in (160, 1508):
            yield text + ", 51 % against 49 %", 0.05, claims, replace(mirrored, items=items)


def coverage() -> Iterator[Row]:
    """Yield the settings in which intervals should contain the truth."""
    seeded = ((1, 0.0), (2, 0.15), (3, 0.0), (3, 0.05), (3, 0.15), (5, 0.15))
    settings = [Setting(lead=0.1, seeds=seeds, seed_sd=seed_sd) for seeds, seed_sd in seeded]
    settings += [
        Setting(items=20, lead=0.1),
        Setting(items=60, lead=0.1, clusters="single"),
        Setting(items=400, lead=0.1, clusters="unequal"),
        Setting(lead=0.1, seeds=3, seed_sd=0.3, items=600, varied=1),
        Setting(lead=0.1, seeds=3, seed_sd=0.3, items=600, varied=2),
        Setting("mcc", value=0.2, lead=0.2),
        Setting("mcc", value=0.2, lead=0.2, seeds=3, seed_sd=0.15),
        Setting("balanced_acc", lead=0.05, positives=0.1, items=400),
        Setting("auc", value=0.65, lead=0.05, positives=0.1, items=400),
        Setting("auc", value=0.65, lead=0.1, seeds=3, seed_sd=0.15),
        Setting("margin", value=0.25, lead=0.2, noise="t3"),
        Setting("margin", value=0.25, lead=0.2, noise="lognormal", items=200),
    ]
    settings += [
        Setting("distance", value=value, lead=0.02, items=items, seeds=seeds, seed_sd=0.05)
        for value in (0.49, 0.6)
        for items, seeds in ((160, 1), (1508, 3))
    ]
    for setting in settings:
        yield "95 % interval of a difference contains it", 0.95, covers, setting
    for setting in settings:
        text = "intervals that decided all contain the truth"
        yield text, 0.95, covers_together, replace(setting, ahead=2)
    for setting in settings[:9]:
        yield "95 % interval of a value contains it", 0.95, covers_value, setting


def false_equivalence() -> Iterator[Row]:
    """Yield the settings in which every arm differs from the control by the margin."""
    settings = [
        Setting(lead=0.1, items=items, clusters=clusters)
        for items in (60, 400)
        for clusters in ("single", "twins", "unequal")
    ]
    settings += [
        Setting(lead=0.1, items=600, seeds=seeds, seed_sd=seed_sd)
        for seeds, seed_sd in ((2, 0.0), (3, 0.0), (3, 0.05), (3, 0.15), (5, 0.05))
    ]
    classes = [
        Setting("mcc", value=0.2, lead=0.1),
        Setting("balanced_acc", value=0.6, lead=0.1),
        Setting("auc", value=0.65, lead=0.1),
    ]
    settings += [
        replace(setting, items=items, positives=positives)
        for setting in classes
        for positives, items in ((0.02, 400), (0.02, 2000), (0.1, 400), (0.5, 600))
    ]
    settings += [
        Setting("margin", value=0.25, lead=0.5, noise=noise, items=items)
        for noise in ("normal", "t3", "lognormal")
        for items in (40, 60, 200, 600)
    ]
    settings += [
        Setting("margin", value=0.0, lead=0.02, noise="rare", items=items) for items in (60, 200)
    ]
    settings += [Setting("distance", value=0.5, lead=0.1, items=600)]
    for setting in settings:
        text = "false equivalence in the family"
        yield text, 0.05, equates, replace(setting, ahead=setting.arms)


def power() -> Iterator[Row]:
    """Yield the power of our tests and of others, and how often the others err."""
    for unplanned in (
        Setting(seeds=3),
        Setting(seeds=3, clusters="single", items=300),
        Setting(seeds=3, seed_sd=0.02),
        *(Setting(seeds=3, arms=arms, clusters="single", items=300) for arms in (1, 2, 12)),
        Setting(seeds=5),
        Setting(seeds=5, seed_sd=0.05),
    ):
        setting = with_power(unplanned)
        yield "power", None, detects, setting
        for name, p_value in (*METHODS.items(), ("z with known error", known_error_p(setting))):
            yield f"power, {name}", None, by_method(p_value, power=True), setting
    for seed_sd in (0.0, 0.05, 0.3):
        setting = Setting(seeds=3, items=600, seed_sd=seed_sd)
        for name, p_value in METHODS.items():
            yield f"false claims, {name}", None, by_method(p_value, power=False), setting
    text = "false claims, two-level bootstrap"
    yield text, None, claims_by_bootstrap, Setting(seeds=3, seed_sd=0.3, items=600)
    for setting in (
        Setting(lead=0.1),
        Setting(lead=0.2, seeds=3),
        Setting("mcc", value=0.2, lead=0.2),
        Setting(lead=0.2, seeds=5, seed_sd=0.05),
    ):
        yield f"power, {setting.lead} ahead with the items needed", 0.8, detects, planned(setting)


METHODS: dict[str, PValue] = {
    "without moderation": unmoderated_p,
    "Satterthwaite": satterthwaite_p,
    "items only": items_only_p,
}


def table_row(row: Row, studies: int) -> str:
    """Simulate a row and format it; ``!`` marks a rate whose interval excludes what is promised."""
    text, promised, count, setting = row
    measured = rate(count, setting, studies)
    low, high = measured.interval
    broken = promised is not None and (low > promised if promised < 0.5 else high < promised)
    return f"{'!' if broken else ' '}{measured!s:24} {text}: {setting.name}"


def bounds() -> Iterator[str]:
    """Yield the power that no test of three seeds exceeds, where z with the true error has 77 %."""
    for alpha in (0.05, 0.0125):
        for arms in (1, 4):
            for interaction in (0.05, 0.2, 0.5):
                power = power_bound(interaction, df=2 * arms, alpha=alpha)
                alike = "one arm" if arms == 1 else f"{arms} arms that vary alike"
                text = f"3 seeds, {alike}, interaction {interaction:.0%} of the variance"
                yield f" {power:6.1%}{'':18} power that no test exceeds: {text}, level {alpha:g}"


GROUPS = {
    "claims": false_claims,
    "coverage": coverage,
    "equivalence": false_equivalence,
    "power": power,
}


def group_row(group: str, index: int, studies: int) -> str:
    """Simulate the row of that index of a group: rows hold functions that cannot be pickled."""
    return table_row(list(GROUPS[group]())[index], studies)


def main() -> None:
    """Print the rate of every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies a setting")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=GROUPS)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        for group in given.groups:
            rows = len(list(GROUPS[group]()))
            arguments = ([group] * rows, range(rows), [given.studies] * rows)
            for line in pool.map(group_row, *arguments):
                print(line, flush=True)
    for line in bounds():
        print(line, flush=True)


if __name__ == "__main__":
    main()
