"""The section on human preferences: what it states, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.collect.quality import collection_quality
from ethosteer.data.formats.collected import EXPORT
from ethosteer.errors import InputError
from ethosteer.files import make_folder, write_json
from ethosteer.report.blocks import Document, Figures, Section, Table, Text
from ethosteer.report.markdown import markdown_page
from ethosteer.report.page import html_page
from ethosteer.report.preferences import preference_blocks, preference_sections
from ethosteer.results.preferences import COLLECTION, QUALITY, CollectionQuality
from tests.collect.judgements import collection, judgement, pair

SOURCES = ("virtue", "deontology", "fine-tuned")


@pytest.fixture(scope="module")
def quality() -> CollectionQuality:
    return collection_quality(*collection(SOURCES, 100, 6, 900))


def tables(quality: CollectionQuality) -> dict[str, Table]:
    return {block.title: block for block in preference_blocks(quality) if isinstance(block, Table)}


def texts(quality: CollectionQuality) -> str:
    return " ".join(block.text for block in preference_blocks(quality) if isinstance(block, Text))


def test_a_run_without_an_export_has_no_section(tmp_path: Path):
    assert preference_sections(tmp_path) == ()
    make_folder(tmp_path / COLLECTION)
    assert preference_sections(tmp_path) == ()


def test_a_run_with_an_export_has_the_section(tmp_path: Path, quality: CollectionQuality):
    folder = tmp_path / COLLECTION / EXPORT
    make_folder(folder)
    write_json(folder / QUALITY, quality)
    (section,) = preference_sections(tmp_path)
    assert section.anchor == "preferences"
    # records read back have the same content, though nan is not equal to itself
    assert repr(section.blocks) == repr(preference_blocks(quality))


def test_a_damaged_export_is_one_line(tmp_path: Path):
    folder = tmp_path / COLLECTION / EXPORT
    make_folder(folder)
    (folder / QUALITY).write_text("{", "utf-8")
    with pytest.raises(InputError, match=QUALITY):
        preference_sections(tmp_path)


def test_the_ranking_shows_its_numbers(quality: CollectionQuality):
    assert quality.ranking is not None
    rows = tables(quality)["Ranking of answer sources"].rows
    assert [row[0].text for row in rows] == [row.source for row in quality.ranking.strengths]
    first = quality.ranking.strengths[0]
    assert [cell.text for cell in rows[0][3:]] == [
        str(first.wins), str(first.ties), str(first.losses),
    ]  # fmt: skip
    compared = tables(quality)["All pairs of sources"].rows
    assert [row[-1].mark for row in compared] == [c.verdict for c in quality.ranking.comparisons]
    assert any(isinstance(block, Figures) for block in preference_blocks(quality))


def test_annotators_are_numbers(quality: CollectionQuality):
    rows = tables(quality)["Reliability of each annotator"].rows
    assert [row[0].text for row in rows] == [f"annotator {number}" for number in range(1, 7)]


def test_what_limits_the_ranking_is_stated():
    pairs, judged = collection(SOURCES, 60, 1, 100)
    assert "nothing of what other people prefer" in texts(collection_quality(pairs, judged))
    pairs, judged = collection(SOURCES, 60, 3, 200)
    plain = texts(collection_quality(pairs, judged))
    assert "with 3 of them" in plain and "shown at random" not in plain and "sets" not in plain
    chosen = [judgement(1, pairs[0].key, 1, "uncertainty")]
    mixed = collection_quality(pairs, [*judged, *chosen])
    assert "shown at random" in texts(mixed)
    assert any("reward models chose" in title for title in tables(mixed))
    apart = [*pairs, pair("apart", "x", "y")]
    unlinked = collection_quality(apart, [*judged, judgement(1, "apart", 1)])
    assert "2 sets" in texts(unlinked)
    column = tables(unlinked)["Ranking of answer sources"].columns[-1]
    assert column.head == "compared within"


def test_pairs_that_only_one_annotator_judged_leave_agreement_unknown():
    pairs = [pair(str(n), group=str(n)) for n in range(20)]
    judged = [judgement(1 + n % 2, str(n), 1 if n % 3 else -1) for n in range(20)]
    quality = collection_quality(pairs, judged)
    assert "how far they agree is not known" in texts(quality)
    assert tables(quality)["Agreement of annotators"].rows[0][1].text == "n/a"


def test_an_export_without_judgements_is_stated():
    pairs = [pair("x")]
    (only,) = preference_blocks(collection_quality(pairs, [judgement(1, "x", None, flagged=True)]))
    assert isinstance(only, Text) and "1 judgement flagged a pair" in only.text


def test_names_of_sources_are_escaped(quality: CollectionQuality):
    hostile = "<script>alert(1)</script>"
    assert quality.ranking is not None
    strengths = (replace(quality.ranking.strengths[0], source=hostile),)
    comparisons = (replace(quality.ranking.comparisons[0], a=hostile),)
    changed = replace(
        quality, ranking=replace(quality.ranking, strengths=strengths, comparisons=comparisons)
    )
    section = Section("preferences", "Human preferences", preference_blocks(changed))
    document = Document("title", "question", "facts", (section,))
    assert hostile not in html_page(document)
    assert "&lt;script&gt;alert(1)" in html_page(document)
    assert hostile not in markdown_page(document)
