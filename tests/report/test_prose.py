"""The templates of the report's sentences: none lacks a fact, and no name becomes a template."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template, UndefinedError, meta, nodes

from ethosteer.collect.quality import collection_quality
from ethosteer.evaluation.outcomes import grouped
from ethosteer.files import from_json, to_json
from ethosteer.report import prose, write_report, write_report_across
from ethosteer.report.across import Across, Refusal, across_document
from ethosteer.report.answer import answer
from ethosteer.report.blocks import Bullets, ItemBrowser, PackedItems, Text
from ethosteer.report.document import document
from ethosteer.report.items import sample_note
from ethosteer.report.preferences import preference_blocks
from ethosteer.report.view import View
from ethosteer.results.arms import SlopeResult
from ethosteer.results.comparisons import Verdict
from ethosteer.results.estimates import UNKNOWN, Estimate
from ethosteer.results.study import StudyResults
from tests.collect.judgements import collection
from tests.report.example import example_items, example_outcomes, example_results, with_profile

TEMPLATES = sorted(path.stem for path in (Path(prose.__file__).parent / "text").glob("*.j2"))
HOSTILE = ("{{ 7*7 }}", "{% raw %}", "{# none #}", "<script>alert(1)</script>", "a\n\nb")


def _judged(results: StudyResults, verdict: Verdict) -> StudyResults:
    """Return the results with one verdict for all comparisons."""
    return replace(
        results, comparisons=tuple(replace(each, verdict=verdict) for each in results.comparisons)
    )


DOUBTS: tuple[dict[str, Estimate], ...] = (
    {"accuracy": Estimate(0.5, 0.4, 0.6, 200)},
    {"matched_accuracy": Estimate(0.5, 0.4, 0.6, 200)},
    {"matched_accuracy": UNKNOWN},
)


def _doubtful(results: StudyResults, **changes: Estimate) -> StudyResults:
    """Return the results with reward models, but for the first, that allow no conclusion."""
    first, *others = results.arms
    arms = (first, *(replace(run, **changes) for run in others))  # type: ignore[arg-type]
    return replace(results, arms=arms)


def _mirrored_slopes(results: StudyResults) -> tuple[SlopeResult, ...]:
    return tuple(
        replace(
            result,
            slope=replace(
                result.slope,
                value=-result.slope.value,
                low=-result.slope.high,
                high=-result.slope.low,
            ),
        )
        for result in results.slopes
    )


def _variants() -> Iterator[StudyResults]:
    for seeds in ((0,), (0, 1), (0, 1, 2, 3, 4)):
        results = example_results(seeds=seeds)
        verdicts: tuple[Verdict, ...] = ("better", "worse", "different", "equivalent", "undecided")
        yield results
        yield from (_judged(results, verdict) for verdict in verdicts)
        yield replace(results, benchmarks=results.benchmarks[3:4])
        yield replace(_judged(results, "undecided"), benchmarks=results.benchmarks[3:4])
        yield replace(results, slopes=_mirrored_slopes(results))
        yield from (_doubtful(results, **changes) for changes in DOUBTS)
        yield replace(results, margin=None, effect=0.05, correction="bh", deviations=("margin",))
        yield with_profile(results)
        yield from (with_profile(_judged(results, verdict)) for verdict in verdicts)
        yield from (_judged(with_profile(results), verdict) for verdict in verdicts)
        yield replace(results, benchmarks=(), comparisons=())
        yield replace(results, comparisons=(), overlaps=(), margin=None)


def _across(results: StudyResults) -> Across:
    reasons = (("the items",), ("the items", "the prompts"), ("b has not run it",))
    refusals = tuple(Refusal("ToxiGen", "a", "b", each) for each in reasons)
    return Across(results, (results, results), refusals, {}, {})


def _render_all() -> None:
    sample_note(ItemBrowser((PackedItems("b", "B", "", shown=1, items=2),), "base"))
    preference_blocks(collection_quality(*collection(["virtue", "base"], 30, 2, 60)))
    document(View(with_profile(example_results()), grouped(example_outcomes()), example_items()))
    for results in _variants():
        answer(View(results))
        across_document(_across(results))


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[set[str]]]:
    """Record the facts that every template is given."""
    facts: dict[str, list[set[str]]] = {}
    render = Template.render

    def recorded(template: Template, given: dict[str, Any]) -> str:
        facts.setdefault(str(template.name).removesuffix(".j2"), []).append(set(given))
        return render(template, given)

    monkeypatch.setattr(Template, "render", recorded)
    return facts


def test_every_template_is_rendered_with_every_fact_that_it_names(
    rendered: dict[str, list[set[str]]],
) -> None:
    _render_all()
    assert sorted([*rendered, "macros"]) == TEMPLATES
    for name, calls in rendered.items():
        source = (Path(prose.__file__).parent / "text" / f"{name}.j2").read_text("utf-8")
        tree = prose._ENVIRONMENT.parse(source)
        assigned = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
        named = meta.find_undeclared_variables(tree) - assigned
        assert all(named == given for given in calls), f"{name}: {named} of {calls}"


def test_a_fact_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="margin"):
        prose.paragraph("differences")


def test_sentences_are_well_spaced() -> None:
    for results in _variants():
        blocks = answer(View(results))
        texts = [block.text for block in blocks if isinstance(block, Text)]
        texts += [item for block in blocks if isinstance(block, Bullets) for item in block.items]
        for text in texts:
            assert not re.search(r"  |\n| [.,;:)]|\( |\.\.|, \.", text), text
            assert text.endswith("."), text


def _renamed(results: StudyResults, names: dict[str, str]) -> StudyResults:
    """Return the results under other names, keys of dictionaries included."""

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {names.get(key, key): rename(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [rename(inner) for inner in value]
        return names.get(value, value) if isinstance(value, str) else value

    renamed = json.dumps(rename(json.loads(to_json(results))))
    return from_json(renamed, StudyResults, "results.json")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(tmp_path: Path, name: str) -> None:
    results = example_results()
    names = dict.fromkeys(("virtue", "ETHICS virtue", results.question, results.study), name)
    hostile = replace(_renamed(results, names), deviations=(name,))
    writers: tuple[Callable[[], None], ...] = (
        lambda: write_report(hostile, {}, {}, tmp_path),
        lambda: write_report_across(_across(hostile), tmp_path),
    )
    for write in writers:
        write()
        html = (tmp_path / "report.html").read_text("utf-8")
        assert html.count("<script") == 1, "the page's own"
        assert "<script" not in (tmp_path / "report.md").read_text("utf-8")
    shown = re.sub(r"\s+", " ", name)
    _, findings, *_ = texts = [block for block in answer(View(hostile)) if isinstance(block, Text)]
    assert f"{shown} was better on {shown} (+0.068" in findings.text
    by_benchmark = answer(View(hostile))[len(texts)]
    between = across_document(_across(hostile)).sections[0].blocks[1]
    assert isinstance(by_benchmark, Bullets)
    assert isinstance(between, Bullets)
    assert len(by_benchmark.items) == len(hostile.benchmarks)
    for item in (by_benchmark.items[0], between.items[0]):
        assert item.startswith(f"{shown} (acc): {shown} was better than "), item
