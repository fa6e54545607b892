from ethosteer.report.differences import comparison_table, difference_figure
from ethosteer.report.numbers import interval, number
from ethosteer.report.view import View
from tests.report.example import example_results

RESULTS = example_results()
VIEW = View(RESULTS)


def test_comparisons_are_the_results() -> None:
    table = comparison_table(VIEW, RESULTS.benchmarks[0])
    assert len(table.rows) == 4 + 6
    source = next(each for each in RESULTS.comparisons if each.a == "virtue")
    row = next(row for row in table.rows if row[0].text == "virtue − fine-tuned")
    assert row[2].text == "+0.068"
    assert row[2].small == (interval(source.difference),)
    heads = [column.head for column in table.columns]
    assert row[heads.index("equivalence p")].text == "n/a"
    assert row[heads.index("minimum detectable difference")].text == number(
        source.minimum_detectable
    )
    assert row[-2].text == "4,975 / 2,487 / 2"
    assert row[-1].mark == "better"


def test_comparisons_of_a_distance_are_found() -> None:
    table = comparison_table(VIEW, RESULTS.benchmarks[4])
    assert len(table.rows) == 4 + 6
    assert table.rows[1][1].text == "pct_stereotype, distance from 50 %"
    assert (table.rows[1][2].text, table.rows[1][-1].mark) == ("−0.030", "better")
    figure = difference_figure(VIEW, RESULTS.benchmarks[4])
    assert figure is not None
    assert "distance from 50 %; lower is better" in figure.note
