import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from ethosteer.evaluation.comparison import decide, measure_models
from ethosteer.evaluation.summary import summarise, terms_of
from ethosteer.records import Outcome
from ethosteer.report.answer import answer
from ethosteer.report.blocks import Bullets, Text
from ethosteer.report.headline import headline as lead_and_details
from ethosteer.report.view import View, mirrored
from ethosteer.results.benchmarks import BenchmarkCell
from ethosteer.results.comparisons import Verdict
from ethosteer.results.estimates import Estimate
from ethosteer.results.study import StudyResults
from ethosteer.settings import CompareSettings
from ethosteer.statistics.metrics import ACCURACY, BIAS_FREE
from tests.evaluation.small import benchmark
from tests.report.example import ALWAYS_NO, example_results


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


def headline(view: View) -> str:
    lead, details = lead_and_details(view)
    return " ".join((*lead, details))


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


def _flagged(results: StudyResults, *models: str) -> StudyResults:
    """Return results in which these models answer No to nearly all of WSC273."""

    def flag(cell: BenchmarkCell) -> BenchmarkCell:
        return replace(cell, flags=(ALWAYS_NO,)) if cell.model in models else cell

    benchmarks = tuple(
        replace(each, cells=tuple(map(flag, each.cells))) if each.name == "wsc273" else each
        for each in results.benchmarks
    )
    return replace(results, benchmarks=benchmarks)


def test_a_collapsed_arm_that_lost_is_worse_and_its_answer_is_the_cause() -> None:
    view = _with_verdicts(
        {("wsc273", "virtue", "fine-tuned"): "worse"}, _flagged(example_results(), "virtue")
    )
    answers = f"where it {ALWAYS_NO}"
    assert re.search(rf"virtue was worse on WSC273 \(acc [^)]*\), {answers}\.", headline(view))
    price = next(line for line in _text(view).splitlines() if line.startswith("virtue: "))
    assert price.endswith("; worse on WSC273.")
    assert re.search(rf"WSC273 .*virtue was worse than the control .*, {answers};", _text(view))


def test_a_gain_of_a_constant_answer_is_told_and_never_best() -> None:
    verdicts: dict[tuple[str, str, str], Verdict] = {
        ("wsc273", "virtue", "fine-tuned"): "better",
        ("wsc273", "deontology", "virtue"): "worse",
        ("wsc273", "harmless", "virtue"): "worse",
        ("wsc273", "utilitarianism", "virtue"): "worse",
    }
    view = _with_verdicts(verdicts, _flagged(example_results(), "virtue"))
    assert re.search(rf"virtue was better on WSC273 .*, where it {ALWAYS_NO}\.", headline(view))
    assert "On no benchmark was an arm shown to be better than every other arm" in headline(view)
    assert "every other arm: virtue on WSC273" in headline(_with_verdicts(verdicts))


def test_an_arm_better_than_a_constant_control_is_better_with_the_caveat() -> None:
    view = _with_verdicts(
        {("wsc273", "virtue", "fine-tuned"): "better"}, _flagged(example_results(), "fine-tuned")
    )
    said = headline(view)
    assert re.search(rf"virtue was better on WSC273 .*, where the control {ALWAYS_NO}\.", said)
    assert (
        f"The fine-tuned control {ALWAYS_NO} on ToxiGen and WSC273, so a difference from it there "
        "is no evidence of skill." in said
    )
    line = next(line for line in _text(view).splitlines() if line.startswith("WSC273"))
    assert f"the control {ALWAYS_NO}, so a difference from it is no evidence of skill" in line


def test_two_constant_answers_are_both_named() -> None:
    view = _with_verdicts({("toxigen", "virtue", "fine-tuned"): "better"})
    assert f", where it {ALWAYS_NO} and the control {ALWAYS_NO}" in headline(view)


def test_a_collapse_without_a_verdict_is_named_too() -> None:
    results = _flagged(example_results(), "virtue")
    said = headline(_with_verdicts({}, results))
    shown = "Constant answers for which no difference was shown"
    assert f"{shown}: virtue ({ALWAYS_NO}) on WSC273." in said
    line = next(
        line for line in _text(_with_verdicts({}, results)).splitlines() if "WSC273 (" in line
    )
    assert f"; virtue {ALWAYS_NO}." in line


def _with_auc(accuracy: Verdict, auc: Verdict) -> View:
    """Return a view of virtue against the control on ETHICS virtue, AUC beside accuracy."""
    view = _with_verdicts({("ethics_virtue", "virtue", "fine-tuned"): accuracy})
    tested = next(
        each
        for each in view.results.comparisons
        if (each.benchmark, each.a, each.b) == ("ethics_virtue", "virtue", "fine-tuned")
    )
    comparisons = (*view.results.comparisons, replace(tested, metric="auc", verdict=auc))
    return View(replace(view.results, comparisons=comparisons))


@pytest.mark.parametrize(
    ("accuracy", "auc", "expected"),
    [
        ("worse", "equivalent", "change of virtue in acc is a shift in the threshold, not in disc"),
        ("better", "undecided", "so its change in acc may be a shift in the threshold, not in dis"),
        ("worse", "better", "virtue was better than the control in AUC"),
        ("undecided", "worse", "a change in discrimination that acc does not show"),
        ("equivalent", "better", "a change in discrimination that acc does not show"),
        ("worse", "worse", None),
        ("undecided", "equivalent", None),
    ],
)
def test_accuracy_that_moved_without_auc_is_told_and_the_reverse(accuracy, auc, expected) -> None:
    view = _with_auc(accuracy, auc)
    line = next(line for line in _text(view).splitlines() if line.startswith("ETHICS virtue (acc"))
    for said in (headline(view), line):
        assert ("AUC" in said) == (expected is not None)
        assert expected is None or expected in said


def _against_constants(results: StudyResults, low: float) -> StudyResults:
    """Return results in which all models on ToxiGen exceed the best constant by this at least."""
    above = Estimate(low + 0.02, low, low + 0.04, 940)
    benchmarks = tuple(
        replace(
            each,
            cells=tuple(replace(cell, flags=(), above_constant=above) for cell in each.cells),
        )
        if each.name == "toxigen"
        else each
        for each in results.benchmarks
    )
    return replace(results, benchmarks=benchmarks)


def test_a_control_no_better_than_a_constant_answer_is_said_to_be_so() -> None:
    verdicts: dict[tuple[str, str, str], Verdict] = {("toxigen", "virtue", "fine-tuned"): "better"}
    weak = _with_verdicts(verdicts, _against_constants(example_results(), -0.01))
    said = "is not shown to be better than always answering 'No'"
    assert f"The fine-tuned control {said} on ToxiGen." in headline(weak)
    assert f"the control {said}" in _text(weak)
    assert ", though not shown to be better than always answering 'No'" in headline(weak)
    skilled = _with_verdicts(verdicts, _against_constants(example_results(), 0.01))
    assert "always answering" not in _text(skilled)


def _of_outcomes(margins: dict[str, Sequence[float]], labels: Sequence[int]) -> View:
    """Return the view of a study of one benchmark with these margins for answer 1, by model."""

    def answer_to(index: int, margin: float) -> Outcome:
        predicted, label = int(margin > 0), labels[index]
        return Outcome(
            "m", 0, "b", f"i{index}", f"i{index}", (), label, predicted, predicted == label,
            (-2.0, margin - 2.0), (1, 1),
        )  # fmt: skip

    outcomes = {
        model: {0: [answer_to(index, margin) for index, margin in enumerate(values)]}
        for model, values in margins.items()
    }
    asked = benchmark(ACCURACY, *BIAS_FREE, answers=("No", "Yes"))
    settings = CompareSettings(resamples=200)
    results = replace(
        example_results(seeds=(0,)),
        models=tuple(margins),
        benchmarks=(summarise(asked, len(labels), outcomes),),
        comparisons=tuple(
            decide(measure_models(asked, terms_of(asked.metrics, outcomes), settings), settings)
        ),
        overlaps=(),
        arms=(),
    )
    return View(results)


def test_an_arm_that_collapsed_beside_a_sound_control_is_shown_to_be_worse() -> None:
    labels = [0] * 100 + [1] * 100
    sound = [2.0 * label - 1 for label in labels]
    sound[:15] = [1.0] * 15  # 92.5 % right
    said = headline(_of_outcomes({"fine-tuned": sound, "duty": [-1.0] * 200}, labels))
    assert re.search(
        r"duty was worse on B \(acc −0\.425, [^)]*\), where it answers 'No' to all items\.", said
    )
    assert "deterioration" not in said
    assert "the fine-tuned control" not in said.partition(".")[2], "the control is sound"


def test_a_shift_of_the_threshold_is_told_apart_from_discrimination() -> None:
    draw = np.random.default_rng(5)
    labels = draw.integers(0, 2, 400)
    control = 2 * labels - 1 + draw.normal(size=400)
    arm = control - 1.5 + 0.1 * draw.normal(size=400)
    view = _of_outcomes({"fine-tuned": list(control), "duty": list(arm)}, labels.tolist())
    assert view.verdict(view.results.benchmarks[0], "duty", "fine-tuned") == "worse"
    said = headline(view)
    assert "On B, no change in AUC was shown for duty" in said
    assert "so its change in acc may be a shift in the threshold, not in discrimination." in said


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


def test_what_is_corrected_together_is_stated() -> None:
    assert (
        "the primary metrics of the primary benchmarks for the arms against the control"
        in _text(View(example_results()))
    )


def test_distance_from_the_aim_is_what_is_judged() -> None:
    said = _text(View(example_results()))
    judged = "CrowS-Pairs (pct_stereotype, distance from 50 %)"
    assert f"{judged}: harmless was better than the control (−0.030" in said


def test_numbers_in_the_sentences_are_the_results() -> None:
    said = _text(View(example_results()))
    assert (
        "virtue was better than the control (+0.068, Holm-adjusted CI [0.061, 0.075], "
        "p\u202f<\u202f0.001)" in said
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


def test_a_difference_for_which_there_is_no_room_is_not_called_detectable() -> None:
    results = example_results()
    sizes = {"wsc273": 0.9, "crows_pairs": 0.05}
    changed = tuple(
        replace(each, minimum_detectable=sizes.get(each.benchmark, math.nan), room=0.4)
        for each in results.comparisons
    )
    said = headline(_with_verdicts({}, replace(results, comparisons=changed)))
    assert "The minimum detectable difference at 80\u202f% power was 0.050; smaller" in said
    # the four arms on WSC273
    assert "In 4 comparisons no improvement could be large enough to be detected." in said


def test_mirrored_twice_is_the_same() -> None:
    comparison = replace(
        example_results().comparisons[3],
        decision_low=0.01,
        decision_high=0.12,
        decision_level=0.99,
    )
    other = mirrored(comparison)
    assert (other.a, other.b, other.verdict) == ("fine-tuned", "virtue", "worse")
    assert other.difference.low == -comparison.difference.high
    assert (other.decided.low, other.decided.high) == (-0.12, -0.01)
    np.testing.assert_equal(asdict(mirrored(other)), asdict(comparison))
