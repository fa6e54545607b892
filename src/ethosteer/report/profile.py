"""The value profile: how likely every model finds the chosen responses of every dataset's pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ethosteer.benchmarks.preferences import MARGIN
from ethosteer.report.benchmarks import clusters_in_words
from ethosteer.report.blocks import Block, Table, Text, present
from ethosteer.report.headline import Finding
from ethosteer.report.numbers import count, number, signed
from ethosteer.report.prose import paragraph
from ethosteer.report.rewards import signed_cell
from ethosteer.report.table import Numbers, Write, cell, table
from ethosteer.report.view import View
from ethosteer.results.comparisons import Comparison

ACCURACY_STEPS = (0.05, 0.15)
MARGIN_STEPS = (0.05, 0.2)
"""Differences beyond which a tint grows stronger, and stronger again; margins in nats per token."""


@dataclass(frozen=True)
class OnProfile:
    """The facts of ``text/profile.j2``: an arm's comparisons with the control, by verdict.

    A finding's ``title`` is the dataset; ``dataset`` is the one that the arm was steered with.
    """

    arm: str
    dataset: str
    control: str
    correction: str
    towards: list[Finding]
    away: list[Finding]
    equivalent: list[str]
    undecided: list[str]


def profile_blocks(view: View) -> tuple[Block, ...]:
    """Return the matrices of accuracies and margins with their introduction; nothing without."""
    if not view.profile:
        return ()
    accuracies = _matrix(
        view, "", "Proportion of held-out pairs whose chosen response is likelier per token",
        number, ACCURACY_STEPS,
        note="At 0.5 a model prefers neither response.",
    )  # fmt: skip
    margins = _matrix(
        view, MARGIN, "Mean margin of the chosen response (nats per token)",
        signed, MARGIN_STEPS,
        note="The difference of the log-likelihoods of both responses, each per token.",
    )  # fmt: skip
    introduction = paragraph("profile_introduction", control=view.control)
    return present(Text(introduction), accuracies, margins)


def _matrix(
    view: View, metric: str, title: str, write: Write, steps: tuple[float, float], *, note: str
) -> Table:
    """Return models by datasets on one metric of the profile, the primary one for ""."""
    rows = []
    for model in view.models:
        dataset = view.dataset_of(model)
        cells = [
            signed_cell(
                result.estimate,
                write,
                _shown_change(view.comparison(benchmark, model, view.control, metric)),
                steps,
                framed=benchmark.dataset == dataset,
                digits=3,
            )
            if (result := view.cell(benchmark, model, metric))
            else None
            for benchmark in view.profile
        ]
        rows.append((cell(model, small=["control"] if model == view.control else []), *cells))
    items = (
        cell(count(benchmark.items), small=clusters_in_words(benchmark))
        for benchmark in view.profile
    )
    return table(
        title,
        ("model", *(Numbers(f"pairs: {benchmark.dataset}") for benchmark in view.profile)),
        [*rows, ("pairs", *items)],
        note=f"{note} With unadjusted 95 % confidence intervals, clustered by scenario and by "
        "near-duplicates. Framed: "
        f"the dataset that an arm was steered with. Tints grow stronger for differences from "
        f"{view.control} beyond {steps[0]:g} and {steps[1]:g}.",
        summary=1,
    )


def _shown_change(comparison: Comparison | None) -> float:
    """Return the difference from the control, 0 where it is not significant or not compared."""
    if comparison is None or comparison.verdict not in ("better", "worse"):
        return 0.0
    return comparison.difference.value


def profile_sentences(view: View) -> tuple[str, ...]:
    """Return a sentence for every arm on what it finds likelier than the control does."""
    sentences = []
    for arm in view.arms if view.profile else ():
        by_verdict: dict[str, list[Finding]] = {}
        for benchmark in view.profile:
            comparison = view.comparison(benchmark, arm, view.control)
            if comparison:
                finding = Finding(arm, benchmark.dataset, comparison)
                by_verdict.setdefault(comparison.verdict, []).append(finding)
        facts = OnProfile(
            arm=arm,
            dataset=view.dataset_of(arm),
            control=view.control,
            correction=view.results.correction,
            towards=by_verdict.get("better", []),
            away=by_verdict.get("worse", []),
            equivalent=[finding.title for finding in by_verdict.get("equivalent", [])],
            undecided=[finding.title for finding in by_verdict.get("undecided", [])],
        )
        if by_verdict:
            sentences.append(paragraph("profile", **vars(facts)))
    return tuple(sentences)
