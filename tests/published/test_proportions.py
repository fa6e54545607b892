"""Counts alone: bounds of exact tests by hand, intervals against published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from ethosteer.published.proportions import (
    correlation,
    detectable_lead,
    detectable_rates,
    mcnemar_bounds,
    most_discordant,
    paired_sample_size,
    sample_size,
    unpaired_difference,
    wilson,
)
from ethosteer.statistics.paired import mcnemar


def test_wilsons_interval_by_hand():
    # Newcombe 1998 (paper I), example (a): 81 of 263 is .3080, .2553 to .3662
    found = wilson(81, 263)
    assert (found.value, found.low, found.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)


def test_bounds_of_mcnemar_by_hand():
    # 1,049 and 1,061 of 1,677: 12 at least, all one way: 2 / 2^12; at most the 616 + 628 that
    # either had wrong
    found = mcnemar_bounds(1049, 1061, 1677)
    assert (found.fewest, found.most) == (12, 1244)
    assert found.lowest_p == pytest.approx(2**-11)
    assert found.highest_p == pytest.approx(stats.binomtest(628, 1244).pvalue)
    equal = mcnemar_bounds(240, 240, 273)
    assert (equal.fewest, equal.lowest_p, equal.highest_p) == (0, 1.0, 1.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_whatever_the_items_were_p_lies_within_its_bounds(answers):
    a, b = (np.array(own) for own in zip(*answers, strict=True))
    bounds = mcnemar_bounds(int(a.sum()), int(b.sum()), len(a))
    assert bounds.fewest <= int(np.sum(a ^ b)) <= bounds.most
    assert bounds.lowest_p - 1e-12 <= mcnemar(a, b) <= bounds.highest_p + 1e-12


def discordant(a: int, b: int, items: int, alpha: float) -> int | None:
    return most_discordant([mcnemar_bounds(a, b, items)], alpha)[0]


def test_how_many_items_may_be_discordant_by_hand():
    # a lead of 6 counts at .05 on 6 items (2 / 64 = .031), not on 8 (2 (1 + 8) / 256 = .070)
    assert discordant(234, 240, 273, 0.05) == 6
    # nor on 6 at .01, and a lead of 5 (2 / 32) never at .05
    assert discordant(234, 240, 273, 0.01) is None
    assert discordant(235, 240, 273, 0.05) is None
    assert discordant(240, 240, 273, 0.05) is None


def test_a_pair_needs_what_holm_asks_with_the_others_at_their_best():
    # leads of 6 (p .031 at best) and 12 (2^-11 at best): the first may have .05 after the second
    family = [mcnemar_bounds(234, 240, 273), mcnemar_bounds(228, 240, 273)]
    assert most_discordant(family, 0.05)[0] == 6
    # two leads of 6 would need .025 for either
    assert most_discordant([family[0], family[0]], 0.05) == [None, None]
    # 16 to 4 of 20: 2 (1 + 20 + 190 + 1140 + 4845) / 2^20 = .0118; 17 to 5 of 22: .0169;
    # 18 to 6 of 24: .0227; 19 to 7 of 26: .029, above .025 as the first has .031 only
    assert most_discordant(family, 0.05)[1] == 24


def test_what_two_samples_find_by_hand():
    # Cohen's h is 2 asin(sqrt(.6)) - 2 asin(sqrt(.5)) = .2014; 2 (1.96 + .8416)^2 / h^2
    assert sample_size(0.6, 0.5, 0.05) == math.ceil(2 * (1.959964 + 0.841621) ** 2 / 0.2013579**2)
    assert sample_size(0.5, 0.5, 0.05) == math.inf
    needed = int(sample_size(0.6, 0.5, 0.05))
    assert detectable_rates(0.5, needed, needed, 0.05) == pytest.approx((0.4, 0.6), abs=2e-4)
    # of fewer others, the root of the mean of 1 / items counts: 300 and 150 are as 200 and 200
    assert detectable_rates(0.5, 300, 150, 0.05) == pytest.approx(
        detectable_rates(0.5, 200, 200, 0.05)
    )
    below, above = detectable_rates(0.95, 20, 20, 0.05)
    assert 0 < below < 0.95
    assert math.isnan(above), "even 20 of 20 is not told from 19 of 20"
    assert all(math.isnan(end) for end in detectable_rates(0.5, 20, 0, 0.05))


def test_how_many_items_pairing_needs_by_hand():
    # Connett et al.: (1.96 sqrt(.1) + .8416 sqrt(.1 - .05^2))^2 / .05^2
    expected = (1.959964 * math.sqrt(0.1) + 0.841621 * math.sqrt(0.0975)) ** 2 / 0.05**2
    assert (
        paired_sample_size(0.05, 0.1, 0.05)
        == paired_sample_size(-0.05, 0.1, 0.05)
        == math.ceil(expected)
    )
    assert detectable_lead(0.1, math.ceil(expected), 0.05) == pytest.approx(0.05, abs=1e-4)
    assert paired_sample_size(0.0, 0.1, 0.05) == math.inf
    assert math.isnan(paired_sample_size(0.2, 0.1, 0.05)), (
        "a lead of 20 % has at least 20 % discordant"
    )


def test_what_pairing_finds_is_what_simulated_pairs_find():
    items, discordant = 400, 0.1
    lead = detectable_lead(discordant, items, 0.05)
    draw = np.random.default_rng(0)
    one_way = (discordant + lead) / 2
    found = 0
    for _ in range(1500):
        only_a, only_b, _ = draw.multinomial(items, [one_way, discordant - one_way, 1 - discordant])
        # the mid-p test, as the formula is of the test without continuity correction
        test = stats.binom(only_a + only_b, 0.5)
        most = max(only_a, only_b)
        found += 2 * test.sf(most) + test.pmf(most) < 0.05
    assert found / 1500 == pytest.approx(0.8, abs=0.04)
    assert math.isnan(detectable_lead(0.02, 273, 0.01)), "5 items all one way are too few"


def test_newcombes_interval_is_his_published_one():
    # Newcombe 1998 (paper II), method 10, example (a): 56 of 70 less 48 of 80, .0524 to .3339
    found, _ = unpaired_difference(56, 70, 48, 80)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Fisher's tea: 3 of 4 against 1 of 4 is 34 / 70
    assert unpaired_difference(3, 4, 1, 4)[1] == pytest.approx(34 / 70)


def test_fishers_p_is_that_of_the_hypergeometric_tables():
    # base and fine-tuned on Scruples: 40 of 59 and 67 of 139 answers right
    tables = stats.hypergeom(198, 107, 59)
    chance = [tables.pmf(right) for right in range(60)]
    expected = sum(each for each in chance if each <= chance[40] * (1 + 1e-9))
    assert unpaired_difference(40, 59, 67, 139)[1] == pytest.approx(expected)


def test_of_no_items_nothing_is_known():
    assert math.isnan(wilson(0, 0).value)
    none, p = unpaired_difference(0, 0, 1, 2)
    assert math.isnan(p)
    assert math.isnan(none.low)
    one, _ = correlation(1, 0, 0, 0)
    assert math.isnan(one.value)


def test_a_confusion_table_has_its_correlation_by_hand():
    found, p = correlation(18, 8, 4, 18)
    # (18 * 8 - 4 * 18) / sqrt(22 * 36 * 12 * 26)
    assert found.value == pytest.approx(72 / math.sqrt(22 * 36 * 12 * 26))
    assert found.n == 48
    labels, said = [1] * 18 + [0] * 8 + [0] * 4 + [1] * 18, [1] * 18 + [0] * 8 + [1] * 4 + [0] * 18
    assert found.value == pytest.approx(matthews_corrcoef(labels, said))
    assert found.low < 0 < found.high
    assert p > 0.4
    sure, small = correlation(40, 40, 2, 2)
    assert sure.low > 0.7
    assert small < 1e-6
