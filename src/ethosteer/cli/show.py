"""The tables that the command line prints about a study and its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ethosteer.data.pair_sets import Dataset, check_splits, curate_rows
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.progress import escape
from ethosteer.records import Agreement, parse_dialogue
from ethosteer.report.numbers import duration, interval, number, signed
from ethosteer.report.view import View, constant_not_exceeded
from ethosteer.results.study import StudyResults
from ethosteer.settings import ArmSettings, BaseSettings, DataSettings, StudySettings
from ethosteer.stages.finetune import name_of
from ethosteer.stages.stage import SamplingSettings
from ethosteer.study.claims import is_recent, read_states
from ethosteer.study.estimate import matrix_product_rate
from ethosteer.study.remaining import expected_seconds
from ethosteer.study.run import Study

if TYPE_CHECKING:
    from ethosteer.evaluation.standalone import Evaluation
    from ethosteer.study.estimate import StudyEstimate

VERDICTS_SHOWN = 24
"""More verdicts than these are shown without the undecided ones."""

NAMES_SHOWN = 4
"""How many missing pieces of work ``status`` names for each kind of stage."""


def status_table(study: Study) -> Table:
    """Show each kind of stage: what is done, how long it took, and what is missing."""
    store, stages = study.store, study.plan.stages
    table = Table(title=escape(f"{study.settings.name} in {study.folder}"), title_justify="left")
    table.add_column("stage")
    table.add_column("done", justify="right")
    table.add_column("time", justify="right")
    table.add_column("missing")
    for kind in dict.fromkeys(stage.kind for stage in stages):
        of_kind = [stage for stage in stages if stage.kind == kind]
        missing = store.missing(of_kind)
        seconds = sum(store.seconds(stage) for stage in of_kind if stage not in missing)
        names = ", ".join(stage.name for stage in missing[:NAMES_SHOWN])
        if len(missing) > NAMES_SHOWN:
            names += f" and {len(missing) - NAMES_SHOWN} more"
        done = f"{len(of_kind) - len(missing)}/{len(of_kind)}"
        table.add_row(kind, done, f"{seconds:.0f} s", escape(names))
    table.caption = escape("; ".join(_remaining(study)))
    table.caption_justify = "left"
    return table


def _remaining(study: Study) -> Iterator[str]:
    """Yield whether a process is at work on a study, and how long the missing work will take.

    Before it, where checkpoints of other settings are.
    """
    yield from study.other_work()
    if study.store.is_locked():
        yield "another process is running this study now"
    yield from _workers(study)
    if not study.store.missing(study.plan.stages):
        yield "nothing is missing"
        return

    def rate(settings: StudySettings) -> float:
        return matrix_product_rate(settings)[1]

    try:
        seconds = sum(expected_seconds(study.plan, study.store, rate).values())
    except InputError as fault:
        yield f"no estimate of the time left: {fault}"
    else:
        yield f"about {duration(seconds)} left"


def _workers(study: Study) -> Iterator[str]:
    """Yield what each worker of a study is making, and for how long."""
    for state in read_states(study.store.root):
        worker = f"worker on {state.host} (process {state.pid})"
        if state.is_killed:
            yield f"{worker} was killed at {state.position}"
        elif is_recent(study.store.root, state):
            yield f"{worker}: {state.position}, for {duration(state.seconds)}"
        else:
            yield f"{worker} gives no sign of life, last at {state.position}"


def verdicts_table(results: StudyResults) -> Table:
    """Show each arm's verdicts against the control on the benchmarks' tested metrics.

    Of more than ``VERDICTS_SHOWN`` those that are undecided are counted in the caption instead.
    """
    view = View(results)
    compared = [
        (arm, benchmark.name, comparison)
        for arm in view.arms
        for benchmark in results.benchmarks
        if (comparison := view.comparison(benchmark, arm, view.control))
    ]
    shown = compared
    if len(compared) > VERDICTS_SHOWN:
        shown = [row for row in compared if row[2].verdict != "undecided"]
    table = Table(title=escape(f"arms against {view.control}"), title_justify="left")
    for heading in ("arm", "benchmark", "difference", "verdict"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("difference", "verdict"))
    for arm, name, comparison in shown:
        difference = comparison.decided
        table.add_row(
            escape(arm),
            escape(name),
            f"{signed(difference.value)} {escape(interval(difference))}",
            comparison.verdict,
        )
    if hidden := len(compared) - len(shown):
        table.caption = f"undecided: {hidden} of {len(compared)}"
        table.caption_justify = "left"
    return table


def print_card(
    console: Console, dataset: Dataset, arm: ArmSettings, origin: Origin, show: int
) -> None:
    """Curate one dataset with the pocket model's tokenizer; print its card and first pairs.

    Raises InputError, after all is printed, where a split has no pairs.
    """
    from ethosteer.models.loading import load_tokenizer
    from ethosteer.models.text import Template

    template = Template("guanaco", load_tokenizer(BaseSettings()))
    curated = curate_rows(dataset, arm, DataSettings(), origin, template)
    card = curated.card
    table = Table(show_header=False, title=escape(card.name), title_justify="left")
    rows = {
        **({"recognised as": card.format} if card.format else {}),
        **({"agreement": _agreement(card.agreement)} if card.agreement else {}),
        "source": f"{card.source} (licence: {card.licence})",
        "revision": card.revision,
        "rows read": f"{card.rows:,}",
        **{f"{split} pairs": f"{count:,}" for split, count in card.pairs.items()},
        **{f"dropped: {reason}": f"{count:,}" for reason, count in card.dropped.items()},
        "mean tokens": f"prompt {card.mean_prompt_tokens:.0f}, longer response "
        f"{card.mean_response_tokens:.0f} (pocket tokenizer)",
        "content hash": f"sha256 {card.content_hash[:16]}",
    }
    for key, value in rows.items():
        table.add_row(key, escape(value))
    console.print(table)
    for pair in curated.pairs[:show]:
        console.print(escape(f"\n[{pair.id}] row {pair.row}"), highlight=False, soft_wrap=True)
        texts = {
            "prompt": template.prompt_text(pair.turns),
            "chosen": template.response_text(pair.turns, pair.chosen),
            "rejected": template.response_text(pair.turns, pair.rejected),
        }
        for field, text in texts.items():
            console.print(escape(f"  {field:9}{text}"), highlight=False, soft_wrap=True)
    check_splits(card, dataset.source)


def _agreement(agreement: Agreement) -> str:
    """Describe how far annotators agree, in words."""
    who = f" of {agreement.annotators} annotators" if agreement.annotators else ""
    return (
        f"Krippendorff's alpha {agreement.alpha:.2f} ({agreement.judgements:,} judgements{who} "
        f"on {agreement.pairs:,} pairs)"
    )


def answers_table(study: Study, question: str, seed: int) -> Table:
    """Answer a question with the shared base and each arm of the first seed.

    ``seed`` seeds the sampling noise, which all models share.
    """
    from ethosteer.models.generation import generate
    from ethosteer.models.optimiser import generator
    from ethosteer.models.text import decode

    plan, store, workspace = study.plan, study.store, study.workspace
    # one question is not worth starting an engine for
    base = workspace.base(plan.shared_base, with_engine=False)
    template = plan.prompts.template(workspace)
    steered = {
        stage.arm.name: stage.checkpoint(store.path(stage), study.settings.steer.select)
        for stage in plan.steering_of(study.settings.seeds[0])
    }
    prompts = [template.prompt_ids(parse_dialogue(question))]
    sampling = SamplingSettings.of(study.settings.steer, study.settings.rollout).sampling()
    noise = generator(seed, "chat", question)
    models = {name_of(plan.shared_base): None, **steered}
    with workspace.adapters(base, models):
        answers = generate(base, prompts, len(models), sampling, noise)
    stop_ids = sampling.stop_ids(base)
    table = Table(show_lines=True)
    table.add_column("model")
    table.add_column("answer", overflow="fold")
    for model, answer in zip(models, answers, strict=True):
        table.add_row(escape(model), escape(decode(base.tokenizer, answer, stop_ids)))
    return table


def results_table(evaluations: Sequence[Evaluation]) -> Table:
    """Show every model's primary metrics, and below them what to be wary of."""
    table = Table("benchmark", "model", "metric", caption_justify="left")
    for heading in ("value", "95 % interval", "n"):
        table.add_column(heading, justify="right")
    remarks: list[str] = []
    for evaluation in evaluations:
        result = evaluation.result
        for cell in result.cells:
            if cell.metric != result.primary:
                continue
            table.add_row(
                escape(result.name),
                escape(cell.model) + (" *" if cell.flags else ""),
                result.primary,
                number(cell.estimate.value),
                interval(cell.estimate),
                f"{cell.estimate.n:,}",
            )
            remarks += [f"* {result.name}, {cell.model}: {flag}" for flag in cell.flags]
            if not cell.flags and (constant := constant_not_exceeded(result, cell)):
                remarks.append(f"{result.name}, {cell.model}: not shown better than {constant}")
        table.add_section()
        if result.classifier:
            remarks.append(f"{result.name}: classified by {result.classifier}")
        outcomes = next(iter(evaluation.outcomes.values()))
        if truncated := [outcome.item for outcome in outcomes if outcome.truncated]:
            more = f" and {len(truncated) - 3:,} more" if len(truncated) > 3 else ""
            remarks.append(
                f"{result.name}: {len(truncated):,} items were too long and lost text: "
                f"{', '.join(truncated[:3])}{more}"
            )
    table.caption = escape("\n".join(remarks)) or None
    return table


def plan_table(plan: StudyEstimate) -> Table:
    """Return an estimate as a table for the terminal: stages, and the memory of the largest."""
    cost = "" if plan.price is None else f", {_price(plan.cost)} at {plan.price:,.12g} an hour"
    table = Table(
        title=escape(f"{plan.name} on {plan.device}: about {duration(plan.seconds)}{cost}"),
        title_justify="left",
    )
    for heading in ("", "work, TFLOP", "time", "disk, GB", "memory, GB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for stage in plan.stages:
        peaks = [memory.peak for memory in plan.memory if memory.stage.split(",")[0] == stage.stage]
        table.add_row(
            stage.stage,
            f"{stage.flop / 1e12:,.1f}",
            duration(stage.seconds),
            f"{stage.disk / 1e9:,.2f}",
            f"{max(peaks) / 1e9:,.2f}" if peaks else "",
        )
    largest = plan.largest
    table.add_section()
    table.add_row(f"memory of {largest.stage}", "", "", "", f"{largest.peak / 1e9:,.2f}")
    parts = {**largest.held, **{name: work.bytes for name, work in largest.work.items()}}
    for name, size in parts.items():
        turn = ", in turn" if name in largest.work and len(largest.work) > 1 else ""
        table.add_row(f"  {name}{turn}", "", "", "", f"{size / 1e9:,.2f}")
    lines = [*_verdict(plan), *(["; ".join(plan.notes)] if plan.notes else [])]
    table.caption = escape("\n".join(lines))
    table.caption_justify = "left"
    return table


def _price(cost: float) -> str:
    """Write what a study costs; of less than one the two leading digits."""
    return f"{cost:,.0f}" if cost >= 1 else f"{cost:.2g}"


def _verdict(plan: StudyEstimate) -> Iterator[str]:
    """Yield whether a study fits in its device's memory, and what would make it fit."""
    capacity, largest = f"{plan.capacity / 1e9:,.0f} GB", plan.largest
    if plan.fits and largest.peak <= plan.capacity:
        yield f"fits in {capacity} of memory"
    elif plan.fits:
        yield (
            f"fits in {capacity} of memory, but not with passes of this size: a run that is short "
            f"of memory halves them, and a lower {largest.stage.split(',')[0]}.tokens_per_batch "
            "makes them smaller from the start"
        )
    else:
        least = max(plan.memory, key=lambda memory: memory.least)
        yield (
            f"does not fit in {capacity} of memory: {least.stage} needs "
            f"{least.least / 1e9:,.1f} GB even with one text in a pass"
        )
        if plan.remedies:
            yield f"it fits with {' '.join(plan.remedies)}"
        else:
            yield "nor with a quantised base, gradient checkpointing and texts half as long"
