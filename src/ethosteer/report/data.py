"""Tables of data: dataset cards, drops, overlap, reward models, samples, the run."""

from __future__ import annotations

from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import NONE, count, duration, interval, number, percent, signed
from ethosteer.report.view import View
from ethosteer.results import ArmResult, Estimate, Overlap, Sample, SampleAnswer

HASH_LENGTH = 12


def reward_table(view: View) -> Table:
    """Return how well each reward model tells held-out pairs apart, and its normalisation."""
    return Table(
        title="Reward models",
        columns=(
            Column("arm"),
            Column("seed", "number"),
            Column("held-out accuracy", "number"),
            Column("pairs", "number"),
            Column("correlation with length", "number"),
            Column("normalisation gain", "number"),
            Column("normalisation bias", "number"),
        ),
        rows=tuple(_reward_row(each) for arm in view.arms for each in view.arm_results(arm)),
        note="Accuracy is the share of held-out pairs whose chosen response gets the higher "
        "reward; 0.5 is chance. Gain and bias put the rewards of base answers at mean 0 and sd 1.",
    )


def _reward_row(result: ArmResult) -> tuple[Cell, ...]:
    return (
        Cell(result.arm),
        Cell(str(result.seed)),
        _estimate(result.accuracy),
        Cell(count(result.accuracy.n)),
        Cell(signed(result.length_correlation, 2)),
        Cell(number(result.normalisation_gain)),
        Cell(number(result.normalisation_bias)),
    )


def _estimate(estimate: Estimate) -> Cell:
    return Cell(number(estimate.value), (interval(estimate),))


def sample_table(view: View, sample: Sample, index: int) -> Table:
    """Return every model's answer to one prompt, with its rewards by each reward model."""
    judges = list(dict.fromkeys(name for answer in sample.answers for name in answer.rewards))
    order = {model: place for place, model in enumerate(view.models)}
    answers = sorted(sample.answers, key=lambda answer: order.get(answer.model, len(order)))
    return Table(
        title=f"Prompt {index}",
        columns=(
            Column("model"),
            Column("answer", "long"),
            *(Column(f"reward: {judge}", "number") for judge in judges),
        ),
        rows=tuple(_sample_row(answer, judges) for answer in answers),
        note=sample.prompt,
    )


def _sample_row(answer: SampleAnswer, judges: list[str]) -> tuple[Cell, ...]:
    rewards = [answer.rewards.get(judge) for judge in judges]
    cells = [Cell(NONE if reward is None else signed(reward, 2)) for reward in rewards]
    return (Cell(answer.model), Cell(answer.text), *cells)


def card_table(view: View) -> Table:
    """Return where each dataset comes from, with the hash of what curation made of it."""
    heads = ("source", "revision", "licence", "content hash")
    return Table(
        title="Where the preference data come from",
        columns=(Column("dataset"), *(Column(head, "code") for head in heads)),
        rows=tuple(
            (
                Cell(card.name),
                Cell(card.source),
                Cell(card.revision or NONE),
                Cell(card.licence),
                Cell(card.content_hash[:HASH_LENGTH]),
            )
            for card in view.results.cards
        ),
    )


def count_table(view: View) -> Table:
    """Return how many rows were read and how many pairs they made, by split."""
    cards = view.results.cards
    splits = list(dict.fromkeys(split for card in cards for split in card.pairs))
    heads = ("rows read", "duplicates removed", *(f"pairs, {split}" for split in splits))
    means = ("tokens per prompt", "tokens per response")
    return Table(
        title="What curation made of them",
        columns=(Column("dataset"), *(Column(head, "number") for head in (*heads, *means))),
        rows=tuple(
            (
                Cell(card.name),
                Cell(count(card.rows)),
                Cell(count(card.duplicates)),
                *(Cell(_amount(card.pairs, split)) for split in splits),
                Cell(number(card.mean_prompt_tokens, 1)),
                Cell(number(card.mean_response_tokens, 1)),
            )
            for card in cards
        ),
    )


def drop_table(view: View) -> Table:
    """Return how many rows curation dropped, by reason and dataset."""
    cards = view.results.cards
    reasons = sorted({reason for card in cards for reason in card.dropped})
    rows = [
        (Cell(reason), *(Cell(_amount(card.dropped, reason)) for card in cards))
        for reason in reasons
    ]
    total = (Cell("all reasons"), *(Cell(count(sum(card.dropped.values()))) for card in cards))
    return Table(
        title="Dropped by reason",
        columns=(Column("reason"), *(Column(card.name, "number") for card in cards)),
        rows=(*rows, total),
        summary=1,
    )


def _amount(amounts: dict[str, int], key: str) -> str:
    return count(amounts.get(key, 0))


def overlap_table(view: View) -> Table:
    """Return the share of each dataset's pairs that shares an n-gram with a benchmark."""
    overlaps = view.results.overlaps
    names = list(dict.fromkeys(each.benchmark for each in overlaps))
    titles = {each.name: each.title for each in view.results.benchmarks}
    found = {(each.dataset, each.benchmark): each for each in overlaps}
    rows = []
    for dataset in dict.fromkeys(each.dataset for each in overlaps):
        cells = [found.get((dataset, name)) for name in names]
        rows.append((Cell(dataset), *(_overlap_cell(each) for each in cells)))
    sizes = ", ".join(str(size) for size in sorted({each.n for each in overlaps}))
    return Table(
        title="Overlap with benchmarks",
        columns=(Column("dataset"), *(Column(titles.get(name, name), "number") for name in names)),
        rows=tuple(rows),
        note=f"Share of pairs that have {sizes} words in a row in common with some item.",
    )


def _overlap_cell(overlap: Overlap | None) -> Cell:
    if overlap is None:
        return Cell(NONE)
    share = overlap.overlapping / overlap.pairs if overlap.pairs else float("nan")
    return Cell(percent(share), (f"{count(overlap.overlapping)} of {count(overlap.pairs)}",))


def provenance_table(view: View) -> Table:
    """Return what was run: versions, machine, study file, hashes."""
    return Table(
        title="What was run",
        columns=(Column(""), Column("", "code")),
        rows=tuple((Cell(key), Cell(value)) for key, value in view.results.provenance.items()),
    )


def basis_table(view: View) -> Table:
    """Return the hashes of what each benchmark's numbers rest on."""
    heads = ("items", "prompts", "dialogue template", "tokenizer")
    return Table(
        title="What the benchmarks' numbers rest on",
        columns=(Column("benchmark"), *(Column(head, "code") for head in heads)),
        rows=tuple(
            (
                Cell(each.title),
                Cell(each.comparability.items[:HASH_LENGTH]),
                Cell(each.comparability.prompts[:HASH_LENGTH]),
                Cell(each.comparability.template[:HASH_LENGTH]),
                Cell(each.comparability.tokenizer[:HASH_LENGTH]),
            )
            for each in view.results.benchmarks
            if each.comparability
        ),
        note="Results of two studies are compared only where all of these are the same.",
        folded=True,
    )


def prompt_table(view: View) -> Table:
    """Return what models read for the first item of each benchmark, word for word."""
    return Table(
        title="Exact prompts",
        columns=(Column("benchmark"), Column("the first item", "long")),
        rows=tuple(
            (Cell(each.title), Cell(each.example))
            for each in view.results.benchmarks
            if each.example
        ),
        note="«…» are the choices whose log-probability is taken.",
        folded=True,
    )


def time_table(view: View) -> Table:
    """Return how long each stage took."""
    times = view.results.times
    rows = [(Cell(each.stage), Cell(duration(each.seconds))) for each in times]
    total = (Cell("all stages"), Cell(duration(sum(each.seconds for each in times))))
    return Table(
        title="Time by stage",
        columns=(Column("stage"), Column("time", "number")),
        rows=(*rows, total),
        note="Time of work; what was already there took none.",
        summary=1,
    )
