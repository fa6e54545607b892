from dataclasses import replace

from ethosteer.records import Agreement
from ethosteer.report.blocks import Table
from ethosteer.report.data import card_table, count_table, drop_table
from ethosteer.report.view import View
from tests.report.example import example_results

VIEW = View(example_results())


def _row(table: Table, head: str) -> list[str]:
    return next([cell.text for cell in row] for row in table.rows if row[0].text == head)


def test_cards_and_drops() -> None:
    assert _row(count_table(VIEW), "harmless") == [
        "harmless", "12,731", "36", "3,300", "400", "400", "32.4", "27.2",
    ]  # fmt: skip
    assert _row(drop_table(VIEW), "too long") == ["too long", "0", "17", "34", "51"]
    assert _row(drop_table(VIEW), "all reasons") == ["all reasons", "514", "532", "550", "568"]


def test_a_card_says_what_a_file_was_recognised_as_and_how_far_annotators_agree() -> None:
    first, second, third, *others = VIEW.results.cards
    recognised = "comparisons with votes, columns question as prompt, a, b"
    cards = (
        replace(first, format=recognised, agreement=Agreement(0.416, 1200, 3600, 3)),
        replace(second, format="pairs, columns chosen, rejected"),
        replace(third, agreement=Agreement(-0.05, 1, 2, 0)),
        *others,
    )
    table = card_table(View(replace(VIEW.results, cards=cards)))
    assert [column.head for column in table.columns][-2:] == [
        "recognised as",
        "Krippendorff's alpha",
    ]
    assert _row(table, first.name)[-2:] == [recognised, "0.42"]
    assert _row(table, second.name)[-2:] == ["pairs, columns chosen, rejected", "–"]
    assert _row(table, third.name)[-2:] == ["–", "−0.05"]
    assert [row[-1].small for row in table.rows][:3] == [
        ("3,600 judgements", "of 3 annotators", "on 1,200 pairs"),
        (),
        ("2 judgements", "on 1 pair"),
    ]
    heads = {column.head for column in card_table(VIEW).columns}
    assert not heads & {"recognised as", "Krippendorff's alpha"}, "only where a card has them"
