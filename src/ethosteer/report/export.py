"""The report's numbers as files for other programs: CSV in full, LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from ethosteer.report.numbers import MINUS
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult, Comparison, Estimate

Row = dict[str, Any]
VERDICTS = {"better": r"$\uparrow$", "worse": r"$\downarrow$", "different": r"$\neq$",
            "equivalent": r"$=$"}  # fmt: skip


def data_files(view: View) -> dict[str, str]:
    """Return the text of every file by its name; tables without rows are left out."""
    tables = {
        "benchmarks": list(_benchmarks(view)),
        "comparisons": [_comparison(each) for each in view.results.comparisons],
        "steering": list(_steering(view)),
        "rewards": list(_rewards(view)),
        "reward_comparisons": [_comparison(each) for each in view.results.reward_comparisons],
        "slopes": list(_slopes(view)),
    }
    files = {f"{name}.csv": _csv(rows) for name, rows in tables.items() if rows}
    if view.results.benchmarks:
        files["benchmarks.tex"] = _benchmarks_tex(view)
    if view.results.comparisons:
        files["comparisons.tex"] = _comparisons_tex(view)
    return files


def _csv(rows: Sequence[Row]) -> str:
    heads = dict.fromkeys(head for row in rows for head in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _estimate(estimate: Estimate) -> Row:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _benchmarks(view: View) -> Iterator[Row]:
    for benchmark in view.results.benchmarks:
        for cell in benchmark.cells:
            yield {
                "benchmark": benchmark.name,
                "metric": cell.metric,
                "model": cell.model,
                **_estimate(cell.estimate),
                **{f"seed {seed}": value for seed, value in sorted(cell.by_seed.items())},
                "flags": "; ".join(cell.flags),
            }


def _comparison(each: Comparison) -> Row:
    return {
        "benchmark": each.benchmark,
        "metric": each.metric,
        "family": each.family,
        "a": each.a,
        "b": each.b,
        "difference": each.difference.value,
        "low": each.difference.low,
        "high": each.difference.high,
        "p": each.p,
        "adjusted_p": each.adjusted_p,
        "equivalence_p": each.equivalence_p,
        "minimum_detectable": each.minimum_detectable,
        "items_needed": each.items_needed,
        "items": each.items,
        "clusters": each.clusters,
        "seeds": each.seeds,
        "verdict": each.verdict,
    }


def _steering(view: View) -> Iterator[Row]:
    for each in view.results.arms:
        yield {
            "arm": each.arm,
            "seed": each.seed,
            "algorithm": each.algorithm,
            "evaluated_step": each.step,
            "pair_accuracy": each.accuracy.value,
            "reward_before": each.start.value,
            "reward_after": each.end.value,
            "gain": each.gain.value,
            "gain_low": each.gain.low,
            "gain_high": each.gain.high,
            "kl": each.kl.value,
            "stopped": each.stopped,
        }


def _rewards(view: View) -> Iterator[Row]:
    for cell in view.results.cross_rewards:
        yield {"model": cell.name, "reward_model": cell.reward_model, **_estimate(cell.estimate)}


def _slopes(view: View) -> Iterator[Row]:
    for each in view.results.slopes:
        own = each.slope
        yield {
            "a": each.a,
            "b": each.b,
            "rise_per_100_steps": own.value,
            "low": own.low,
            "high": own.high,
            "p": own.p,
            "adjusted_p": each.adjusted_p,
            "seeds": own.seeds,
        }


def _benchmarks_tex(view: View) -> str:
    """Models by benchmarks: the primary metric, its interval, its verdict against the control."""
    benchmarks = view.results.benchmarks
    rows = [
        [_tex(model), *(_primary_tex(view, each, model) for each in benchmarks)]
        for model in view.models
    ]
    heads = ["model", *(_tex(f"{each.title} ({each.primary})") for each in benchmarks)]
    caption = (
        "Primary metrics with 95\\,\\% intervals. Arrows: shown to be better or worse than the "
        f"{_tex(view.control)} control after correction. Dagger: degenerate, no finding."
    )
    return _latex(heads, rows, caption, "tab:benchmarks")


def _primary_tex(view: View, benchmark: BenchmarkResult, model: str) -> str:
    cell = view.cell(benchmark, model)
    if cell is None:
        return "--"
    verdict = view.verdict(benchmark, model, view.control)
    flag = r"$^\dagger$" if cell.flags else ""
    return f"{_tex_interval(cell.estimate)}{VERDICTS.get(verdict or '', '')}{flag}"


def _comparisons_tex(view: View) -> str:
    """What is judged on every benchmark, arm by arm against the control."""
    heads = ["benchmark", "arm", "difference", "adjusted $p$", "smallest detectable", "verdict"]
    rows = [
        [
            _tex(benchmark.title),
            _tex(arm),
            _tex_interval(found.difference),
            _tex_number(found.adjusted_p),
            _tex_number(found.minimum_detectable),
            found.verdict,
        ]
        for benchmark in view.results.benchmarks
        for arm in view.arms
        if (found := view.comparison(benchmark, arm, view.control))
    ]
    caption = f"Differences from the {_tex(view.control)} control on the same items."
    return _latex(heads, rows, caption, "tab:comparisons")


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """A booktabs table; everything in it is LaTeX already."""
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
    return "".join(signs.get(sign, sign) for sign in " ".join(text.split()))
