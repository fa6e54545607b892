"""The answer in plain sentences, none of which claims more than the comparisons hold."""

from __future__ import annotations

from itertools import combinations

from ethosteer.records import FINETUNED
from ethosteer.report.alarms import alarms_in_words
from ethosteer.report.blocks import Block, Bullets, Text
from ethosteer.report.certainty import certainty, limits
from ethosteer.report.headline import difference_said, headline, titles
from ethosteer.report.numbers import interval, listing, number, signed
from ethosteer.report.rewards import falls
from ethosteer.report.view import View
from ethosteer.results import ArmResult, BenchmarkResult, Estimate, Verdict

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
        Bullets("How sure this is", certainty(view)),
        Bullets("What this study cannot say", limits(view)),
    )
    return (Text(headline(view), lead=True), *(part for part in parts if part.items))


def _on_benchmark(view: View, benchmark: BenchmarkResult) -> str:
    """Say what the primary metric of one benchmark shows for every arm."""
    parts = []
    for verdict in DECIDED:
        arms = view.arms_that_are(verdict, benchmark)
        parts += [f"{arm} is {verdict} ({difference_said(view, benchmark, arm)})" for arm in arms]
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
    return f"{benchmark.title} ({view.tested_metric(benchmark)}): {text}."


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


def _prices(view: View) -> tuple[str, ...]:
    return tuple(_price(view, arm) for arm in view.arms if view.arm_results(arm))


def _price(view: View, arm: str) -> str:
    """Say how far one arm's own reward rose, at what KL, and what became worse."""
    results = view.arm_results(arm)
    gains = listing([f"{signed(each.gain.value, 2)} {interval(each.gain, 2)}" for each in results])
    kl = listing([number(each.kl.value, 1) for each in results])
    seeds = f" (seeds {listing([str(each.seed) for each in results])})" if results[1:] else ""
    worse = view.benchmarks_where(arm, "worse")
    cost = f"worse on {titles(worse)}" if worse else "no benchmark shows it worse"
    sentence = (
        f"{arm}: its own reward {_verb([each.gain for each in results])} {gains} sd of base "
        f"answers{seeds}, at a KL of {kl} nats per response; {cost}"
    )
    return f"{sentence}{_others_falls(view, arm)}{_stopped(results)}{_alarms(results)}."


def _verb(gains: list[Estimate]) -> str:
    if all(gain.low > 0 for gain in gains):
        return "rose by"
    if all(gain.high < 0 for gain in gains):
        return "fell:"
    return "did not clearly rise in every seed:" if gains[1:] else "did not clearly change:"


def _others_falls(view: View, arm: str) -> str:
    fallen = [cell.reward_model for cell in falls(view, arm)]
    if not fallen:
        return ""
    return f"; under the reward of {listing(fallen)} its answers fell below {FINETUNED}'s"


def _stopped(results: tuple[ArmResult, ...]) -> str:
    ended = [f"seed {each.seed}: {each.stopped}" for each in results if each.stopped]
    return f"; stopped early ({'; '.join(ended)})" if ended else ""


def _alarms(results: tuple[ArmResult, ...]) -> str:
    said = alarms_in_words(results)
    return f"; alarms in training: {said}" if said else ""
