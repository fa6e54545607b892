"""The first screen: the effects, the answer in short, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence

from ethosteer.report.alarms import alarms_in_words
from ethosteer.report.benchmarks import unequal_items
from ethosteer.report.blocks import FileList, FirstScreen, Notice, Text, Warnings
from ethosteer.report.certainty import FEW_SEEDS
from ethosteer.report.effects import effect_matrix
from ethosteer.report.headline import OVERLAP_OF_CONCERN, control_skill, grouped
from ethosteer.report.numbers import listing
from ethosteer.report.prose import paragraphs
from ethosteer.report.reward_models import doubts
from ethosteer.report.view import View


def first_screen(view: View, texts: Sequence[Text], files: Sequence[str] = ()) -> FirstScreen:
    """Set the answer in short beside the effects, its warnings, and the names of ``files``."""
    return FirstScreen(
        texts=tuple(texts),
        effects=effect_matrix(view),
        warnings=warnings(view),
        files=FileList(tuple(files)) if files else None,
    )


def warnings(view: View) -> Warnings | None:
    """Return what a reader must know before believing the answer; None where there is nothing."""
    results = view.results
    benchmarks = results.benchmarks
    constant_arms = grouped(
        (benchmark.title, (arm, answer))
        for benchmark in benchmarks
        for arm in view.arms
        if (answer := view.constant_answer(benchmark, arm)) and view.sound(benchmark, view.control)
    )
    titles = {benchmark.name: benchmark.title for benchmark in benchmarks}
    shares = [
        (overlap.dataset, titles.get(overlap.benchmark, overlap.benchmark), share)
        for overlap in results.overlaps
        if overlap.pairs and (share := overlap.overlapping / overlap.pairs) >= OVERLAP_OF_CONCERN
    ]
    runs = {arm: view.arm_results(arm) for arm in view.arms}
    unequal = unequal_items(view).removeprefix("Warning: ")
    lines = paragraphs(
        "warnings",
        seeds=len(results.seeds) if results.arms else 0,
        few_seeds=FEW_SEEDS,
        control=view.control,
        unskilled=[benchmark.title for benchmark in benchmarks if control_skill(view, benchmark)],
        constant_arms=constant_arms,
        doubts=doubts(view).values(),
        shares=shares,
        stopped=[arm for arm, seeds in runs.items() if any(run.stopped for run in seeds)],
        alarmed={arm: words for arm, seeds in runs.items() if (words := alarms_in_words(seeds))},
        unequal=unequal[:1].upper() + unequal[1:],
        deviations=listing(results.deviations),
    )
    # every paragraph begins with its title, which is the template's own and has no colon
    notices = [Notice(*line.split(": ", 1)) for line in lines]
    return Warnings(tuple(notices)) if notices else None
