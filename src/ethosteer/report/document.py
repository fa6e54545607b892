"""The report's sections, in the order in which a reader asks."""

from __future__ import annotations

from ethosteer.report.answer import answer
from ethosteer.report.blocks import Block, Code, Document, Figures, Section, Text
from ethosteer.report.cross import cross_blocks
from ethosteer.report.curves import arm_figures, curve_figures
from ethosteer.report.data import (
    basis_table,
    card_table,
    count_table,
    drop_table,
    overlap_table,
    prompt_table,
    provenance_table,
    reward_table,
    sample_table,
    time_table,
)
from ethosteer.report.differences import difference_figure
from ethosteer.report.flips import flip_table, flip_view
from ethosteer.report.numbers import plural
from ethosteer.report.published import NOT_LIKE_FOR_LIKE, published_tables
from ethosteer.report.steering import alarm_table, rate_tables, steering_table
from ethosteer.report.tables import (
    answers_table,
    comparison_table,
    glance_table,
    metrics_table,
    outcome_figures,
    slices_table,
    summary_tables,
    unequal_items,
)
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult

READING_VERDICTS = (
    "Better and worse: a difference from the control is shown, by its adjusted p-value. "
    "Equivalent: it is shown to lie within the declared margin. Undecided: neither is shown. "
    "Every verdict leads to the items behind it. A "
    "flag marks a degenerate number, such as a constant answer gets: no finding, whatever its "
    "verdict."
)
BY_ITEM = (
    "Every item with the answers of any two models beside each other, and by how many nats the "
    "right choice led the best other one (the margin; of two choices without a right one, the "
    "first)."
)
ALONE = (
    "Reward against KL once more, arm by arm on the same scales: how much reward each arm bought "
    "with how far it went from the base, seed by seed. Diamonds: the evaluated checkpoints, on "
    "held-out prompts. Grey: the other arms."
)


def document(view: View) -> Document:
    """Lay out the whole report; sections without content are left out."""
    results = view.results
    sections = (
        Section("answer", "The answer", _answer(view)),
        Section("benchmarks", "Benchmarks", _benchmarks(view)),
        Section("differences", "Differences from the control", _differences(view)),
        Section("rewards", "Reward models and steering", _training(view)),
        Section("cross", "Reward under every reward model", cross_blocks(view)),
        Section("samples", "Sample answers", _samples(view)),
        Section("flips", "Item by item", _flips(view)),
        Section("data", "The data", _data(view)),
        Section("published", "The study of 2024", _published(view)),
        Section("run", "What was run, and how to repeat it", _run(view)),
    )
    facts = (
        f"study {results.study}",
        plural(len(view.arms), "arm"),
        plural(len(results.seeds), "seed"),
        plural(len(results.benchmarks), "benchmark"),
        f"control: {results.control}",
    )
    return Document(
        title=f"{results.study}: a study in steering",
        question=results.question,
        facts=" · ".join(facts),
        sections=tuple(section for section in sections if section.blocks),
    )


def _answer(view: View) -> tuple[Block, ...]:
    """Return the answer in short, the verdicts at a glance, then the answer at length."""
    short, *long = answer(view)
    glance = glance_table(view)
    return (short, *((glance,) if glance else ()), *long)


def _flips(view: View) -> tuple[Block, ...]:
    counts, items = flip_table(view), flip_view(view)
    if not items:
        return (counts,) if counts else ()
    return (Text(BY_ITEM), *((counts,) if counts else ()), items)


def _benchmarks(view: View) -> tuple[Block, ...]:
    if not view.results.benchmarks:
        return ()
    warning, answers, outcomes = unequal_items(view), answers_table(view), outcome_figures(view)
    return (
        *((Text(warning),) if warning else ()),
        Text(READING_VERDICTS),
        *summary_tables(view),
        *((Figures(outcomes),) if outcomes else ()),
        *((answers,) if answers else ()),
        *(table for each in view.results.benchmarks for table in _in_full(view, each)),
    )


def _in_full(view: View, benchmark: BenchmarkResult) -> tuple[Block, ...]:
    """Return all metrics of one benchmark, and its parts where it has some."""
    parts = slices_table(view, benchmark)
    return (metrics_table(view, benchmark), *((parts,) if parts else ()))


def _differences(view: View) -> tuple[Block, ...]:
    benchmarks = view.results.benchmarks
    figures = [figure for each in benchmarks if (figure := difference_figure(view, each))]
    tables = [table for each in benchmarks if (table := comparison_table(view, each)).rows]
    if not tables:
        return ()
    margin = view.results.margin
    shaded = " The shaded band is the declared margin of equivalence." if margin else ""
    text = Text(
        "What is judged of each arm less the control's, on the same items, with 95 % intervals. A "
        f"filled dot is a verdict, a hollow one is undecided.{shaded} Scales differ from plot to "
        "plot."
    )
    drawn: tuple[Block, ...] = (text, Figures(tuple(figures))) if figures else ()
    return (*drawn, *tables)


def _training(view: View) -> tuple[Block, ...]:
    if not view.results.arms:
        return ()
    figures, alone, alarms = curve_figures(view), arm_figures(view), alarm_table(view)
    return (
        reward_table(view),
        steering_table(view),
        *((alarms,) if alarms else ()),
        Text(
            "While steering, every arm's reward is that of its own reward model, normalised so "
            "that base answers have mean 0 and sd 1. Arms are best compared at equal KL, not at "
            "equal steps."
        ),
        *((Figures(figures),) if figures else ()),
        *((Text(ALONE), Figures(alone)) if alone else ()),
        *rate_tables(view),
    )


def _samples(view: View) -> tuple[Block, ...]:
    samples = view.results.samples
    if not samples:
        return ()
    text = Text(
        "Every model's answer to the same held-out prompts, drawn with the same sampling noise, "
        "with its normalised reward by every reward model. These are examples, not evidence."
    )
    return (text, *(sample_table(view, each, place + 1) for place, each in enumerate(samples)))


def _data(view: View) -> tuple[Block, ...]:
    if not view.results.cards:
        return ()
    overlap = (overlap_table(view),) if view.results.overlaps else ()
    return (card_table(view), count_table(view), drop_table(view), *overlap)


def _published(view: View) -> tuple[Block, ...]:
    return (Text(NOT_LIKE_FOR_LIKE), *published_tables(view))


def _run(view: View) -> tuple[Block, ...]:
    results = view.results
    return (
        *((provenance_table(view),) if results.provenance else ()),
        *((time_table(view),) if results.times else ()),
        *((basis_table(view),) if any(each.comparability for each in results.benchmarks) else ()),
        *((prompt_table(view),) if any(each.example for each in results.benchmarks) else ()),
        Text(
            "To repeat the study, run the study file that lies beside this report. The second "
            "command builds this report again from the stored outcomes."
        ),
        Code("ethosteer run study.toml\nethosteer report study.toml"),
    )
