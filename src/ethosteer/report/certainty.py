"""How sure a study's findings are, and what it cannot say."""

from __future__ import annotations

from math import isfinite

from ethosteer.report.numbers import count, listing, number, percent, plural
from ethosteer.report.tables import CORRECTIONS
from ethosteer.report.view import View
from ethosteer.results import Comparison

FEW_SEEDS = 5


def certainty(view: View) -> tuple[str, ...]:
    """Say how sure findings are: what intervals and tests reckon with, what was declared."""
    results = view.results
    sentences = [_seed_sentence(results.seeds)]
    if results.comparisons:
        sentences += [_test_sentence(view), _undecided_sentence(view.judged_comparisons())]
    if results.margin is not None:
        sentences.append(
            f"Equivalent means: two one-sided tests show that the difference lies within "
            f"±{number(results.margin)}, the margin that the study declared. Such a difference "
            "counts as none even where it is shown not to be 0."
        )
    elif results.comparisons:
        sentences.append("The study declared no margin, so nothing in it is called equivalent.")
    if results.effect is not None:
        sentences.append(_effect_sentence(view.judged_comparisons(), results.effect))
    if results.deviations:
        sentences.append(
            f"Changed after outcomes were known: {listing(list(results.deviations))}. What rests "
            "on that is exploration, not a test that was planned."
        )
    return tuple(filter(None, sentences))


def _effect_sentence(comparisons: tuple[Comparison, ...], effect: float) -> str:
    """Say what the declared effect would have needed to be found."""
    needed = [each.items_needed / each.items for each in comparisons if each.items]
    enough = sum(share <= 1 for share in needed)
    never = sum(share == float("inf") for share in needed)
    more = (
        f" In {count(never)} no number of items would do: seeds differ too much, and more seeds "
        "are what it takes."
        if never
        else ""
    )
    return (
        f"The study declared that a difference of {number(effect)} matters. "
        f"{count(enough)} of {plural(len(comparisons), 'comparison')} had the items to find one of "
        f"that size four times in five.{more}"
    )


def _test_sentence(view: View) -> str:
    amount = len(view.results.benchmarks)
    across = (
        f" p-values are not corrected across the {amount} benchmarks: the more benchmarks there "
        "are, the likelier is a chance find."
        if amount > 1
        else ""
    )
    p = (
        "exact (McNemar's test, or swaps of the two models within whole clusters of items)"
        if len(view.results.seeds) == 1
        else "of items and seeds together"
    )
    method = CORRECTIONS[view.results.correction]
    return (
        "Models are compared on the same items, answer by answer; intervals are 95 % intervals of "
        f"one number each, uncorrected; p-values are {p}. Better and worse need both an interval "
        f"that leaves out 0 and an adjusted p-value below {view.results.alpha:g}: {method} within "
        "one family, which is one metric of one benchmark, for the arms against the control or for "
        f"the arms against each other.{across}"
    )


def _seed_sentence(seeds: tuple[int, ...]) -> str:
    if len(seeds) == 1:
        return (
            f"Each arm was trained with one seed ({seeds[0]}). One seed is one seed: the intervals "
            "cover the choice of items and not the luck of training, and another seed may turn a "
            "verdict."
        )
    named = listing([str(seed) for seed in seeds])
    few = "That is few: how much the luck of training matters is only roughly known. "
    return (
        f"Each arm was trained with {len(seeds)} seeds ({named}). "
        f"{few if len(seeds) < FEW_SEEDS else ''}Intervals and p-values reckon with that: they "
        "speak of training on such data once more, not of these trained models alone."
    )


def _undecided_sentence(comparisons: tuple[Comparison, ...]) -> str:
    undecided = [each for each in comparisons if each.verdict == "undecided"]
    if not undecided:
        return ""
    found = [each.minimum_detectable for each in undecided]
    sizes = [size for size in found if isfinite(size)]
    detectable = ""
    if sizes:
        detectable = (
            ", and the smallest differences that they could have detected lie between "
            f"{number(min(sizes))} and {number(max(sizes))}, each in its metric's own unit"
        )
    return (
        f"Undecided is not “no difference”: {len(undecided)} of {len(comparisons)} comparisons of "
        f"what is judged are undecided{detectable}."
    )


def limits(view: View) -> tuple[str, ...]:
    """Say what the study leaves open."""
    results = view.results
    sentences = [
        "Each arm's reward is measured by the reward model that it was trained against. That it "
        "rises shows that steering worked, not that answers became better; rewards of different "
        "arms share a scale (sd of base answers) but not a meaning."
        if results.arms
        else "",
        "All of this holds for this base model, these data and these settings; benchmarks measure "
        "answers to set questions, not conduct, and a few sample answers are no evidence.",
        _degenerate_sentence(view),
        _overlap_sentence(view),
    ]
    cut = [
        f"{each.title} {plural(each.truncated, 'item')}"
        for each in results.benchmarks
        if each.truncated
    ]
    if cut:
        sentences.append(f"Items too long for the model lost part of their text: {listing(cut)}.")
    return tuple(filter(None, sentences))


def _degenerate_sentence(view: View) -> str:
    flagged = [each.title for each in view.results.benchmarks if view.flagged(each)]
    if not flagged:
        return ""
    return (
        f"On {listing(flagged)}, flagged models give nearly always one answer or score what a "
        "constant answer would; such a number says nothing about values."
    )


def _overlap_sentence(view: View) -> str:
    titles = {each.name: each.title for each in view.results.benchmarks}
    found = [
        f"{each.dataset} with {titles.get(each.benchmark, each.benchmark)} "
        f"({percent(each.overlapping / each.pairs)} of pairs)"
        for each in view.results.overlaps
        if each.pairs and each.overlapping
    ]
    if not found:
        return ""
    return (
        f"Training data share text with benchmarks: {listing(found)}. A gain there may be memory "
        "rather than value."
    )
