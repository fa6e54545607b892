"""The answer in plain sentences, none of which claims more than the comparisons hold."""

from __future__ import annotations

from itertools import combinations
from math import isfinite

from ethosteer.records import (
    FINETUNED,
    ArmResult,
    BenchmarkResult,
    Comparison,
    Estimate,
    Verdict,
)
from ethosteer.report.blocks import Block, Bullets, Text
from ethosteer.report.cross import falling
from ethosteer.report.numbers import (
    THIN,
    count,
    interval,
    listing,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ethosteer.report.steering import alarms_said
from ethosteer.report.tables import CORRECTIONS
from ethosteer.report.view import View

FEW_SEEDS = 5
DECIDED: tuple[Verdict, ...] = ("better", "worse")
OPEN: tuple[tuple[Verdict, str], ...] = (
    ("different", "different from the control, with no side the good one"),
    ("equivalent", "equivalent to the control"),
    ("undecided", "undecided"),
)


def answer(view: View) -> tuple[Block, ...]:
    """Return the answer: in short, by benchmark, the price, how sure, and what it leaves open."""
    benchmarks = view.results.benchmarks
    parts = (
        Bullets("On each benchmark", tuple(_on_benchmark(view, each) for each in benchmarks)),
        Bullets("How far each arm went, and what it costs", _prices(view)),
        Bullets("How sure this is", _certainty(view)),
        Bullets("What this study cannot say", _limits(view)),
    )
    return (Text(headline(view), lead=True), *(part for part in parts if part.items))


def headline(view: View) -> str:
    """Say in one to three sentences which dataset steers best on what."""
    benchmarks = view.results.benchmarks
    won = {arm: view.benchmarks_where(arm, "better") for arm in view.arms}
    lost = {arm: view.benchmarks_where(arm, "worse") for arm in view.arms}
    if not benchmarks:
        return "No benchmark was run, so this study cannot say which dataset steers best."
    if not any(won.values()) and not any(lost.values()):
        return " ".join(filter(None, (_no_find(view), _could_have_seen(view), _one_seed(view))))
    sentences = [
        f"Against the {view.control} control, {_gains_and_losses(won, lost)}.",
        _best_sentence(view),
    ]
    still = [arm for arm in view.arms if not won[arm] and not lost[arm]]
    if still:
        sentences.append(f"For {listing(still)}, no benchmark shows a change for better or worse.")
    return " ".join(filter(None, (*sentences, _one_seed(view))))


def _no_find(view: View) -> str:
    benchmarks = view.results.benchmarks
    equal = [arm for arm in view.arms if len(view.benchmarks_where(arm, "equivalent")) > 0]
    shown = (
        f" Shown to be equivalent to it, within the declared margin: {_equal_on(view, equal)}."
        if equal
        else ""
    )
    on = f"none of the {len(benchmarks)} benchmarks" if len(benchmarks) > 1 else "the one benchmark"
    verb = "did" if len(benchmarks) > 1 else "did not"
    return (
        f"On {on} {verb} any dataset move the model measurably for better or worse against the "
        f"{view.control} control, so this study names no best dataset.{shown}"
    )


def _equal_on(view: View, arms: list[str]) -> str:
    return "; ".join(
        f"{arm} on {_titles(view.benchmarks_where(arm, 'equivalent'))}" for arm in arms
    )


def _could_have_seen(view: View) -> str:
    """Say how large a difference the study would have found: no find is not no difference."""
    sizes = [
        found.smallest_detectable
        for benchmark in view.results.benchmarks
        for arm in view.arms
        if (found := view.comparison(benchmark, arm, view.control))
        and view.sound(benchmark, arm, view.control)
        and isfinite(found.smallest_detectable)
    ]
    if not sizes:
        return ""
    span = number(min(sizes))
    if number(max(sizes)) != span:
        span = f"{span} (on the surest comparison) to {number(max(sizes))} (on the least sure)"
    return (
        f"It would have found differences of {span} four times in five; smaller ones it may miss."
    )


def _one_seed(view: View) -> str:
    return "All of this rests on one seed per arm." if len(view.results.seeds) == 1 else ""


def _gains_and_losses(
    won: dict[str, list[BenchmarkResult]], lost: dict[str, list[BenchmarkResult]]
) -> str:
    phrases = []
    for arm, gained in won.items():
        better = f"better on {_titles(gained)}" if gained else ""
        worse = f"worse on {_titles(lost[arm])}" if lost[arm] else ""
        if better or worse:
            phrases.append(f"{arm} is {' but '.join(filter(None, (better, worse)))}")
    return "; ".join(phrases)


def _best_sentence(view: View) -> str:
    best = [(view.best(each), each.title) for each in view.results.benchmarks]
    found = [f"{arm} on {title}" for arm, title in best if arm]
    if not found:
        return "No dataset is better than every other one on any benchmark."
    return f"Better than every other dataset as well: {'; '.join(found)}."


def _titles(benchmarks: list[BenchmarkResult]) -> str:
    return listing([each.title for each in benchmarks])


def _on_benchmark(view: View, benchmark: BenchmarkResult) -> str:
    """Say what the primary metric of one benchmark shows for every arm."""
    parts = []
    for verdict in DECIDED:
        arms = view.arms_that_are(verdict, benchmark)
        parts += [f"{arm} is {verdict} ({_difference(view, benchmark, arm)})" for arm in arms]
    for verdict, word in OPEN:
        arms = view.arms_that_are(verdict, benchmark)
        parts += [f"{listing(arms)} {'is' if len(arms) == 1 else 'are'} {word}"] if arms else []
    winners = view.arms_that_are("better", benchmark)
    if len(winners) > 1:
        parts.append(_between(view, benchmark, winners))
    flagged = view.flagged(benchmark)
    if flagged:
        who = "every model" if len(flagged) == len(view.models) else listing(flagged)
        parts.append(f"the numbers of {who} are flagged as degenerate and count as no finding")
    text = "; ".join(parts) or "no arm was compared with the control"
    return f"{benchmark.title} ({view.judged(benchmark)}): {text}."


def _between(view: View, benchmark: BenchmarkResult, winners: list[str]) -> str:
    best = view.best(benchmark)
    if best:
        return f"{best} is also better than every other arm"
    decided = [
        f"{a} is {verdict} than {b}"
        for a, b in combinations(winners, 2)
        if (verdict := view.verdict(benchmark, a, b)) in DECIDED
    ]
    return "; ".join(decided) or "among these, which is best is not settled"


def _difference(view: View, benchmark: BenchmarkResult, arm: str) -> str:
    found = view.comparison(benchmark, arm, view.control)
    assert found is not None
    return (
        f"{signed(found.difference.value)} {interval(found.difference)}, "
        f"adjusted p{THIN}{_with_sign(p_value(found.adjusted_p))}"
    )


def _with_sign(p: str) -> str:
    return p if p.startswith("<") else f"={THIN}{p}"


def _prices(view: View) -> tuple[str, ...]:
    return tuple(_price(view, arm) for arm in view.arms if view.arm_results(arm))


def _price(view: View, arm: str) -> str:
    """Say how far one arm's own reward rose, at what KL, and what became worse."""
    results = view.arm_results(arm)
    gains = listing([f"{signed(each.gain.value, 2)} {interval(each.gain, 2)}" for each in results])
    kl = listing([number(each.kl.value, 1) for each in results])
    seeds = f" (seeds {listing([str(each.seed) for each in results])})" if results[1:] else ""
    worse = view.benchmarks_where(arm, "worse")
    cost = f"worse on {_titles(worse)}" if worse else "no benchmark shows it worse"
    sentence = (
        f"{arm}: its own reward {_verb([each.gain for each in results])} {gains} sd of base "
        f"answers{seeds}, at a KL of {kl} nats per response; {cost}"
    )
    return f"{sentence}{_others_falling(view, arm)}{_stopped(results)}{_alarms(results)}."


def _verb(gains: list[Estimate]) -> str:
    if all(gain.low > 0 for gain in gains):
        return "rose by"
    if all(gain.high < 0 for gain in gains):
        return "fell:"
    return "did not clearly rise in every seed:" if gains[1:] else "did not clearly change:"


def _others_falling(view: View, arm: str) -> str:
    fallen = [cell.judge for cell in falling(view, arm)]
    if not fallen:
        return ""
    return f"; under the reward of {listing(fallen)} its answers fell below {FINETUNED}'s"


def _stopped(results: tuple[ArmResult, ...]) -> str:
    ended = [f"seed {each.seed}: {each.stopped}" for each in results if each.stopped]
    return f"; stopped early ({'; '.join(ended)})" if ended else ""


def _alarms(results: tuple[ArmResult, ...]) -> str:
    said = alarms_said(results)
    return f"; alarms in training: {said}" if said else ""


def _certainty(view: View) -> tuple[str, ...]:
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
    if results.undeclared:
        sentences.append(
            f"Changed after outcomes were known: {listing(list(results.undeclared))}. What rests "
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
    found = [each.smallest_detectable for each in undecided]
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


def _limits(view: View) -> tuple[str, ...]:
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
    cut = [f"{each.title} {plural(each.cut, 'item')}" for each in results.benchmarks if each.cut]
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
