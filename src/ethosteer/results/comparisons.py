"""Comparisons of two models on the same items, and what they show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Literal

from ethosteer.results.estimates import Estimate

Correction = Literal["holm", "bh"]
"""How p is corrected for multiple testing: Holm (1979), or Benjamini & Hochberg (1995)."""

Role = Literal["primary", "value profile", "exploratory"]
"""A comparison's role: a hypothesis of the study, a manipulation check, or neither."""

Verdict = Literal["better", "worse", "different", "equivalent", "undecided"]
"""What a comparison shows; "different" where neither direction is the better one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model ``a`` against model ``b`` on the same items: difference = a - b.

    ``family`` names the comparisons that p was corrected with; ``equivalence_p`` is the adjusted p
    of two one-sided tests against the preregistered margin; ``minimum_detectable`` is the true
    difference that is detected with 80 % power at the family's strictest level; ``items_needed``
    detect the preregistered effect so (inf: no number of items does, only more seeds). nan where
    unknown or not preregistered. ``seeds`` is the smaller number of two arms' seeds.

    ``difference`` has the 95 % interval; ``decision_low`` to ``decision_high`` is the one of
    confidence ``decision_level`` at which the verdict was decided, so that both agree.
    ``..._low`` and ``..._high`` of what can be detected are its 10 and 90 % quantiles by the
    uncertainty of the variances. ``room`` is by how much a can be better than b.
    """

    benchmark: str
    metric: str
    a: str
    b: str
    difference: Estimate
    p: float
    adjusted_p: float
    items: int
    clusters: int
    seeds: int
    minimum_detectable: float
    verdict: Verdict
    family: str = ""
    equivalence_p: float = float("nan")
    items_needed: float = float("nan")
    role: Role = "exploratory"
    decision_low: float = float("nan")
    decision_high: float = float("nan")
    decision_level: float = float("nan")
    minimum_detectable_low: float = float("nan")
    minimum_detectable_high: float = float("nan")
    items_needed_low: float = float("nan")
    items_needed_high: float = float("nan")
    room: float = float("inf")

    @property
    def decided(self) -> Estimate:
        """The difference with the interval by which its verdict was decided."""
        if isnan(self.decision_level):
            return self.difference
        return replace(self.difference, low=self.decision_low, high=self.decision_high)
