"""Provenance: versions, times, prompts, and the hashes that results depend on."""

from __future__ import annotations

from ethosteer.report.blocks import Column, Table
from ethosteer.report.data import HASH_LENGTH
from ethosteer.report.numbers import duration
from ethosteer.report.table import Numbers, Value, table
from ethosteer.report.view import View

STUDY_FILE = "study file"


def provenance_table(view: View) -> Table:
    """Return versions, machine and hashes."""
    entries = {key: text for key, text in view.results.provenance.items() if key != STUDY_FILE}
    return table("Provenance", ("", Column("", "code")), entries.items())


def study_file_table(view: View) -> Table | None:
    """Return the whole study file; None where it was not kept."""
    text = view.results.provenance.get(STUDY_FILE)
    if not text:
        return None
    heads = ("file", Column("text", "code"))
    return table("Study file (study.toml)", heads, [("study.toml", text)], folded=True)


def time_table(view: View) -> Table:
    """Return how long each stage took."""
    times = [(time.stage, time.seconds) for time in view.results.times]
    return table(
        "Time by stage",
        ("stage", Numbers("time", duration)),
        [*times, ("all stages", sum(seconds for _, seconds in times))],
        note="Computing time; results that were already stored took none.",
        summary=1,
    )


def comparability_table(view: View) -> Table:
    """Return the hashes of what each benchmark's numbers depend on."""
    fields = ("items", "prompts", "template", "tokenizer", "classifier")
    rows: list[list[Value]] = [
        [result.title, *(getattr(hashes, name)[:HASH_LENGTH] or None for name in fields)]
        for result in view.results.benchmarks
        if (hashes := result.comparability)
    ]
    return table(
        "Comparability: hashes of the benchmarks",
        ("benchmark", *(Column(name, "code") for name in fields)),
        rows,
        note="Results of two studies are comparable only where all of these agree.",
        folded=True,
    )


def prompt_table(view: View) -> Table:
    """Return the text that models read for the first item of each benchmark, word for word."""
    return table(
        "Exact prompts",
        ("benchmark", Column("prompt of the first item", "long")),
        [(result.title, result.example) for result in view.results.benchmarks if result.example],
        note="«…»: the choices whose log-likelihoods are compared.",
        folded=True,
    )
