"""The statistics keep what they promise in simulated studies, whole families at a time.

Few studies, so that these are quick: a rate fails where even its Clopper-Pearson interval, at a
level that suits how many are looked at, excludes what was promised. The module ``simulation``
prints many more settings, with as many studies as are asked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ethosteer.statistics.verdicts import Rules
from tests.statistics.power_bound import power_bound
from tests.statistics.simulated import Setting, models, study, true_value
from tests.statistics.simulation import (
    METHODS,
    Rate,
    by_method,
    claims,
    claims_by_bootstrap,
    covers,
    covers_together,
    covers_value,
    detects,
    equates,
    known_error_p,
    planned,
    rate,
    with_power,
)

STUDIES = 150
LEVEL = 0.998
"""Of the intervals that must contain what was promised: some forty are looked at."""
ONE_SEED = Setting(items=80, swaps=400)
SEEDS_DECIDE = Setting(items=600, seeds=3, seed_sd=0.3)
"""So many items that what varies is seeds: then no share of the error rate is given away."""


def at_most(measured: Rate, promised: float) -> bool:
    return measured.at_level(LEVEL)[0] <= promised


def at_least(measured: Rate, promised: float) -> bool:
    return measured.at_level(LEVEL)[1] >= promised


# --- the simulation itself


@pytest.mark.parametrize(
    ("metric", "value"), [("acc", 0.6), ("mcc", 0.3), ("balanced_acc", 0.6), ("auc", 0.65)]
)
def test_models_have_the_metric_that_the_setting_says(metric, value):
    setting = Setting(
        metric, items=1000, seeds=5, seed_sd=0.2, value=value, lead=0.1, positives=0.3
    )
    assert setting.truths == pytest.approx([value, value + 0.1, value, value, value])
    draw = np.random.default_rng(0)
    values = np.mean([[model.value for model in models(setting, draw)] for _ in range(60)], axis=0)
    assert values == pytest.approx(setting.truths, abs=0.03)


def test_seeds_move_the_arms_that_vary():
    setting = Setting(items=20_000, seeds=40, seed_sd=0.3, varied=1, arms=2)
    control, first, second = models(setting, np.random.default_rng(0))
    assert (control.seeds, control.items) == (1, 20_000)
    # the density of the normal distribution at .6 is .386
    assert first.by_seed.std() == pytest.approx(0.3 * 0.386, rel=0.3)
    assert second.by_seed.std() < 0.01


def test_a_metric_is_averaged_over_seeds():
    # the normal distribution of skill + noise has variance 1 + .5^2
    expected = 0.7257468822  # of .6 standard deviations
    skill = 0.6 * np.sqrt(1.25)
    assert true_value(Setting(), skill, 0.5) == pytest.approx(expected, abs=1e-9)


def test_models_answer_alike_and_items_of_a_cluster_too():
    a, b, *_ = models(Setting(items=40_000), np.random.default_rng(2))
    right = [model.sums[0, :, 0] for model in (a, b)]
    assert np.corrcoef(right[0], right[1])[0, 1] > 0.4
    # clusters' sums vary more than those of two unlike items: 2 * 0.24 = 0.48
    assert right[0].var() > 0.6


def test_unequal_clusters_have_1_or_12_items():
    model, *_ = models(Setting(items=4000, clusters="unequal"), np.random.default_rng(3))
    sizes = model.sums[0, :, 1]
    assert sizes.sum() == 4000
    assert set(sizes[:-1]) == {1, 12}
    assert model.mean_size_by_item == pytest.approx((sizes**2).sum() / 4000)


def test_a_study_is_one_family_of_the_pairs_of_its_design():
    draw = np.random.default_rng(3)
    assert len(study(ONE_SEED, Rules(), draw)) == 4
    assert len(study(replace(ONE_SEED, design="each other"), Rules(), draw)) == 6


def test_a_rate_has_the_clopper_pearson_interval():
    # of 0 in 20: up to 1 - 0.025^(1/20)
    assert Rate(0, 20).interval == pytest.approx((0.0, 0.168433), abs=1e-6)
    assert Rate(20, 20).interval == pytest.approx((1 - 0.168433, 1.0), abs=1e-6)


# --- errors


@pytest.mark.parametrize("design", ["control", "each other"])
@pytest.mark.parametrize("metric", ["acc", "mcc"])
def test_with_one_seed_models_that_are_alike_are_seldom_told_apart(metric, design):
    setting = replace(ONE_SEED, metric=metric, value=0.3, design=design)
    assert at_most(rate(claims, setting, STUDIES), 0.05)


@pytest.mark.parametrize("clusters", ["single", "unequal"])
def test_whatever_the_clusters_alike_models_are_seldom_told_apart(clusters):
    assert at_most(rate(claims, replace(ONE_SEED, clusters=clusters), STUDIES), 0.05)


@pytest.mark.parametrize("design", ["control", "each other"])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("varied", [1, 2, 4])
def test_where_seeds_decide_alike_models_are_seldom_told_apart(seeds, design, varied):
    setting = replace(SEEDS_DECIDE, seeds=seeds, design=design, varied=varied)
    assert at_most(rate(claims, setting, STUDIES), 0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_seeds_matter_little_no_error_is_made_more_often(seeds):
    setting = Setting("mcc", items=80, value=0.2, seeds=seeds, seed_sd=0.05)
    assert at_most(rate(claims, setting, STUDIES), 0.05)


def test_proportions_that_mirror_each_other_are_as_far_from_one_half():
    # 51 % against 49 %: the test of equal proportions claims a difference in a third of studies
    setting = Setting("distance", items=1508, value=0.49, lead=0.02, ahead=4, swaps=200)
    assert at_most(rate(claims, setting, 100), 0.05)


def test_the_bootstrap_of_three_seeds_errs_far_too_often():
    setting = replace(SEEDS_DECIDE, items=160, design="each other")
    assert rate(claims_by_bootstrap, setting, 60).interval[0] > 0.05


def test_satterthwaites_and_fixed_seeds_err_too_often_where_seeds_decide():
    for method in ("Satterthwaite", "items only"):
        measured = rate(by_method(METHODS[method], power=False), SEEDS_DECIDE, 3 * STUDIES)
        assert measured.interval[0] > 0.05, method


# --- equivalence


@pytest.mark.parametrize(
    "setting",
    [
        Setting(items=400, lead=0.1, swaps=200),
        Setting(items=400, lead=0.1, seeds=3, seed_sd=0.15, swaps=200),
        Setting(items=400, lead=0.1, clusters="unequal", swaps=200),
        Setting("balanced_acc", items=400, lead=0.1, positives=0.02, swaps=1),
        Setting("mcc", value=0.2, items=400, lead=0.1, positives=0.02, swaps=1),
        Setting("auc", value=0.65, items=400, lead=0.1, positives=0.02),
        Setting("margin", noise="rare", value=0.0, items=200, lead=0.02, swaps=1),
        Setting("margin", noise="lognormal", value=0.2, items=60, lead=0.5, swaps=1),
        Setting("margin", noise="lognormal", value=0.2, items=200, lead=0.5, swaps=1),
    ],
    ids=lambda setting: setting.name,
)
def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent(setting):
    setting = replace(setting, ahead=4)
    assert at_most(rate(equates, setting, STUDIES), 0.05)


def test_equivalence_can_be_shown():
    # the second arm equals the control; the margin is what the first one differs by
    setting = Setting("margin", noise="normal", value=0.0, items=400, arms=2, lead=0.4, swaps=1)
    assert rate(equates, setting, 40).share > 0.9


# --- intervals


@pytest.mark.parametrize(("metric", "value"), [("acc", 0.6), ("mcc", 0.2)])
@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.15), (5, 0.05)])
def test_95_percent_of_intervals_or_more_contain_the_truth(metric, value, seeds, seed_sd):
    # with few seeds more than 95 % do: that is not demanded
    setting = Setting(
        metric, items=80, value=value, seeds=seeds, seed_sd=seed_sd, lead=0.1, swaps=1
    )
    assert at_least(rate(covers, setting, STUDIES), 0.95)
    assert at_least(rate(covers_value, setting, STUDIES), 0.95)


@pytest.mark.parametrize("varied", [1, 2, 4])
def test_an_arm_that_varies_more_than_the_others_has_intervals_that_cover(varied):
    setting = replace(SEEDS_DECIDE, varied=varied, lead=0.1)
    assert at_least(rate(covers, setting, STUDIES), 0.95)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_intervals_that_decided_contain_the_truth_together(seeds):
    setting = Setting(items=160, seeds=seeds, seed_sd=0.1, lead=0.15, ahead=2, swaps=400)
    assert at_least(rate(covers_together, setting, STUDIES), 0.95)


def test_the_interval_of_a_distance_from_one_half_covers_on_both_sides():
    setting = Setting("distance", items=400, value=0.49, lead=0.02, swaps=1)
    assert at_least(rate(covers, setting, STUDIES), 0.95)


@pytest.mark.parametrize("seeds", [2, 5])
def test_intervals_are_near_95_percent_where_seeds_decide(seeds):
    measured = rate(covers_value, replace(SEEDS_DECIDE, seeds=seeds), 2 * STUDIES)
    assert at_least(measured, 0.95)
    assert measured.share < 0.99, "and are no wider than they need be"


# --- power


@pytest.mark.parametrize(("seeds", "lead"), [(1, 0.1), (3, 0.2)], ids=["one seed", "three seeds"])
@pytest.mark.parametrize("metric", ["acc", "mcc"])
def test_the_items_needed_detect_the_effect_four_times_in_five(metric, seeds, lead):
    # mcc is twice as far ahead, so that it needs as many items as acc and is as quick
    value, lead = (0.2, 2 * lead) if metric == "mcc" else (0.6, lead)
    setting = planned(Setting(metric, seeds=seeds, value=value, lead=lead), pilots=60)
    assert at_least(rate(detects, setting, 100), 0.8)


def test_the_items_needed_detect_the_effect_where_seeds_matter():
    setting = planned(Setting(seeds=5, seed_sd=0.15, lead=0.2), pilots=60)
    assert at_least(rate(detects, setting, STUDIES), 0.8)
    assert setting.items > planned(Setting(seeds=5, lead=0.2), pilots=60).items


def test_arms_that_vary_alike_lend_each_other_power():
    # z with the known error detects 77 %
    setting = with_power(Setting(seeds=3, swaps=1))
    known = rate(by_method(known_error_p(setting), power=True), setting, STUDIES)
    alone = rate(by_method(METHODS["without moderation"], power=True), setting, STUDIES)
    assert at_least(known, 0.77)
    assert rate(detects, setting, STUDIES).share > alone.share + 0.05


def test_no_test_of_three_seeds_of_one_arm_has_the_power_of_arms_that_vary_alike():
    # without interaction nothing needs to be known of seeds: the bound is that of z
    assert power_bound(0.001, df=2, alpha=0.05) == pytest.approx(0.77, abs=0.01)
    alone = power_bound(0.2, df=2, alpha=0.0125)
    together = power_bound(0.2, df=8, alpha=0.0125)
    assert alone < 0.55
    assert together > 0.7
