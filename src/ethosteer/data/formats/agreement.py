"""Krippendorff's alpha of nominal judgements."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np


def nominal_alpha(counts: Sequence[Sequence[int]]) -> float:
    """Return Krippendorff's alpha for nominal data (Krippendorff 2011, section C).

    counts: ``[units, categories]``, how many annotators put a unit into a category. Units with
    fewer than two judgements do not count. NaN where there is no such unit, or one category only.
    """
    table = np.asarray([row for row in counts if sum(row) >= 2], dtype=float)
    if not len(table):
        return nan
    judgements = table.sum(axis=1)
    # ordered pairs of unlike judgements of a unit, over the judgements that each can be paired with
    unlike = judgements**2 - (table**2).sum(axis=1)
    observed = (unlike / (judgements - 1)).sum()
    totals = table.sum(axis=0)
    expected = (totals.sum() ** 2 - (totals**2).sum()) / (totals.sum() - 1)
    return float(1 - observed / expected) if expected else nan
