"""The answer in short: which dataset, how certain, at what cost, what was detectable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ethosteer.report.prose import paragraph, paragraphs
from ethosteer.report.view import DIRECTED, VARIED, ConstantAnswers, Shift, View
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison, Verdict

Entry = TypeVar("Entry")

OVERLAP_OF_CONCERN = 0.01
"""The share of an arm's pairs with text of a benchmark from which a gain there is in doubt."""
MOST_DETAILED = 2
"""The number of findings that a sentence can give with their intervals and p."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An arm's comparison with the control on one benchmark, and the benchmark's title.

    ``constant`` says which of the two give a constant answer. ``not_exceeded`` is the constant
    answer that the arm is not shown to be better than, "" if it is.
    """

    arm: str
    title: str
    comparison: Comparison
    constant: ConstantAnswers = VARIED
    not_exceeded: str = ""


@dataclass(frozen=True, slots=True)
class ControlSkill:
    """A benchmark on which the control is not shown to be better than a constant answer.

    ``constant`` is its constant answer as a predicate, "" if its answers vary; ``not_exceeded``
    names the constant answer that it is not shown to exceed, "" if it does.
    """

    title: str
    constant: str
    not_exceeded: str


@dataclass(frozen=True, slots=True)
class ArmFindings:
    """One arm's findings against the control, by verdict."""

    arm: str
    better: list[Finding]
    worse: list[Finding]
    equivalent: list[Finding]


@dataclass(frozen=True, slots=True)
class Contamination:
    """A gain on a benchmark with which a ``share`` of the arm's pairs has ``words`` in common."""

    arm: str
    title: str
    share: float
    words: int


@dataclass(frozen=True)
class Headline:
    """The facts of ``text/headline.j2``.

    ``changed`` are the arms with a benchmark on which they are better or worse; ``detailed`` if
    these findings are few enough for their intervals. ``detectable`` are the minimum detectable
    differences between models whose answers vary.
    """

    control: str
    correction: str
    benchmarks: int
    detailed: bool
    changed: list[ArmFindings]
    unchanged: list[ArmFindings]
    detectable: list[float]


@dataclass(frozen=True)
class HeadlineDetails:
    """The facts of ``text/headline_details.j2``.

    ``best`` pairs an arm that is better than the control and than every other arm with the
    benchmark. ``collapsed`` are arms, with their constant answer, that were not shown to be better
    or worse than a control whose answers vary, by the benchmark's title. ``constant_control`` are
    the titles by the constant answer that the control gives there, and ``not_exceeded`` the other
    titles by the constant answer that it is not shown to exceed. ``shifts`` are the disagreements
    of AUC with the tested metric, by title. ``out_of_reach`` counts the comparisons whose minimum
    detectable difference is larger than any improvement could be.
    """

    control: str
    correction: str
    benchmarks: int
    seeds: int
    changed: list[ArmFindings]
    unchanged: list[ArmFindings]
    best: list[tuple[str, str]]
    contaminated: list[Contamination]
    collapsed: dict[str, list[tuple[str, str]]]
    constant_control: dict[str, list[str]]
    not_exceeded: dict[str, list[str]]
    shifts: dict[str, list[Shift]]
    out_of_reach: int


def headline(view: View) -> tuple[tuple[str, ...], str]:
    """Return which dataset steers best on what and what was detectable, and what qualifies it.

    The former is a sentence or two in each of up to two paragraphs.
    """
    benchmarks = view.results.benchmarks

    def findings(arm: str, verdict: Verdict) -> list[Finding]:
        return [finding(view, benchmark, arm) for benchmark in view.benchmarks_where(arm, verdict)]

    arms = [
        ArmFindings(
            arm, findings(arm, "better"), findings(arm, "worse"), findings(arm, "equivalent")
        )
        for arm in view.arms
    ]
    changed = [arm for arm in arms if arm.better or arm.worse]
    unchanged = [arm for arm in arms if not arm.better and not arm.worse]
    compared = [
        finding(view, benchmark, arm)
        for benchmark in benchmarks
        for arm in view.arms
        if view.comparison(benchmark, arm, view.control)
    ]
    varied = [entry.comparison for entry in compared if entry.constant == VARIED]
    within_reach = [pair for pair in varied if pair.minimum_detectable <= pair.room]
    facts = Headline(
        control=view.control,
        correction=view.results.correction,
        benchmarks=len(benchmarks),
        detailed=sum(len(arm.better) + len(arm.worse) for arm in changed) <= MOST_DETAILED,
        changed=changed,
        unchanged=unchanged,
        detectable=[pair.minimum_detectable for pair in within_reach],
    )
    skills = [skill for benchmark in benchmarks if (skill := control_skill(view, benchmark))]
    details = HeadlineDetails(
        control=view.control,
        correction=view.results.correction,
        benchmarks=len(benchmarks),
        seeds=len(view.results.seeds),
        changed=changed,
        unchanged=unchanged,
        best=[(arm, benchmark.title) for benchmark in benchmarks if (arm := view.best(benchmark))],
        contaminated=_contaminated(view),
        collapsed=_collapsed(compared),
        constant_control=grouped(
            (skill.constant, skill.title) for skill in skills if skill.constant
        ),
        not_exceeded=grouped(
            (skill.not_exceeded, skill.title) for skill in skills if not skill.constant
        ),
        shifts=grouped((shift.title, shift) for shift in shifts(view, benchmarks)),
        out_of_reach=sum(pair.minimum_detectable > pair.room for pair in varied),
    )
    return (
        paragraphs("headline", **vars(facts)),
        paragraph("headline_details", **vars(details)),
    )


def grouped(pairs: Iterable[tuple[str, Entry]]) -> dict[str, list[Entry]]:
    """Return the entries of equal keys together, in the order in which they come."""
    groups: dict[str, list[Entry]] = {}
    for key, entry in pairs:
        groups.setdefault(key, []).append(entry)
    return groups


def finding(view: View, benchmark: BenchmarkResult, arm: str) -> Finding:
    """Return an arm's comparison with the control, which the study must have made."""
    comparison = view.comparison(benchmark, arm, view.control)
    assert comparison is not None
    return Finding(
        arm,
        benchmark.title,
        comparison,
        view.constant_answers(benchmark, arm, view.control),
        view.constant_not_exceeded(benchmark, arm),
    )


def control_skill(view: View, benchmark: BenchmarkResult) -> ControlSkill | None:
    """Return how the control compares with constant answers; None if nothing qualifies it."""
    constant = view.constant_answer(benchmark, view.control)
    not_exceeded = view.constant_not_exceeded(benchmark, view.control)
    if not constant and not not_exceeded:
        return None
    return ControlSkill(benchmark.title, constant, not_exceeded)


def shifts(view: View, benchmarks: Sequence[BenchmarkResult]) -> list[Shift]:
    """Return where AUC disagrees with the tested metric, benchmark by benchmark."""
    return [
        shift
        for benchmark in benchmarks
        for arm in view.arms
        if (shift := view.shift(benchmark, arm))
    ]


def _collapsed(compared: Iterable[Finding]) -> dict[str, list[tuple[str, str]]]:
    """Return the arms whose constant answer beside a sound control was not decided on."""
    return grouped(
        (entry.title, (entry.arm, entry.constant.a))
        for entry in compared
        if entry.constant.a and not entry.constant.b and entry.comparison.verdict not in DIRECTED
    )


def _contaminated(view: View) -> list[Contamination]:
    """Return the gains on benchmarks that share much text with the arm's preference pairs."""
    overlaps = {(overlap.dataset, overlap.benchmark): overlap for overlap in view.results.overlaps}
    gains = [
        (arm, benchmark, overlaps.get((view.reward_model_of(arm) or arm, benchmark.name)))
        for arm in view.arms
        for benchmark in view.benchmarks_where(arm, "better")
    ]
    return [
        Contamination(arm, benchmark.title, overlap.overlapping / overlap.pairs, overlap.n)
        for arm, benchmark, overlap in gains
        if overlap and overlap.pairs and overlap.overlapping / overlap.pairs >= OVERLAP_OF_CONCERN
    ]
