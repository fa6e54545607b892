"""A permutation test in chunks has the p of one in a single piece."""

import numpy as np
import pytest

from ethosteer.statistics import paired
from ethosteer.statistics.paired import clustered_values, paired_difference


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    a, b = (clustered_values([draw.normal(size=31) + shift]) for shift in (0.0, 0.3))
    whole = paired_difference(a, b, 1000, np.random.default_rng(1)).exact_p
    monkeypatch.setattr(paired, "SWAPS_AT_ONCE", 31 * 7)
    assert paired_difference(a, b, 1000, np.random.default_rng(1)).exact_p == whole
    assert whole is not None
    assert 0 < whole < 1
    assert paired_difference(a, b, 0, np.random.default_rng(1)).exact_p == 1.0
