"""Families of comparisons: corrected p, equivalence, what could be detected, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ethosteer.results import Better, Correction, Estimate, Verdict
from ethosteer.statistics.metrics import Floats
from ethosteer.statistics.paired import NAN, Difference


@dataclass(frozen=True, slots=True)
class Rules:
    """The preregistered rules of a study's tests; ``margin`` and ``effect`` None where unset.

    ``margin`` is the largest difference that does not matter (equivalence), ``effect`` the smallest
    that a study should detect.
    """

    alpha: float = 0.05
    correction: Correction = "holm"
    margin: float | None = None
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of one difference within its family, and its evidence.

    ``equivalence_p`` is adjusted too. ``minimum_detectable`` and ``clusters_needed`` are those of
    the correction's strictest level. nan where unknown, or where no margin or effect was stated.
    """

    difference: Difference
    adjusted_p: float
    equivalence_p: float
    minimum_detectable: float
    clusters_needed: float
    verdict: Verdict


def family_decisions(
    differences: Sequence[Difference], better: Better, rules: Rules
) -> list[Decision]:
    """Correct a family of differences for multiple testing and decide what each shows.

    ``better`` is the direction in which the quantity compared improves.
    """
    adjusted = adjusted_p_values([difference.p for difference in differences], rules.correction)
    equivalence = [NAN] * len(differences)
    if rules.margin is not None:
        equivalence = adjusted_p_values(
            [difference.equivalence_p(rules.margin) for difference in differences], rules.correction
        )
    strictest = rules.alpha / max(1, len(differences))
    return [
        Decision(
            difference=difference,
            adjusted_p=p,
            equivalence_p=equivalence_p,
            minimum_detectable=difference.minimum_detectable(strictest),
            clusters_needed=NAN
            if rules.effect is None
            else difference.clusters_needed(rules.effect, strictest),
            verdict=verdict(difference.estimate, p, equivalence_p, better, rules.alpha),
        )
        for difference, p, equivalence_p in zip(differences, adjusted, equivalence, strict=True)
    ]


def verdict(
    difference: Estimate, adjusted_p: float, equivalence_p: float, better: Better, alpha: float
) -> Verdict:
    """Return the verdict of one comparison.

    Equivalence is tested first: a difference shown to lie within the margin does not matter, even
    if it is not 0. A difference needs an adjusted p below ``alpha`` and an interval without 0,
    since the two may come from different tests.
    """
    if equivalence_p < alpha:
        return "equivalent"
    if adjusted_p < alpha and (difference.low > 0 or difference.high < 0):
        if better == "none":
            return "different"
        return "better" if (difference.value > 0) == (better == "higher") else "worse"
    return "undecided"


def adjusted_p_values(p_values: Sequence[float], correction: Correction = "holm") -> list[float]:
    """Adjust a family's p by Holm (1979) or Benjamini & Hochberg (1995).

    nan stays nan and does not count as a member of the family.
    """
    from scipy.stats import false_discovery_control

    p = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p, np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjust = _holm if correction == "holm" else false_discovery_control
        adjusted[known] = adjust(p[known])
    return [float(value) for value in adjusted]


def _holm(p: Floats) -> Floats:
    """Holm's step-down adjustment; statsmodels' takes a fifth of a second at every call."""
    order = np.argsort(p)
    # times the number of hypotheses not yet rejected, and never below the adjusted p of a smaller p
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted
