from ethosteer.report.blocks import Table
from ethosteer.report.data import count_table, drop_table
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
