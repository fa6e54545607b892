"""The report's sections, in the order in which a reader asks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ethosteer.report.alarms import alarm_table
from ethosteer.report.answer import answer
from ethosteer.report.benchmarks import (
    answers_table,
    metrics_table,
    outcome_figures,
    slices_table,
    summary_tables,
    unequal_items,
)
from ethosteer.report.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Figures,
    Section,
    Table,
    Text,
    present,
)
from ethosteer.report.curves import arm_figures, curve_figures
from ethosteer.report.data import card_table, count_table, drop_table, overlap_table
from ethosteer.report.differences import comparison_table, difference_figure
from ethosteer.report.first_screen import first_screen
from ethosteer.report.glossary import glossary
from ethosteer.report.items import discordant_table, item_browser, sample_note
from ethosteer.report.numbers import plural
from ethosteer.report.profile import profile_blocks
from ethosteer.report.prose import paragraph
from ethosteer.report.provenance import (
    comparability_table,
    prompt_table,
    provenance_table,
    study_file_table,
    time_table,
)
from ethosteer.report.rewards import reward_blocks
from ethosteer.report.samples import sample_table
from ethosteer.report.steering import reward_table, slope_tables, steering_table, validation_table
from ethosteer.report.view import View
from ethosteer.results.study import DATA_FOLDER


def document(view: View, added: Sequence[Section] = (), files: Sequence[str] = ()) -> Document:
    """Lay out the whole report, with links to ``files`` beside it.

    ``added`` stands before the last sections; empty sections are left out.
    """
    results = view.results
    sections = (
        Section("answer", "The answer", _answer(view, files), "Answer"),
        Section("benchmarks", "Benchmarks", _benchmarks(view)),
        Section("steering", "Reward models and steering", _steering(view), "Steering"),
        Section("differences", "Differences from the control", _differences(view), "Differences",
                folded=True),
        Section("rewards", "Reward under every reward model", reward_blocks(view), "Rewards",
                folded=True),
        Section("profile", "Value profile", profile_blocks(view), "Profile", folded=True),
        Section("samples", "Sample answers", _samples(view), "Samples", folded=True),
        Section("items", "Item by item", _items(view, files), "Items", folded=True),
        Section("data", "The data", _data(view), "Data", folded=True),
        *(replace(section, folded=True) for section in added),
        Section("run", "Provenance and reproduction", _run(view, files), "Provenance", folded=True),
        Section("glossary", "Glossary", (glossary(),), folded=True),
    )  # fmt: skip
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


def _answer(view: View, files: Sequence[str]) -> tuple[Block, ...]:
    """Return the first screen, and what it leaves out as folded lists."""
    blocks = answer(view)
    texts = [block for block in blocks if isinstance(block, Text)]
    lists = [replace(block, folded=True) for block in blocks if isinstance(block, Bullets)]
    return (first_screen(view, texts, files), *lists)


def _items(view: View, files: Sequence[str]) -> tuple[Block, ...]:
    items = item_browser(view, files)
    note = sample_note(items) if items else ()
    return present(_text("items") if items else None, *note, discordant_table(view), items)


def _folded(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    """Fold tables that few readers look for; None is left out."""
    return tuple(replace(table, folded=True) for table in tables if table)


def _text(template: str, **facts: object) -> Text:
    return Text(paragraph(template, **facts))


def _benchmarks(view: View) -> tuple[Block, ...]:
    benchmarks = view.results.benchmarks
    if not benchmarks:
        return ()
    warning = unequal_items(view)
    in_full = (
        tabulate(view, benchmark)
        for benchmark in benchmarks
        for tabulate in (metrics_table, slices_table)
    )
    return present(
        Text(warning) if warning else None,
        _text("verdicts"),
        *summary_tables(view),
        Figures(outcome_figures(view)),
        answers_table(view),
        *in_full,
    )


def _differences(view: View) -> tuple[Block, ...]:
    benchmarks = view.results.benchmarks
    figures = [difference_figure(view, benchmark) for benchmark in benchmarks]
    drawn = tuple(figure for figure in figures if figure)
    tables = [comparison_table(view, benchmark) for benchmark in benchmarks]
    compared = [table for table in tables if table.rows]
    if not compared:
        return ()
    introduction = _text("differences", margin=view.results.margin) if drawn else None
    return present(introduction, Figures(drawn), *compared)


def _steering(view: View) -> tuple[Block, ...]:
    if not view.results.arms:
        return ()
    by_arm = arm_figures(view)
    return present(
        reward_table(view),
        steering_table(view),
        *_folded((validation_table(view), alarm_table(view))),
        _text("steering"),
        Figures(curve_figures(view)),
        _text("steering_by_arm") if by_arm else None,
        Figures(by_arm),
        *_folded(slope_tables(view)),
    )


def _samples(view: View) -> tuple[Block, ...]:
    samples = view.results.samples
    if not samples:
        return ()
    tables = (sample_table(view, sample, index) for index, sample in enumerate(samples, start=1))
    return (_text("samples"), *tables)


def _data(view: View) -> tuple[Block, ...]:
    if not view.results.cards:
        return ()
    overlaps = overlap_table(view) if view.results.overlaps else None
    dropped = _folded((drop_table(view),))
    return present(card_table(view), count_table(view), overlaps, *dropped)


def _run(view: View, files: Sequence[str]) -> tuple[Block, ...]:
    results = view.results
    benchmarks = results.benchmarks
    return present(
        provenance_table(view) if results.provenance else None,
        study_file_table(view),
        *_folded((time_table(view) if results.times else None,)),
        comparability_table(view)
        if any(benchmark.comparability for benchmark in benchmarks)
        else None,
        prompt_table(view) if any(benchmark.example for benchmark in benchmarks) else None,
        *_repetition(view, files),
    )


def _repetition(view: View, files: Sequence[str]) -> tuple[Block, ...]:
    """Return the commands that repeat the study, for the folder that the report is written to."""
    folder = view.results.provenance.get(DATA_FOLDER)
    data = f" --data-dir {shlex.quote(folder)}" if folder else ""
    commands = [f"ethosteer run study.toml --runs-dir repeated{data}"]
    kept = {"study.toml", "outcomes.parquet"} <= set(files)
    if kept:
        commands.append("ethosteer report .")
    facts = _text("repeat", kept=kept, study=view.results.study)
    return facts, Code("\n".join(commands))
