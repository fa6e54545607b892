"""Arms of several studies: what the gate lets through, and what is found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.evaluation.items import write_items
from ethosteer.evaluation.outcomes import grouped, write_outcomes
from ethosteer.evaluation.summary import summarise
from ethosteer.files import to_json
from ethosteer.records import Item, Outcome
from ethosteer.results.benchmarks import Comparability
from ethosteer.results.study import StudyResults
from ethosteer.study.compare_studies import compare_runs, write_across
from ethosteer.study.finished import Run, open_run

BASIS = Comparability("items", "prompts", "template", "tokenizer")
ITEMS = [
    Item(f"t{i}", (f"Is {i} hateful?",) * 2, (" No", " Yes"), i % 2, f"t{i}") for i in range(60)
]


def answers(study: str, right: dict[str, float], seeds: tuple[int, ...] = (0,)) -> list[Outcome]:
    """The first share of all items is answered rightly, the rest wrongly."""
    found = []
    for model, share in right.items():
        for seed in (0,) if model in ("base", "fine-tuned") else seeds:
            for place, item in enumerate(ITEMS):
                good = place < share * len(ITEMS)
                said = item.label if good else 1 - (item.label or 0)
                found.append(
                    Outcome(model, seed, "toxigen", item.id, item.group, (), item.label, said,
                            good, (-2.0, -1.0) if said else (-1.0, -2.0), (2, 3))
                )  # fmt: skip
    return found


def a_run(
    name: str,
    right: dict[str, float],
    comparability: Comparability | None = BASIS,
    seeds: tuple[int, ...] = (0,),
    margin: float | None = None,
) -> Run:
    outcomes = answers(name, right, seeds)
    by_model: dict[str, dict[int, list[Outcome]]] = {}
    for each in outcomes:
        by_model.setdefault(each.model, {}).setdefault(each.seed, []).append(each)
    summary = summarise(catalog.benchmark("toxigen"), 60, by_model)
    results = StudyResults(
        study=name, question=f"Of {name}?", control="fine-tuned", seeds=seeds, models=tuple(right),
        cards=(), overlaps=(), arms=(), benchmarks=(replace(summary, comparability=comparability),),
        comparisons=(), samples=(), margin=margin,
    )  # fmt: skip
    return Run(results, grouped(outcomes), {"toxigen": ITEMS})


CONTROLS = {"base": 0.5, "fine-tuned": 0.5}


def test_every_arm_of_one_study_is_held_to_every_arm_of_the_other() -> None:
    first = a_run("first", {**CONTROLS, "duty": 0.9, "virtue": 0.5})
    second = a_run("second", {**CONTROLS, "duty": 0.5})
    found = compare_runs([first, second]).results
    judged = {(each.a, each.b): each for each in found.comparisons if each.metric == "acc"}
    assert set(judged) == {("first: duty", "second: duty"), ("first: virtue", "second: duty")}
    duty = judged["first: duty", "second: duty"]
    # 24 items are right in one alone: McNemar's exact p is 2 / 2^24, and Holm's factor is 2
    assert duty.p == pytest.approx(2**-23)
    assert duty.adjusted_p == pytest.approx(2**-22)
    assert duty.difference.value == pytest.approx(0.4)
    assert duty.verdict == "better"
    assert judged["first: virtue", "second: duty"].verdict == "undecided"
    assert {each.family for each in judged.values()} == {
        "ToxiGen, acc: arms of first against arms of second"
    }
    cells = found.benchmarks[0].cells
    assert [cell.model for cell in cells if cell.metric == "acc"] == [
        *("first: base", "first: fine-tuned", "first: duty", "first: virtue"),
        *("second: base", "second: fine-tuned", "second: duty"),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"items": "x"}, "the items"),
        ({"prompts": "x"}, "the prompts"),
        ({"template": "x"}, "the dialogue template"),
        ({"tokenizer": "x"}, "the tokenizer"),
        ({"classifier": "x"}, "the classifier of texts"),
    ],
)
def test_the_gate_says_what_differs(changed: dict[str, str], said: str) -> None:
    first = a_run("first", {**CONTROLS, "duty": 0.9})
    second = a_run("second", {**CONTROLS, "duty": 0.5}, replace(BASIS, **changed))
    found = compare_runs([first, second])
    assert found.results.comparisons == ()
    assert found.results.benchmarks == ()
    (refusal,) = found.refusals
    assert (refusal.benchmark, refusal.a, refusal.b) == ("ToxiGen", "first", "second")
    assert refusal.reasons == (said,)


def test_results_of_unknown_basis_are_not_compared() -> None:
    known, unknown = a_run("a", {**CONTROLS, "x": 0.9}), a_run("b", {**CONTROLS, "x": 0.5}, None)
    (refusal,) = compare_runs([known, unknown]).refusals
    assert "no hashes to compare" in refusal.reasons[0]


def test_of_three_studies_those_that_may_be_are_compared() -> None:
    runs = [
        a_run("a", {**CONTROLS, "x": 0.9}),
        a_run("b", {**CONTROLS, "x": 0.5}, replace(BASIS, tokenizer="other")),
        a_run("c", {**CONTROLS, "x": 0.5}),
    ]
    found = compare_runs(runs)
    assert {(each.a, each.b) for each in found.results.comparisons} == {("a: x", "c: x")}
    assert {(each.a, each.b) for each in found.refusals} == {("a", "b"), ("b", "c")}


def test_unequal_seeds_are_compared_and_the_fewer_are_told() -> None:
    first = a_run("first", {**CONTROLS, "duty": 0.9}, seeds=(0, 1, 2))
    second = a_run("second", {**CONTROLS, "duty": 0.5})
    (comparison,) = (
        each for each in compare_runs([first, second]).results.comparisons if each.metric == "acc"
    )
    assert comparison.seeds == 1
    assert comparison.difference.value == pytest.approx(0.4)


def test_a_margin_counts_only_where_all_declared_it() -> None:
    right = {**CONTROLS, "x": 0.5}
    both = [a_run("a", right, margin=0.2), a_run("b", right, margin=0.2)]
    assert compare_runs(both).results.margin == 0.2
    verdicts = {
        each.metric: each.verdict
        for each in compare_runs(both).results.comparisons
        if each.metric in ("acc", "acc_norm")
    }
    assert verdicts == {"acc": "equivalent", "acc_norm": "equivalent"}
    assert compare_runs([both[0], a_run("b", right)]).results.margin is None


def test_two_studies_of_one_name_are_an_error() -> None:
    one = a_run("same", {**CONTROLS, "x": 0.5})
    with pytest.raises(InputError, match="two of the studies are called 'same'"):
        compare_runs([one, one])


def keep(run: Run, folder: Path) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(to_json(run.results), "utf-8")
    write_outcomes(folder / "outcomes.parquet", run.stored_outcomes.values())
    write_items(folder / "items.parquet", run.item_records)
    return folder


def test_from_the_command_line(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    folders = [
        str(keep(a_run(name, {**CONTROLS, "duty": share}), tmp_path / name))
        for name, share in (("first", 0.9), ("second", 0.4))
    ]
    status, out, _ = call("report", *folders, "--runs-dir", str(tmp_path))
    assert status == 0
    assert "first+second" in out
    text = (tmp_path / "first+second" / "report.md").read_text("utf-8")
    assert "Of 1 comparison between arms of different studies, 1 showed a difference" in text
    assert "first: duty was better than second: duty (+0.500" in text
    assert (tmp_path / "first+second" / "tables" / "comparisons.csv").is_file()
    html = (tmp_path / "first+second" / "report.html").read_text("utf-8")
    assert "#items=toxigen/first%3A%20duty/second%3A%20duty" in html
    (tmp_path / "first" / "items.parquet").unlink()
    status, _, err = call("report", *folders, "--runs-dir", str(tmp_path))
    assert (status, err.count("\n")) == (2, 1)
    assert "items.parquet: no such file; run the study to its end first" in err
    (tmp_path / "second" / "outcomes.parquet").write_bytes(b"PAR1 no more")
    status, _, err = call("report", folders[1])
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be read" in err


def test_a_runs_folder_alone_makes_its_report_anew(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    folder = keep(a_run("first", {**CONTROLS, "duty": 0.9}), tmp_path / "first")
    status, _, _ = call("report", str(folder))
    assert status == 0
    assert "Of first?" in (folder / "report.html").read_text("utf-8")
    assert open_run(folder).results == a_run("first", {**CONTROLS, "duty": 0.9}).results


def test_what_is_written_is_the_same_every_time(tmp_path: Path) -> None:
    runs = [a_run("a", {**CONTROLS, "x": 0.9}), a_run("b", {**CONTROLS, "x": 0.5})]
    for name in ("one", "two"):
        write_across(runs, tmp_path / name)
    assert (tmp_path / "one/report.html").read_bytes() == (
        tmp_path / "two/report.html"
    ).read_bytes()
