"""What was run: versions, times, and what the benchmarks' numbers depend on."""

from __future__ import annotations

from ethosteer.report.blocks import Column, Table
from ethosteer.report.data import HASH_LENGTH
from ethosteer.report.numbers import duration
from ethosteer.report.table import Numbers, table
from ethosteer.report.view import View


def provenance_table(view: View) -> Table:
    """Return what was run: versions, machine, study file, hashes."""
    return table("What was run", ("", Column("", "code")), view.results.provenance.items())


def time_table(view: View) -> Table:
    """Return how long each stage took."""
    times = [(time.stage, time.seconds) for time in view.results.times]
    return table(
        "Time by stage",
        ("stage", Numbers("time", duration)),
        [*times, ("all stages", sum(seconds for _, seconds in times))],
        note="Time of work; what was already there took none.",
        summary=1,
    )


def basis_table(view: View) -> Table:
    """Return the hashes of what each benchmark's numbers depend on."""
    heads = ("items", "prompts", "dialogue template", "tokenizer")
    rows = [
        (result.title, *(
            digest[:HASH_LENGTH]
            for digest in (basis.items, basis.prompts, basis.template, basis.tokenizer)
        ))
        for result in view.results.benchmarks
        if (basis := result.basis)
    ]  # fmt: skip
    return table(
        "What the benchmarks' numbers rest on",
        ("benchmark", *(Column(head, "code") for head in heads)),
        rows,
        note="Results of two studies are compared only where all of these are the same.",
        folded=True,
    )


def prompt_table(view: View) -> Table:
    """Return the text that models read for the first item of each benchmark, word for word."""
    return table(
        "Exact prompts",
        ("benchmark", Column("the first item", "long")),
        [(result.title, result.example) for result in view.results.benchmarks if result.example],
        note="«…» are the choices whose log-probability is taken.",
        folded=True,
    )
