"""Human preferences: the ranking of answer sources, and how reliable the judgements are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ethosteer.data.formats.collected import EXPORT
from ethosteer.files import read_json
from ethosteer.report.blocks import Block, Cell, Figure, Figures, Section, Table, Text, present
from ethosteer.report.differences import CORRECTIONS, detectable_cell, difference_cell
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.numbers import MINUS, count, number, p_value, percent, signed
from ethosteer.report.prose import paragraph
from ethosteer.report.table import Head, Numbers, Value, cell, record_table, table
from ethosteer.results.comparisons import Comparison
from ethosteer.results.preferences import (
    COLLECTION,
    QUALITY,
    CollectionQuality,
    Kappa,
    Ranking,
    Reliability,
    Strength,
)

GRADES = {
    "-2": "second clearly better",
    "-1": "second slightly better",
    "0": "tie",
    "1": "first slightly better",
    "2": "first clearly better",
}


def preference_sections(run: Path) -> tuple[Section, ...]:
    """Return the section on the exported collection of a run's folder; () where there is none.

    Raises InputError where the export cannot be read.
    """
    path = run / COLLECTION / EXPORT / QUALITY
    if not path.is_file():
        return ()
    blocks = preference_blocks(read_json(path, CollectionQuality))
    return (Section("preferences", "Human preferences", blocks, "Preferences"),)


def preference_blocks(quality: CollectionQuality) -> tuple[Block, ...]:
    """Lay out what a collection shows; nothing but counts where there is no judgement."""
    ranking, of_all = quality.ranking, quality.ranking_of_all
    introduction = paragraph("preferences", quality=quality, last=_moment(quality))
    ranked: tuple[Block | None, ...] = ()
    if ranking is not None and ranking.strengths:
        ranked = (
            Text(paragraph("preference_ranking", quality=quality, ranking=ranking)),
            Figures((_figure(ranking),)),
            _ranking_table(ranking, "Ranking of answer sources"),
            _comparison_table(quality, ranking),
        )
    if of_all is not None and of_all.strengths:
        title = "Ranking by all judgements, with pairs that reward models chose"
        ranked = (*ranked, _ranking_table(of_all, title, folded=True))
    if not quality.judgements:
        return (Text(introduction),)
    return present(
        Text(introduction),
        *ranked,
        Text(paragraph("preference_quality", quality=quality)),
        _agreement_table(quality),
        _reliability_table(quality),
        _kappa_table(quality.kappas) if quality.kappas else None,
        _count_table(quality),
    )


def _moment(quality: CollectionQuality) -> str:
    return f"{quality.last:%Y-%m-%d %H:%M} UTC" if quality.last else ""


def _figure(ranking: Ranking) -> Figure:
    bars = [
        Bar(
            strength.source,
            index,
            strength.strength.value,
            strength.strength.low,
            strength.strength.high,
            note=f"{count(strength.strength.n)} judged",
        )
        for index, strength in enumerate(ranking.strengths)
    ]
    title = "Bradley-Terry strength of each source"
    rows = [(strength.source, strength.strength) for strength in ranking.strengths]
    numbers = table("", ("source", Numbers("strength", signed)), rows)
    note = "Log odds against an average source, with 95 % intervals over prompts and annotators."
    return Figure(interval_plot("preferences", bars, title=title), title, note, numbers)


def _ranking_table(ranking: Ranking, title: str, *, folded: bool = False) -> Table:
    columns: dict[Head, Callable[[Strength], Value]] = {
        "source": lambda row: row.source,
        Numbers("strength", signed): lambda row: row.strength,
        Numbers("share won", percent): lambda row: cell(
            row.share.value,
            percent,
            small=[f"[{percent(row.share.low)}, {percent(row.share.high)}]"],
        ),
        Numbers("wins"): lambda row: row.wins,
        Numbers("ties"): lambda row: row.ties,
        Numbers("losses"): lambda row: row.losses,
    }
    if ranking.components > 1:
        columns["compared within"] = lambda row: f"set {row.component + 1}"
    note = (
        "Strength: log odds of being preferred to an average source. Share won: expected share of "
        "judgements won against a source of strength 0, a tie as half. 95 % intervals over prompts "
        f"and annotators, not adjusted. {count(ranking.judgements)} judgements of "
        f"{count(ranking.prompts)} prompts by {count(ranking.annotators)} annotators."
    )
    return record_table(title, ranking.strengths, columns, note=note, folded=folded)


def _comparison_table(quality: CollectionQuality, ranking: Ranking) -> Table:
    columns: dict[Head, Callable[[Comparison], Value]] = {
        f"a {MINUS} b": lambda row: f"{row.a} {MINUS} {row.b}",
        Numbers("difference", signed): difference_cell,
        Numbers("p", p_value): lambda row: row.p,
        Numbers("adjusted p", p_value): lambda row: row.adjusted_p,
        Numbers("minimum detectable difference"): detectable_cell,
        Numbers("judgements / prompts / annotators"): lambda row: (
            f"{count(row.items)} / {count(row.clusters)} / {count(row.seeds)}"
        ),
        "verdict on a": lambda row: Cell("", mark=row.verdict),
    }
    note = (
        "Differences of strengths are log odds that a is preferred to b, ties left out. p adjusted "
        f"by {CORRECTIONS[quality.correction]} over all pairs of sources; intervals have the "
        "confidence at which the verdict was decided. Judgements are those of either source, "
        "prompts and annotators those of the source with fewer."
    )
    return record_table("All pairs of sources", ranking.comparisons, columns, note=note)


def _agreement_table(quality: CollectionQuality) -> Table:
    agreement = quality.agreement
    return table(
        "Agreement of annotators",
        ("measure", Numbers("value", number, 2), Numbers("pairs")),
        [
            (
                "Krippendorff's alpha, which answer is better (nominal)",
                agreement.nominal_alpha,
                agreement.nominal_alpha.n,
            ),
            (
                "Krippendorff's alpha, all five grades (ordinal)",
                agreement.ordinal_alpha,
                agreement.ordinal_alpha.n,
            ),
        ],
        note="95 % bootstrap intervals over prompts; pairs with two judgements or more.",
    )


def _reliability_table(quality: CollectionQuality) -> Table:
    def share(name: str) -> Callable[[Reliability], Value]:
        def shown(row: Reliability) -> Value:
            estimate = getattr(row, name)
            if not estimate.n:
                return None
            bounds = f"[{percent(estimate.low, 0)}, {percent(estimate.high, 0)}]"
            return cell(estimate.value, percent, 0, small=[bounds, f"of {count(estimate.n)}"])

        return shown

    return record_table(
        "Reliability of each annotator",
        quality.reliability,
        {
            "annotator": lambda row: f"annotator {row.annotator}",
            Numbers("judgements"): lambda row: row.judgements,
            Numbers("agrees with others", percent): share("others"),
            Numbers("agrees with gold pairs", percent): share("gold"),
            Numbers("agrees with repeats", percent): share("repeats"),
            Numbers("left answer", percent): share("left"),
            Numbers("adjusted p of no position bias", p_value): lambda row: row.left_p,
            Numbers("ties", percent): lambda row: row.ties,
            Numbers("flagged"): lambda row: row.flagged,
            Numbers("median seconds", number, 1): lambda row: cell(
                row.seconds[1],
                number,
                1,
                small=[f"{number(row.seconds[0], 1)} to {number(row.seconds[2], 1)}"],
            ),
        },
        note=(
            "Shares with 95 % Wilson intervals. Others: the majority of the others on a pair. "
            "Repeats: the same pair shown again with sides swapped. All three compare which answer "
            "is better, not how clearly. Seconds: median and quartiles."
        ),
    )


def _kappa_table(kappas: tuple[Kappa, ...]) -> Table:
    return table(
        "Agreement of two annotators",
        ("annotators", Numbers("Cohen's kappa", number, 2), Numbers("pairs")),
        [(f"{row.a} and {row.b}", row.kappa, row.kappa.n) for row in kappas],
        note="Quadratic weights over five grades; 95 % intervals (Fleiss, Cohen & Everitt 1969).",
        folded=True,
    )


def _count_table(quality: CollectionQuality) -> Table:
    grades = [
        (f"preference: {words}", quality.preferences.get(grade, 0))
        for grade, words in GRADES.items()
    ]
    reasons = [(f"shown: {name}", amount) for name, amount in sorted(quality.selections.items())]
    return table("Counts", ("judgements", Numbers("number")), [*grades, *reasons], folded=True)
