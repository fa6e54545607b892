"""The ranking: errors over prompts and annotators, verdicts, and sources that are not linked."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from ethosteer.statistics.bradley_terry import (
    Comparisons,
    rank_sources,
    strength_errors,
)
from ethosteer.statistics.davidson import fit_davidson
from ethosteer.statistics.verdicts import Rules, adjusted_p_values
from tests.statistics.preferences import comparisons, drawn

STRENGTHS = (0.8, 0.1, -0.9)


def counts(data: Comparisons) -> np.ndarray:
    table = np.zeros((len(data.sources), len(data.sources), 3))
    for first, second, outcome in zip(data.first, data.second, data.outcomes, strict=True):
        table[first, second, 1 - outcome] += 1
    return table


def only(data: Comparisons, kept: np.ndarray) -> Comparisons:
    return replace(
        data,
        **{
            name: getattr(data, name)[kept]
            for name in ("first", "second", "outcomes", "prompts", "annotators")
        },
    )


def test_the_errors_are_those_of_leaving_each_cluster_out():
    """Against refits without each cluster; both are first-order, so that they agree nearly."""
    data = drawn(STRENGTHS, 600, np.random.default_rng(3), 40, 8, 0.8, 0.5)
    fit = fit_davidson(counts(data))
    errors = strength_errors(data, fit)
    for clusters, covariance in (
        (data.prompts, errors.prompts),
        (data.annotators, errors.annotators),
    ):
        names = np.unique(clusters)
        changes = np.stack(
            [
                fit_davidson(counts(only(data, clusters != name))).strengths - fit.strengths
                for name in names
            ]
        )
        expected = (len(names) - 1) / len(names) * changes.T @ changes
        assert np.diag(covariance) == pytest.approx(np.diag(expected), rel=0.1)


def test_independent_judgements_have_the_error_of_the_model():
    """One prompt and one cell each: the variance is robust, and the model holds."""
    data = drawn(STRENGTHS, 20_000, np.random.default_rng(5), 20_000, 50)
    errors = strength_errors(data, fit_davidson(counts(data)))
    for covariance in (errors.prompts, errors.cells):
        assert np.diag(covariance) == pytest.approx(np.diag(errors.model), rel=0.05)


def test_judgements_that_are_repeated_within_a_prompt_tell_nothing_new():
    data = drawn(STRENGTHS, 300, np.random.default_rng(7), 300, 1)
    fivefold = Comparisons(
        data.sources,
        *(
            np.repeat(getattr(data, name), 5)
            for name in ("first", "second", "outcomes", "prompts", "annotators")
        ),
    )
    once, often = (
        rank_sources(each, Rules()).comparisons[0].difference for each in (data, fivefold)
    )
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)


def test_annotators_who_differ_widen_the_interval():
    alike = drawn(STRENGTHS, 2_000, np.random.default_rng(1), 500, 6, 0.0, 0.0)
    unlike = drawn(STRENGTHS, 2_000, np.random.default_rng(1), 500, 6, 0.0, 1.0)
    widths = [
        sum(c.difference.high - c.difference.low for c in rank_sources(data, Rules()).comparisons)
        for data in (alike, unlike)
    ]
    assert widths[1] > 2 * widths[0]


def test_intervals_cover_strengths_of_prompts_and_annotators_that_vary():
    """All strengths are 0 on average, so that is their population's too.

    Of 300 intervals at 95 %, 15 miss; those of one study depend on each other, hence 30.
    """
    missed = 0
    for seed in range(100):
        data = drawn((0, 0, 0), 300, np.random.default_rng(seed), 60, 6, 0.8, 0.8)
        for comparison in rank_sources(data, Rules()).comparisons:
            difference = comparison.difference
            missed += not difference.low <= 0 <= difference.high
    assert missed <= 30


def test_the_ranking_and_its_verdicts():
    data = drawn((1.2, 0.0, -1.2), 3_000, np.random.default_rng(2), 400, 20, 0.3, 0.1)
    ranking = rank_sources(data, Rules())
    assert [strength.source for strength in ranking.strengths] == [
        "source 0", "source 1", "source 2",
    ]  # fmt: skip
    assert [comparison.verdict for comparison in ranking.comparisons] == ["better"] * 3
    assert [(c.a, c.b) for c in ranking.comparisons] == [
        ("source 0", "source 1"), ("source 0", "source 2"), ("source 1", "source 2"),
    ]  # fmt: skip
    assert (ranking.judgements, ranking.prompts, ranking.annotators) == (3_000, 400, 20)
    p = [comparison.p for comparison in ranking.comparisons]
    assert [c.adjusted_p for c in ranking.comparisons] == pytest.approx(adjusted_p_values(p))
    for comparison in ranking.comparisons:
        assert comparison.decision_level > 0.95 or comparison.adjusted_p == max(p)
        assert comparison.decision_low <= comparison.difference.value <= comparison.decision_high
    assert sum(s.wins for s in ranking.strengths) == sum(s.losses for s in ranking.strengths)
    assert sum(s.wins + s.ties + s.losses for s in ranking.strengths) == 6_000


def test_a_share_by_hand():
    """20 wins, 5 ties and 8 losses, each and 1/2: strengths of +-log(20.5 / 8.5) / 2."""
    rows = [("a", "b", 1)] * 20 + [("b", "a", 0)] * 5 + [("b", "a", 1)] * 8
    (a, b) = rank_sources(comparisons(rows), Rules()).strengths
    assert (a.source, a.wins, a.ties, a.losses) == ("a", 20, 5, 8)
    assert a.strength.value == pytest.approx(np.log(20.5 / 8.5) / 2, abs=1e-6)
    win, tie, loss = (20.5 / 8.5) ** 0.25, 5.5 / np.sqrt(20.5 * 8.5), (8.5 / 20.5) ** 0.25
    assert a.share.value == pytest.approx((win + tie / 2) / (win + tie + loss), abs=1e-6)
    assert a.share.value + b.share.value == pytest.approx(1)
    assert a.share.low < a.share.value < a.share.high


def test_a_source_that_won_everything_is_finite_and_its_error_is_not_too_small():
    rows = [("winner", "loser", 1)] * 20
    (comparison,) = rank_sources(comparisons(rows), Rules()).comparisons
    assert comparison.difference.value == pytest.approx(np.log(20.5 / 0.5), abs=1e-6)
    # a log odds of 20.5 to 0.5 has a standard error of 1.4 or so
    assert comparison.difference.high - comparison.difference.low > 4
    assert comparison.verdict == "better"
    (few,) = rank_sources(comparisons(rows[:3]), Rules()).comparisons
    assert few.verdict == "undecided"


def test_sources_that_no_judgement_links_are_not_compared():
    rows = [("a", "b", 1), ("b", "a", 1), ("a", "b", 1), ("c", "d", -1), ("d", "e", 1)] * 6
    ranking = rank_sources(comparisons(rows), Rules())
    assert ranking.components == 2
    assert {(c.a, c.b) for c in ranking.comparisons} == {
        ("a", "b"), ("d", "c"), ("d", "e"), ("e", "c"),
    } or {(c.a, c.b) for c in ranking.comparisons} == {
        ("a", "b"), ("d", "c"), ("d", "e"), ("c", "e"),
    }  # fmt: skip
    parts = {strength.source: strength.component for strength in ranking.strengths}
    assert parts["c"] == parts["d"] == parts["e"] != parts["a"] == parts["b"]
    alone = rank_sources(comparisons(rows).subset([0, 1]), Rules())
    of_a = next(c for c in ranking.comparisons if c.a == "a")
    assert of_a.difference == alone.comparisons[0].difference


def test_one_prompt_alone_has_no_interval():
    rows = [("a", "b", 1), ("a", "b", 1), ("a", "b", -1)]
    (comparison,) = rank_sources(comparisons(rows, prompts=[0, 0, 0]), Rules()).comparisons
    assert isnan(comparison.difference.low) and isnan(comparison.p)
    assert comparison.verdict == "undecided"


def test_an_annotator_who_alone_judged_a_source_breaks_nothing():
    rows = [("a", "b", 1)] * 10 + [("b", "a", 1)] * 6 + [("c", "a", 1)] * 4 + [("a", "c", 1)] * 3
    annotators = [0, 1] * 8 + [2] * 7
    ranking = rank_sources(comparisons(rows, annotators=annotators), Rules())
    assert all(np.isfinite(s.strength.low) for s in ranking.strengths)


def test_no_judgements_are_no_ranking():
    ranking = rank_sources(comparisons([]), Rules())
    assert (ranking.strengths, ranking.comparisons) == ((), ())
