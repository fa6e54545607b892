"""The report's numbers as files for other programs: CSV in full, LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from ethosteer.report.directions import spell_directions
from ethosteer.report.numbers import MINUS
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison
from ethosteer.results.estimates import Estimate

Row = dict[str, Any]
ARROWS = {"better": r"$\uparrow$", "worse": r"$\downarrow$", "different": r"$\neq$",
          "equivalent": r"$=$"}  # fmt: skip


def data_files(view: View) -> dict[str, str]:
    """Return the text of every file by its name; tables without rows are left out."""
    results = view.results
    tables = {
        "benchmarks": [row for benchmark in results.benchmarks for row in _metrics(benchmark)],
        "comparisons": [_comparison(comparison) for comparison in results.comparisons],
        "steering": [_run(run) for run in results.arms],
        "rewards": [
            {"model": cell.name, "reward_model": cell.reward_model, **_estimate(cell.estimate)}
            for cell in results.cross_rewards
        ],
        "reward_comparisons": [_comparison(result) for result in results.reward_comparisons],
        "profile": list(_profile(view)),
        "slopes": [_slope(result) for result in results.slopes],
    }
    files = {f"{name}.csv": _csv(rows) for name, rows in tables.items() if rows}
    if results.benchmarks:
        files["benchmarks.tex"] = _benchmarks_tex(view)
    if results.comparisons:
        files["comparisons.tex"] = _comparisons_tex(view)
    return files


def _csv(rows: Sequence[Row]) -> str:
    heads = dict.fromkeys(head for row in rows for head in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows({head: _cell(value) for head, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:  # noqa: ANN401 (a text or a number)
    """Return a value that no spreadsheet takes for a formula: such texts start with a quote.

    Numbers stay numbers.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _estimate(estimate: Estimate) -> Row:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _metrics(benchmark: BenchmarkResult) -> Iterator[Row]:
    for cell in benchmark.cells:
        yield {
            "benchmark": benchmark.name,
            "metric": cell.metric,
            "model": cell.model,
            **_estimate(cell.estimate),
            **{f"seed {seed}": value for seed, value in sorted(cell.by_seed.items())},
            "flags": "; ".join(cell.flags),
        }


def _profile(view: View) -> Iterator[Row]:
    """Yield every model on every dataset's held-out pairs, compared with the control."""
    for benchmark in view.profile:
        for cell in benchmark.cells:
            comparison = view.comparison(benchmark, cell.model, view.control, cell.metric)
            yield {
                "model": cell.model,
                "dataset": benchmark.dataset,
                "metric": cell.metric,
                **_estimate(cell.estimate),
                "difference": comparison.difference.value if comparison else "",
                "adjusted_p": comparison.adjusted_p if comparison else "",
                "verdict": comparison.verdict if comparison else "",
            }


def _comparison(comparison: Comparison) -> Row:
    return {
        "benchmark": comparison.benchmark,
        "metric": comparison.metric,
        "family": comparison.family,
        "role": comparison.role,
        "a": comparison.a,
        "b": comparison.b,
        "difference": comparison.difference.value,
        "low": comparison.difference.low,
        "high": comparison.difference.high,
        "decision_low": comparison.decision_low,
        "decision_high": comparison.decision_high,
        "decision_level": comparison.decision_level,
        "p": comparison.p,
        "adjusted_p": comparison.adjusted_p,
        "equivalence_p": comparison.equivalence_p,
        "minimum_detectable": comparison.minimum_detectable,
        "minimum_detectable_low": comparison.minimum_detectable_low,
        "minimum_detectable_high": comparison.minimum_detectable_high,
        "room": comparison.room,
        "items_needed": comparison.items_needed,
        "items_needed_low": comparison.items_needed_low,
        "items_needed_high": comparison.items_needed_high,
        "items": comparison.items,
        "clusters": comparison.clusters,
        "seeds": comparison.seeds,
        "verdict": comparison.verdict,
    }


def _run(run: ArmResult) -> Row:
    return {
        "arm": run.arm,
        "seed": run.seed,
        "algorithm": run.algorithm,
        "evaluated_step": run.step,
        "pair_accuracy": run.accuracy.value,
        "reward_before": run.start.value,
        "reward_after": run.end.value,
        "gain": run.gain.value,
        "gain_low": run.gain.low,
        "gain_high": run.gain.high,
        "kl": run.kl.value,
        "stopped": run.stopped,
    }


def _slope(result: SlopeResult) -> Row:
    return {
        "a": result.a,
        "b": result.b,
        "rise_per_100_steps": result.slope.value,
        "low": result.slope.low,
        "high": result.slope.high,
        "p": result.slope.p,
        "adjusted_p": result.adjusted_p,
        "seeds": result.slope.seeds,
    }


def _benchmarks_tex(view: View) -> str:
    """Return models by benchmarks: primary metric, interval, verdict against the control."""
    benchmarks = view.results.benchmarks
    rows = []
    for model in view.models:
        row = [_tex(model)]
        for benchmark in benchmarks:
            cell = view.cell(benchmark, model)
            arrow = ARROWS.get(view.verdict(benchmark, model, view.control) or "", "")
            dagger = r"$^\dagger$" if cell and cell.flags else ""
            row.append(f"{_tex_interval(cell.estimate)}{arrow}{dagger}" if cell else "--")
        rows.append(row)
    heads = ["model", *(_tex(f"{result.title} ({result.primary})") for result in benchmarks)]
    caption = (
        "Primary metrics with 95\\,\\% intervals. Arrows: better or worse than the "
        f"{_tex(view.control)} control after correction. Dagger: one answer to nearly all items."
    )
    return _latex(heads, rows, caption, "tab:benchmarks")


def _comparisons_tex(view: View) -> str:
    """Return the tested metric's comparisons on every benchmark, each arm against the control."""
    heads = ["benchmark", "arm", "difference", "adjusted $p$", "minimum detectable", "verdict"]
    rows = [
        [
            _tex(benchmark.title),
            _tex(arm),
            _tex_interval(comparison.decided),
            _tex_number(comparison.adjusted_p),
            _tex_number(comparison.minimum_detectable),
            comparison.verdict,
        ]
        for benchmark in view.results.benchmarks
        for arm in view.arms
        if (comparison := view.comparison(benchmark, arm, view.control))
    ]
    caption = (
        f"Differences from the {_tex(view.control)} control on the same items, with intervals of "
        "the confidence at which verdicts were decided after adjustment for multiple comparisons. "
        "Minimum detectable: the true difference found with a power of 80\\,\\%."
    )
    return _latex(heads, rows, caption, "tab:comparisons")


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """Return a booktabs table; everything in it is LaTeX already."""
    lines = [" & ".join(row) + r" \\" for row in (heads, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{'l' * len(heads)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex_interval(estimate: Estimate) -> str:
    low, high = _tex_number(estimate.low), _tex_number(estimate.high)
    return f"{_tex_number(estimate.value)} [{low}, {high}]"


def _tex_number(value: float) -> str:
    return f"${value:.3f}$" if isfinite(value) else "n/a"


def _tex(text: str) -> str:
    """Escape text for LaTeX: names and titles, whoever wrote them."""
    signs = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        MINUS: "$-$",
        **{sign: f"\\{sign}" for sign in "&$#_{}%"},
    }
    return "".join(signs.get(sign, sign) for sign in spell_directions(" ".join(text.split())))
