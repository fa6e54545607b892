from dataclasses import replace

from ethosteer.evaluation.outcomes import grouped
from ethosteer.report.benchmarks import (
    answers_table,
    metrics_table,
    requests_note,
    slices_table,
    summary_tables,
    unequal_items,
)
from ethosteer.report.blocks import Table
from ethosteer.report.numbers import interval, number
from ethosteer.report.view import View
from ethosteer.results.benchmarks import SliceCell
from tests.report.example import MODELS, example_outcomes, example_results

RESULTS = example_results()
VIEW = View(RESULTS, grouped(example_outcomes()))


def _row(table: Table, head: str) -> list[str]:
    return next([cell.text for cell in row] for row in table.rows if row[0].text == head)


def test_summary_holds_every_models_number_interval_and_verdict() -> None:
    (table,) = summary_tables(VIEW)
    assert [row[0].text for row in table.rows] == [*MODELS, "constant answers", "items"]
    for row in table.rows[: len(MODELS)]:
        for benchmark, cell in zip(RESULTS.benchmarks, row[1:], strict=True):
            source = VIEW.cell(benchmark, row[0].text)
            assert source is not None
            assert cell.text == number(source.estimate.value)
            assert cell.small == (interval(source.estimate),)
            assert cell.flags == source.flags
    virtue = next(row for row in table.rows if row[0].text == "virtue")
    assert [cell.mark for cell in virtue[1:]] == [
        "better", "equivalent", "equivalent", "undecided", "equivalent", "better",
    ]  # fmt: skip
    assert _row(table, "constant answers")[3] == "always No 0.568"
    assert _row(table, "items")[1:] == ["4,975", "3,596", "940", "273", "1,508", "500"]
    assert all(column.kind == "number" for column in table.columns[1:])


def test_the_summary_states_how_many_clusters_items_form() -> None:
    first, *others = VIEW.results.benchmarks
    clustered = replace(first, clusters=1200, largest_cluster=16)
    alone = [replace(other, clusters=other.items, largest_cluster=1) for other in others]
    view = View(replace(VIEW.results, benchmarks=(clustered, *alone)))
    (summary,) = summary_tables(view)
    items = next(row for row in summary.rows if row[0].text == "items")
    assert items[1].small == ("in 1,200 clusters (largest: 16)",)
    assert not any("cluster" in line for entry in items[2:] for line in entry.small)
    assert "statistics take clusters whole" in summary.note
    (without,) = summary_tables(View(replace(VIEW.results, benchmarks=tuple(alone))))
    assert "cluster" not in without.note


def test_many_benchmarks_make_several_tables() -> None:
    many = replace(RESULTS, benchmarks=RESULTS.benchmarks * 2 + RESULTS.benchmarks[:1])
    assert [len(table.columns) for table in summary_tables(View(many))] == [7, 7, 2]


def test_a_note_says_which_requests_were_written_by_the_chat_template() -> None:
    toxigen, other = (replace(result, dataset="") for result in RESULTS.benchmarks[:2])
    in_chat = [replace(result, chat=True) for result in (toxigen, other)]
    pairs = replace(toxigen, dataset="virtue")
    assert "plain text" in requests_note([toxigen, other])
    assert requests_note(in_chat) == " Requests were written by the base's chat template."
    assert requests_note([in_chat[0], pairs]) == requests_note(in_chat)
    assert requests_note([pairs]) == ""
    only = requests_note([in_chat[0], other])
    assert only == f" Requests of {toxigen.title} were written by the base's chat template."
    (table,) = summary_tables(VIEW)
    assert table.note.endswith(requests_note(RESULTS.benchmarks))


def test_details_show_all_metrics_by_seed() -> None:
    crows = RESULTS.benchmarks[4]
    table = metrics_table(VIEW, crows)
    assert len(table.rows) == 2 * len(MODELS)
    assert _row(table, "virtue") == [
        "virtue", "pct_stereotype", "0.590", "[0.566, 0.614]", "1,508", "0.586", "0.594",
    ]  # fmt: skip
    assert _row(table, "base")[-2:] == ["0.584", "–"]


def test_parts_of_a_benchmark_stand_side_by_side() -> None:
    crows = RESULTS.benchmarks[4]
    assert slices_table(VIEW, crows) is None
    cells = tuple(
        SliceCell(model, part, 0.5 + 0.01 * place, 100 + place)
        for model in MODELS
        for place, part in enumerate(("age", "religion"))
    )
    table = slices_table(VIEW, replace(crows, slices=cells))
    assert table is not None
    assert [column.head for column in table.columns] == ["slice", "n", *MODELS]
    assert _row(table, "age") == ["age", "100", *["0.500"] * len(MODELS)]
    assert _row(table, "religion") == ["religion", "101", *["0.510"] * len(MODELS)]


def test_a_judges_quality_stands_beside_the_numbers() -> None:
    judged = replace(RESULTS.benchmarks[0], classifier="a classifier; on 9 rows: accuracy 0.70")
    view = View(replace(RESULTS, benchmarks=(judged,)))
    (summary,) = summary_tables(view)
    assert "classified by a classifier; on 9 rows: accuracy 0.70" in summary.note
    assert "classified by a classifier" in metrics_table(view, judged).note


def test_answers_count_the_commonest_and_the_missing() -> None:
    table = answers_table(VIEW)
    assert table is not None
    toxigen, scruples = next(row for row in table.rows if row[0].text == "virtue")[1:]
    assert toxigen.text == "100.0\u202f%"
    assert toxigen.small == ()
    assert scruples.text == "68.8\u202f%"
    assert scruples.small == ("no answer 20.0\u202f%",)
    assert answers_table(View(RESULTS)) is None


def test_models_on_different_items_are_told() -> None:
    outcomes = example_outcomes()
    assert unequal_items(View(RESULTS, grouped(outcomes))) == ""
    assert "toxigen" in unequal_items(View(RESULTS, grouped(outcomes[2:])))
