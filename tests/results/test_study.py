"""results.json comes back as what was written."""

import json
import math
from dataclasses import replace

import pytest

from ethosteer.errors import InputError
from ethosteer.files import from_json, to_json
from ethosteer.results.study import StudyResults
from tests.report.example import example_results


def read(text: str) -> StudyResults:
    return from_json(text, StudyResults, "results.json")


def test_round_trip_is_exact() -> None:
    results = example_results()
    back = read(to_json(results))
    assert repr(back) == repr(results), "repr, since a nan equals nothing"


def test_the_text_is_deterministic_and_strict_json() -> None:
    text = to_json(example_results())
    assert text == to_json(example_results())
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["benchmarks"][0]["cells"][2]["by_seed"] == {"0": 0.627, "1": 0.635}


def test_nan_and_infinity_survive() -> None:
    results = example_results()
    odd = replace(results.comparisons[0], p=math.nan, minimum_detectable=math.inf)
    arm = replace(results.arms[0], length_correlation=math.nan, normalisation_bias=-math.inf)
    text = to_json(replace(results, comparisons=(odd,), arms=(arm,)))
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = read(text)
    assert math.isnan(back.comparisons[0].p)
    assert back.comparisons[0].minimum_detectable == math.inf
    assert back.comparisons[0].difference == odd.difference
    assert math.isnan(back.arms[0].length_correlation)
    assert back.arms[0].normalisation_bias == -math.inf


def test_a_text_that_says_nan_stays_text() -> None:
    results = replace(example_results(), study="NaN", provenance={"note": "Infinity"})
    back = read(to_json(results))
    assert back.study == "NaN"
    assert back.provenance == {"note": "Infinity"}


def test_a_damaged_file_is_told_by_key() -> None:
    table = json.loads(to_json(example_results()))
    table["arms"][1]["gain"]["low"] = "small"
    with pytest.raises(InputError, match=r"results\.json: arms\.1\.gain\.low: "):
        read(json.dumps(table))
    with pytest.raises(InputError, match=r"results\.json: "):
        read("{")


def test_files_from_before_the_margin_are_read() -> None:
    table = json.loads(to_json(example_results()))
    del table["margin"]
    assert read(json.dumps(table)).margin is None


def test_files_from_before_other_algorithms_are_read() -> None:
    results = example_results()
    assert results.cross_rewards and results.cross_accuracies and results.slopes
    table = json.loads(to_json(results))
    for name in ("cross_rewards", "cross_accuracies", "slopes", "alpha"):
        del table[name]
    for arm in table["arms"]:
        for name in ("algorithm", "select", "step", "stopped", "reward_model"):
            del arm[name]
        for point in arm["curve"]:
            for name in ("rewards", "alarms"):
                del point[name]
    back = read(json.dumps(table))
    assert (back.cross_rewards, back.cross_accuracies, back.slopes, back.alpha) == (
        (),
        (),
        (),
        0.05,
    )
    assert {(arm.algorithm, arm.select, arm.stopped) for arm in back.arms} == {("ppo", "step", "")}
    assert all(point.alarms == () for arm in back.arms for point in arm.curve)
    for old, new in zip(back.arms, results.arms, strict=True):
        assert old.end == new.end


def test_slopes_and_cross_rewards_come_back_as_they_were() -> None:
    results = example_results()
    odd = replace(results.slopes[0], adjusted_p=math.nan)
    back = read(to_json(replace(results, slopes=(odd,))))
    assert math.isnan(back.slopes[0].adjusted_p)
    assert back.slopes[0].slope == odd.slope
    assert back.cross_rewards == results.cross_rewards
    assert back.cross_accuracies == results.cross_accuracies
