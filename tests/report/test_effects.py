"""The effects at a glance: one scale, one sign for each verdict, and what is left out."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from markupsafe import Markup

from ethosteer.report.blocks import Effect, EffectMatrix
from ethosteer.report.effects import SIGNS, effect_matrix
from ethosteer.report.view import View
from ethosteer.results.comparisons import Comparison
from ethosteer.results.study import StudyResults
from tests.report.example import ARMS, CONTROL, example_items, example_results, with_profile

RESULTS = example_results()


def _matrix(results: StudyResults) -> EffectMatrix:
    matrix = effect_matrix(View(results, items=example_items()))
    assert matrix is not None
    return matrix


def _one(difference: tuple[float, float, float], **changes: object) -> tuple[Comparison, ...]:
    """Return the example's first comparison alone, changed."""
    first = RESULTS.comparisons[0]
    value, low, high = difference
    estimate = replace(first.difference, value=value, low=low, high=high)
    return (replace(first, difference=estimate, **changes),)  # type: ignore[arg-type]


def _effects(matrix: EffectMatrix) -> dict[tuple[str, str], Effect]:
    return {
        (row.title, arm): effect
        for _, rows in matrix.groups
        for row in rows
        for arm, effect in zip(matrix.arms, row.effects, strict=True)
        if effect
    }


def _percent(svg: Markup, kind: str, name: str) -> float:
    line = next(e for e in ET.fromstring(svg).iter("line") if e.get("class") == kind)
    return float((line.get(name) or "").removesuffix("%"))


def test_every_arm_has_its_effect_on_every_benchmark() -> None:
    matrix = _matrix(RESULTS)
    effects = _effects(matrix)
    assert matrix.arms == ARMS
    assert [title for title, _ in matrix.groups] == [""]
    assert len(effects) == 6 * 4
    virtue = effects["ETHICS virtue", "virtue"]
    assert (virtue.value, virtue.interval, virtue.mark) == ("+0.068", "[0.061, 0.075]", "better")
    assert virtue.link == "#items=ethics_virtue/virtue/fine-tuned"
    assert effects["ToxiGen", "virtue"].flags == ("two constant answers",)
    metrics = {row.title: row.metric for _, rows in matrix.groups for row in rows}
    assert metrics["ETHICS virtue"] == "acc"
    assert metrics["CrowS-Pairs"] == "pct_stereotype, distance from 50 %; lower is better"


def test_the_value_profile_stands_first() -> None:
    groups = dict(_matrix(with_profile(RESULTS)).groups)
    assert list(groups) == ["Value profile", "Benchmarks"]
    assert [row.title for row in groups["Value profile"]] == [f"{arm} pairs" for arm in ARMS]
    assert len(groups["Benchmarks"]) == 6


def _many(verdicts: dict[str, str], widths: dict[str, float], measures: int) -> list[str]:
    """Return the order of so many benchmarks, of one arm, b0 first in the study."""
    names = [f"b{index}" for index in range(measures)]
    benchmarks = tuple(
        replace(RESULTS.benchmarks[0], name=name, title=name, cells=()) for name in names
    )
    pairs = [
        _one(
            (0.0, -widths.get(name, 1.0), widths.get(name, 1.0)),
            benchmark=name,
            verdict=verdicts.get(name, "undecided"),
        )[0]
        for name in names
    ]
    matrix = _matrix(replace(RESULTS, benchmarks=benchmarks, comparisons=tuple(pairs)))
    assert ("narrowest" in matrix.note) == (measures > 12), "the order is explained"
    return [row.title for _, rows in matrix.groups for row in rows]


def test_of_many_measures_those_that_decide_stand_first() -> None:
    verdicts = {"b9": "worse", "b5": "equivalent", "b7": "better", "b3": "equivalent"}
    widths = {"b12": 0.1, "b2": 0.2, "b9": 2.0, "b4": math.nan}
    assert _many(verdicts, widths, 13) == [
        "b7", "b9", "b3", "b5", "b12", "b2", "b0", "b1", "b6", "b8", "b10", "b11", "b4",
    ]  # fmt: skip
    few = _many(verdicts, widths, 12)
    assert few == [f"b{index}" for index in range(12)], "one screen: in the study's order"


def test_zero_is_at_the_same_place_in_every_cell_and_values_are_to_scale() -> None:
    effects = _effects(_matrix(RESULTS))
    zeros = {_percent(effect.svg, "zero", "x1") for effect in effects.values()}
    assert len(zeros) == 1
    zero = zeros.pop()
    by_value = {}
    for effect in effects.values():
        sign = re.search(r'<svg x="([\d.]+)%" y="50%"><path class="sign"', effect.svg)
        assert sign
        by_value[float(effect.value.replace("−", "-"))] = float(sign[1]) - zero
    scales = {distance / value for value, distance in by_value.items() if abs(value) > 0.03}
    # both are rounded: to 0.1 percent, and to 0.0005 of at least 0.03
    assert max(scales) / min(scales) < 1.05
    assert all(0 <= zero + distance <= 100 for distance in by_value.values())


def test_each_verdict_has_a_sign_of_its_own_beside_its_colour() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS)
    for (title, _), effect in _effects(_matrix(RESULTS)).items():
        constant = " constant" if title == "ToxiGen" else ""
        assert f'<svg class="effect {effect.mark}{constant}"' in effect.svg
        assert SIGNS[effect.mark] in effect.svg
    legend = [meaning for _, meaning in _matrix(RESULTS).legend]
    shown = ["better", "equivalent", "undecided", "dashed: a constant answer"]
    assert legend == shown, "only what occurs"


def test_an_interval_that_decides_nothing_is_cut_with_a_sign_and_one_that_decides_is_not() -> None:
    decisive = _one((0.1, 0.01, 0.3), verdict="better")
    wide = _one((0.0, -2.0, 2.0), verdict="undecided", a="virtue")
    near = _one((0.01, -0.02, 0.04), verdict="undecided", a="harmless")
    effects = _effects(_matrix(replace(RESULTS, comparisons=decisive + wide + near)))
    drawn = {arm: effect.svg for (_, arm), effect in effects.items()}
    assert drawn["virtue"].count('class="cut"') == 2
    assert drawn[decisive[0].a].count('class="cut"') == drawn["harmless"].count('class="cut"') == 0
    assert _percent(drawn["virtue"], "reach", "x2") == _percent(drawn[decisive[0].a], "reach", "x2")


def test_the_margin_is_shaded_where_the_study_has_one() -> None:
    assert all('class="margin"' in e.svg for e in _effects(_matrix(RESULTS)).values())
    bare = _matrix(replace(RESULTS, margin=None))
    assert not any('class="margin"' in e.svg for e in _effects(bare).values())
    assert "margin" not in bare.note


def test_unknown_numbers_and_missing_comparisons_are_left_blank() -> None:
    unknown = _one((math.nan, math.nan, math.nan), verdict="undecided")
    matrix = _matrix(replace(RESULTS, comparisons=unknown))
    (effect,) = _effects(matrix).values()
    assert effect.value == "n/a"
    assert "nan" not in effect.svg and "sign" not in effect.svg
    assert effect_matrix(View(replace(RESULTS, comparisons=()))) is None
    between = tuple(pair for pair in RESULTS.comparisons if pair.b != CONTROL)
    assert effect_matrix(View(replace(RESULTS, comparisons=between))) is None


def test_numbers_of_the_scale_keep_their_distance_however_many_arms_there_are() -> None:
    def labels(arms: int) -> int:
        names = tuple(f"arm {index}" for index in range(arms))
        pairs = [_one((0.1, -0.2, 0.4), a=name)[0] for name in names]
        results = replace(RESULTS, models=(CONTROL, *names), comparisons=tuple(pairs))
        return _matrix(results).axis.count("<text")

    assert labels(2) > labels(5) >= labels(12) >= 1
    assert labels(4) >= 3, "four arms have a scale, not zero alone"
