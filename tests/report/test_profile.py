"""The value profile: golden cells, what is marked, what is said, and its file."""

import csv
from dataclasses import replace

from ethosteer.report.answer import answer
from ethosteer.report.blocks import Bullets, Cell, Table
from ethosteer.report.document import document
from ethosteer.report.export import data_files
from ethosteer.report.profile import profile_blocks, profile_sentences
from ethosteer.report.view import View
from ethosteer.results.comparisons import Verdict
from tests.report.example import ARMS, MODELS, example_results, with_profile

RESULTS = with_profile(example_results())
VIEW = View(RESULTS)


def _tables(view: View) -> list[Table]:
    return [block for block in profile_blocks(view) if isinstance(block, Table)]


def _cell(table: Table, row: str, column: str) -> Cell:
    index = [head.head for head in table.columns].index(f"pairs: {column}")
    return next(cells for cells in table.rows if cells[0].text == row)[index]


def _changed(arm: str, dataset: str, verdict: Verdict) -> View:
    """Return the example with the verdict of one arm on one dataset's pairs changed."""
    comparisons = tuple(
        replace(comparison, verdict=verdict)
        if (comparison.a, comparison.benchmark) == (arm, f"preferences:{dataset}")
        else comparison
        for comparison in RESULTS.comparisons
    )
    return View(replace(RESULTS, comparisons=comparisons))


def test_every_model_stands_against_every_dataset() -> None:
    accuracies, margins = _tables(VIEW)
    for table in (accuracies, margins):
        assert [row[0].text for row in table.rows] == [*MODELS, "pairs"]
        assert [column.head for column in table.columns[1:]] == [f"pairs: {arm}" for arm in ARMS]
        assert [cell.text for cell in table.rows[-1][1:]] == ["200"] * len(ARMS)
    moved = Cell("↑ 0.700", ("[0.650, 0.750]", "own"), tint=2, ring=True)
    assert _cell(accuracies, "virtue", "virtue") == moved
    assert _cell(accuracies, "virtue", "harmless") == Cell("0.560", ("[0.510, 0.610]",))
    assert _cell(accuracies, "base", "virtue") == Cell("0.580", ("[0.530, 0.630]",))
    assert _cell(margins, "virtue", "virtue").text == "↑ +0.070"
    assert _cell(margins, "virtue", "harmless").text == "+0.056"


def test_only_what_is_shown_is_tinted() -> None:
    undecided = _tables(_changed("virtue", "virtue", "undecided"))
    assert [_cell(table, "virtue", "virtue").tint for table in undecided] == [0, 0]
    assert [_cell(table, "virtue", "virtue").ring for table in undecided] == [True, True]


def test_the_answer_says_where_an_arm_moved_once() -> None:
    (bullets,) = (
        block
        for block in answer(VIEW)
        if isinstance(block, Bullets) and block.title == "Value profile"
    )
    assert bullets.items[-1] == (
        "virtue ranks the chosen above the rejected response more often than fine-tuned in the "
        "pairs of virtue (its own dataset; +0.120, Holm-adjusted CI [0.060, 0.180], p\u202f="
        "\u202f0.004); undecided on deontology, harmless and utilitarianism."
    )
    (others,) = (
        block
        for block in answer(VIEW)
        if isinstance(block, Bullets) and block.title == "Results by benchmark"
    )
    assert not any("pairs" in sentence for sentence in others.items)


def test_a_fall_and_no_movement_are_said_as_such() -> None:
    fallen = profile_sentences(_changed("virtue", "harmless", "worse"))[-1]
    assert "virtue (its own dataset; " in fallen
    assert "; less often than fine-tuned in the pairs of harmless (" in fallen
    still = profile_sentences(_changed("virtue", "virtue", "equivalent"))[-1]
    assert still == (
        "virtue was not shown to rank the responses of any dataset otherwise than fine-tuned; "
        "equivalent on virtue; undecided on deontology, harmless and utilitarianism."
    )


def test_the_matrix_is_a_file_and_a_section() -> None:
    rows = list(csv.DictReader(data_files(VIEW)["profile.csv"].splitlines()))
    assert len(rows) == 2 * len(MODELS) * len(ARMS)
    virtue = [row for row in rows if row["model"] == row["dataset"] == "virtue"]
    assert [(row["metric"], row["verdict"], float(row["difference"])) for row in virtue] == [
        ("acc_per_token", "better", 0.12), ("margin_per_token", "better", 0.012),
    ]  # fmt: skip
    base = next(row for row in rows if row["model"] == "base")
    assert base["verdict"] == base["difference"] == ""
    assert [section.anchor for section in document(VIEW).sections].index("profile") > 0


def test_without_pairs_there_is_no_profile() -> None:
    bare = View(example_results())
    assert profile_blocks(bare) == ()
    assert profile_sentences(bare) == ()
    assert "profile.csv" not in data_files(bare)
