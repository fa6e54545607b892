"""The answer in one paragraph: which dataset, how sure, at what cost, and what would be missed."""

from __future__ import annotations

from math import isfinite

from ethosteer.report.numbers import THIN, interval, listing, number, p_value, percent, signed
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult

MUCH_SHARED = 0.01
"""The share of an arm's pairs that have text of a benchmark, from which a gain there is suspect."""


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
        f"Against the {view.control} control, {_gains_and_losses(view, won, lost)}.",
        _best_sentence(view),
        _memory(view, won),
    ]
    unpaid = [arm for arm in view.arms if won[arm] and not lost[arm]]
    if unpaid and len(benchmarks) > 1:
        sentences.append(f"No benchmark shows {listing(unpaid)} worse.")
    still = [arm for arm in view.arms if not won[arm] and not lost[arm]]
    if still:
        sentences.append(f"For {listing(still)}, no benchmark shows a change for better or worse.")
    return " ".join(filter(None, (*sentences, _one_seed(view))))


def _memory(view: View, won: dict[str, list[BenchmarkResult]]) -> str:
    """Warn where what an arm is better on is what its data share text with."""
    shares = {(each.dataset, each.benchmark): each for each in view.results.overlaps}
    found = []
    for arm, benchmarks in won.items():
        for benchmark in benchmarks:
            each = shares.get((view.reward_model_of(arm) or arm, benchmark.name))
            if each and each.pairs and each.overlapping / each.pairs >= MUCH_SHARED:
                share = percent(each.overlapping / each.pairs)
                found.append(
                    f"What {arm} gained on {benchmark.title} may be memory: {share} of its "
                    "training pairs share text with that benchmark."
                )
    return " ".join(found)


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
        f"{view.control} control, so this study names no best dataset.{shown}{_no_use(view)}"
    )


def _no_use(view: View) -> str:
    """Say on how many benchmarks every arm's comparison is degenerate."""
    flat = [
        each
        for each in view.results.benchmarks
        if not any(view.sound(each, arm, view.control) for arm in view.arms)
    ]
    if not flat:
        return ""
    those = "one of them" if len(flat) == 1 else f"{len(flat)} of them"
    return f" On {those} every arm's comparison is degenerate (constant answers) and says nothing."


def _equal_on(view: View, arms: list[str]) -> str:
    return "; ".join(f"{arm} on {titles(view.benchmarks_where(arm, 'equivalent'))}" for arm in arms)


def _could_have_seen(view: View) -> str:
    """Say how large a difference the study would have found: no find is not no difference."""
    sizes = [
        found.minimum_detectable
        for benchmark in view.results.benchmarks
        for arm in view.arms
        if (found := view.comparison(benchmark, arm, view.control))
        and view.sound(benchmark, arm, view.control)
        and isfinite(found.minimum_detectable)
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
    view: View, won: dict[str, list[BenchmarkResult]], lost: dict[str, list[BenchmarkResult]]
) -> str:
    phrases = []
    for arm, gained in won.items():
        better = f"better on {_with_sizes(view, arm, gained)}" if gained else ""
        worse = f"worse on {_with_sizes(view, arm, lost[arm])}" if lost[arm] else ""
        if better or worse:
            phrases.append(f"{arm} is {' but '.join(filter(None, (better, worse)))}")
    return "; ".join(phrases)


def _with_sizes(view: View, arm: str, benchmarks: list[BenchmarkResult]) -> str:
    return listing([f"{each.title} ({difference_said(view, each, arm)})" for each in benchmarks])


def _best_sentence(view: View) -> str:
    best = [(view.best(each), each.title) for each in view.results.benchmarks]
    found = [f"{arm} on {title}" for arm, title in best if arm]
    if not found:
        return "No dataset is better than every other one on any benchmark."
    return f"Better than every other arm as well: {'; '.join(found)}."


def titles(benchmarks: list[BenchmarkResult]) -> str:
    """Name benchmarks as a sentence does."""
    return listing([each.title for each in benchmarks])


def difference_said(view: View, benchmark: BenchmarkResult, arm: str) -> str:
    """Say by how much an arm differs from the control, and how sure that is."""
    found = view.comparison(benchmark, arm, view.control)
    assert found is not None
    return (
        f"{signed(found.difference.value)} {interval(found.difference)}, "
        f"adjusted p{THIN}{_with_sign(p_value(found.adjusted_p))}"
    )


def _with_sign(p: str) -> str:
    return p if p.startswith("<") else f"={THIN}{p}"
