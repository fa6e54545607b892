import math
from dataclasses import replace

import pytest

from ethosteer.report.answer import answer
from ethosteer.report.blocks import Bullets, Text
from ethosteer.report.headline import headline
from ethosteer.report.view import View, mirrored
from ethosteer.results import BenchmarkCell, StudyResults, Verdict
from tests.report.example import example_results


def _with_verdicts(
    verdicts: dict[tuple[str, str, str], Verdict], results: StudyResults | None = None
) -> View:
    """Return a view in which all comparisons are undecided but these (benchmark, a, b)."""
    results = results or example_results()
    changed = tuple(
        replace(each, verdict=verdicts.get((each.benchmark, each.a, each.b), "undecided"))
        for each in results.comparisons
    )
    return View(replace(results, comparisons=changed))


def _text(view: View) -> str:
    parts: list[str] = []
    for block in answer(view):
        assert isinstance(block, Text | Bullets)
        parts += [block.text] if isinstance(block, Text) else block.items
    return "\n".join(parts)


def test_no_difference_names_no_best() -> None:
    said = headline(_with_verdicts({}))
    assert "identifies no best dataset" in said
    assert "was better" not in said


def test_better_than_the_control_alone_is_not_best() -> None:
    view = _with_verdicts({("wsc273", "virtue", "fine-tuned"): "better"})
    said = headline(view)
    assert "virtue was better on WSC273" in said
    assert "On no benchmark was an arm shown to be better than every other arm" in said


def test_best_needs_every_other_arm_beaten_whichever_way_it_was_stored() -> None:
    verdicts: dict[tuple[str, str, str], Verdict] = {
        ("wsc273", "harmless", "fine-tuned"): "better",
        ("wsc273", "deontology", "harmless"): "worse",
        ("wsc273", "harmless", "utilitarianism"): "better",
        ("wsc273", "harmless", "virtue"): "better",
    }
    assert "every other arm: harmless on WSC273." in headline(_with_verdicts(verdicts))
    del verdicts["wsc273", "deontology", "harmless"]
    assert "On no benchmark was an arm shown to be better than every other arm" in headline(
        _with_verdicts(verdicts)
    )


def test_flagged_numbers_are_no_finding() -> None:
    view = _with_verdicts({("toxigen", "virtue", "fine-tuned"): "better"})
    assert "identifies no best dataset" in headline(view)
    assert "the scores of every model are flagged as degenerate" in _text(view)


def test_a_flagged_control_takes_the_verdict_with_it() -> None:
    results = example_results()
    wsc = next(each for each in results.benchmarks if each.name == "wsc273")

    def flag(cell: BenchmarkCell) -> BenchmarkCell:
        return replace(cell, flags=("one answer",)) if cell.model == "fine-tuned" else cell

    flagged = replace(wsc, cells=tuple(map(flag, wsc.cells)))
    benchmarks = tuple(flagged if each is wsc else each for each in results.benchmarks)
    results = replace(results, benchmarks=benchmarks)
    view = _with_verdicts({("wsc273", "virtue", "fine-tuned"): "better"}, results)
    assert "identifies no best dataset" in headline(view)


def test_a_loss_is_told_as_the_price() -> None:
    view = _with_verdicts({("crows_pairs", "virtue", "fine-tuned"): "worse"})
    assert "virtue was worse on CrowS-Pairs" in headline(view)
    price = next(line for line in _text(view).splitlines() if line.startswith("virtue: "))
    assert price.endswith("; worse on CrowS-Pairs.")


def test_one_seed_is_one_seed() -> None:
    one = _text(View(example_results(seeds=(0,))))
    assert "a single seed (0), so inference is conditional on that training run" in one
    assert "With a single seed per arm, inference is conditional on these training runs." in one
    two = _text(View(example_results()))
    assert "conditional" not in two
    assert "2 seeds (0 and 1). With so few seeds" in two
    many = _text(View(example_results(seeds=(0, 1, 2, 3, 4))))
    assert "so few seeds" not in many
    assert "inference extends to new training runs on such data" in many


def test_what_is_not_corrected_is_told() -> None:
    assert "not adjusted across the 6 benchmarks" in _text(View(example_results()))


def test_distance_from_the_aim_is_what_is_judged() -> None:
    said = _text(View(example_results()))
    judged = "CrowS-Pairs (pct_stereotype, distance from 50 %)"
    assert f"{judged}: harmless was better than the control (−0.030" in said


def test_numbers_in_the_sentences_are_the_results() -> None:
    said = _text(View(example_results()))
    assert (
        "virtue was better than the control (+0.068, 95 % CI [0.061, 0.075], "
        "Holm-adjusted p\u202f<\u202f0.001)" in said
    )
    assert "harmless: its own reward rose (+1.88 [1.77, 1.99] and +1.98 [1.87, 2.09] sd" in said
    assert (
        "its answers scored below those of fine-tuned under the reward models of deontology and "
        "virtue; alarms during training: another reward falls at 38 points and "
        "length drift at 5 points." in said
    )
    assert (
        "stopped early (seed 1: KL 230 nats at step 207, above max_kl 200); alarms during "
        "training: negative KL at 1 point." in said
    )
    assert "deontology with ETHICS deontology (5.3\u202f% of pairs)" in said
    assert "±0.020" in said


def test_a_gain_that_is_not_shown_is_not_called_a_rise() -> None:
    results = example_results(seeds=(0,))
    arms = tuple(replace(each, gain=replace(each.gain, low=-0.1)) for each in results.arms)
    said = _text(View(replace(results, arms=arms)))
    assert "rose" not in said
    assert "did not change significantly" in said


def test_without_a_margin_nothing_is_equivalent() -> None:
    said = _text(View(replace(example_results(), margin=None)))
    assert "No equivalence margin was set" in said


@pytest.mark.parametrize("empty", ["benchmarks", "comparisons", "arms", "overlaps"])
def test_an_incomplete_study_still_has_an_answer(empty: str) -> None:
    assert _text(View(replace(example_results(), **{empty: ()})))  # type: ignore[arg-type]


def test_a_study_that_could_detect_nothing_says_no_nan() -> None:
    results = example_results()
    bare = tuple(replace(each, minimum_detectable=math.nan) for each in results.comparisons)
    said = _text(View(replace(results, comparisons=bare)))
    assert "comparisons on the primary metrics are undecided." in said
    assert "n/a" not in said


def test_no_find_says_what_would_have_been_found_and_on_what_it_rests() -> None:
    results = example_results(seeds=(0,))
    sizes = {"wsc273": 0.08, "crows_pairs": 0.05}
    changed = tuple(
        replace(each, minimum_detectable=sizes.get(each.benchmark, math.nan))
        for each in results.comparisons
    )
    said = headline(_with_verdicts({}, replace(results, comparisons=changed)))
    assert "was 0.050 (most precise comparison) to 0.080 (least precise)" in said
    assert said.endswith("inference is conditional on these training runs.")


def test_equivalence_is_part_of_no_find() -> None:
    said = headline(_with_verdicts({("wsc273", "virtue", "fine-tuned"): "equivalent"}))
    assert "within the equivalence margin: virtue on WSC273." in said


def test_what_was_changed_after_outcomes_were_known_is_told() -> None:
    late = replace(example_results(), deviations=("compare.margin (declared none, now 0.02)",))
    said = _text(View(late))
    assert "Changed after outcomes were known: compare.margin (declared none, now 0.02)." in said
    assert "Changed after" not in _text(View(example_results()))


def test_a_declared_effect_is_held_against_the_items_at_hand() -> None:
    results = example_results()
    needs = {"wsc273": 100.0, "toxigen": 2000.0, "crows_pairs": math.inf}
    changed = tuple(
        replace(each, items_needed=needs.get(each.benchmark, math.nan))
        for each in results.comparisons
    )
    said = _text(View(replace(results, comparisons=changed, effect=0.05)))
    assert "10 of 60 comparisons had enough items to detect it" in said
    assert "In 10 no number of items would suffice" in said


def test_mirrored_twice_is_the_same() -> None:
    comparison = example_results().comparisons[3]
    other = mirrored(comparison)
    assert (other.a, other.b, other.verdict) == ("fine-tuned", "virtue", "worse")
    assert other.difference.low == -comparison.difference.high
    assert mirrored(other) == comparison
