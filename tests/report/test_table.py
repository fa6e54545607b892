"""Tables from plain values: what is written how, and which columns are numbers."""

import math

import pytest

from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import p_value, percent, signed
from ethosteer.report.table import Numbers, Value, cell, record_table, table
from ethosteer.results.estimates import Estimate, Slope

RISE = Estimate(0.25, -0.1, 0.6, 1200)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a <b>", Cell("a <b>")),
        (1200, Cell("1,200")),
        (0.12345, Cell("0.123")),
        (-2.0, Cell("−2.000")),
        (math.nan, Cell("n/a")),
        (RISE, Cell("0.250", ("[−0.100, 0.600]",))),
        (Slope(0.25, -0.1, 0.6, 0.2, 3), Cell("0.250", ("[−0.100, 0.600]",))),
        (None, Cell("–")),
        (Cell("as it is", link="#items"), Cell("as it is", link="#items")),
    ],
)
def test_every_value_has_its_way_to_be_written(value: Value, expected: Cell) -> None:
    assert cell(value) == expected
    assert table("T", ["x"], [[value]]).rows == ((expected,),)


def test_a_column_says_how_its_numbers_are_written() -> None:
    heads = (Numbers("rise", signed, 2), Numbers("p", p_value), Numbers("share", percent))
    assert table("T", heads, [(RISE, 0.0001, 0.5), (None, "not tested", math.nan)]) == Table(
        title="T",
        columns=(Column("rise", "number"), Column("p", "number"), Column("share", "number")),
        rows=(
            (Cell("+0.25", ("[−0.10, 0.60]",)), Cell("<\u202f0.001"), Cell("50.0\u202f%")),
            (Cell("–"), Cell("not tested"), Cell("n/a")),
        ),
    )
    assert table("T", [Numbers("x", digits=1)], [[2.345]]).rows == ((Cell("2.3"),),)


def test_a_column_with_a_number_is_a_column_of_numbers() -> None:
    made = table(
        "T",
        ("model", "acc", "n", "hash", Column("answer", "long"), Numbers("seed")),
        [("base", None, None, None, "Yes.", "0"), ("arm", RISE, 5, Cell("1d"), "No.", "1")],
    )
    kinds = [column.kind for column in made.columns]
    assert kinds == ["text", "number", "number", "text", "long", "number"]


def test_a_cell_adds_what_is_beside_its_number() -> None:
    assert cell(RISE, signed, 1, small=("own",), mark="better", flags=["constant"], tint=2) == Cell(
        "+0.2", ("[−0.1, 0.6]", "own"), "better", ("constant",), 2
    )


def test_title_note_fold_and_summary_are_the_tables() -> None:
    assert table("T", ["a"], [["x"]], note="N", folded=True, summary=1) == Table(
        "T", (Column("a"),), ((Cell("x"),),), "N", folded=True, summary=1
    )
    assert table("", [Numbers("a")], []) == Table("", (Column("a", "number"),), ())


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        table("T", ["a", "b"], [["x", "y", "z"]])
    with pytest.raises((ValueError, IndexError)):
        table("T", ["a", "b"], [["x"]])


def test_a_table_of_records_names_each_column_beside_what_it_shows() -> None:
    made = record_table(
        "T",
        [RISE, Estimate(0.5, 0.4, 0.6, 7)],
        {"n": lambda estimate: estimate.n, Numbers("rise", signed, 1): lambda estimate: estimate},
        note="N",
    )
    rows = [(1200, RISE), (7, Estimate(0.5, 0.4, 0.6, 7))]
    assert made == table("T", ("n", Numbers("rise", signed, 1)), rows, note="N")
