"""Published counts: read, refused where they cannot be, and what their report says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer.counts import bundled_counts, counts_path, read_counts
from ethosteer.errors import InputError
from ethosteer.report import write_counts_report
from ethosteer.report.counts import counts_document
from ethosteer.report.markdown import markdown_page

SMALL = """\
name = "small"
question = "Which?"
citation = "Somebody, 2020"
models = ["base", "duty", "care"]
control = "base"
[[shares]]
benchmark = "quiz"
title = "Quiz"
metric = "acc"
items = 100
right = { base = 50, duty = 60, care = 51 }
"""


def small(tmp_path: Path, text: str = SMALL) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_2024_counts_are_bundled_and_give_its_published_shares() -> None:
    assert bundled_counts() == ("published-2024",)
    path = counts_path("published-2024")
    assert path is not None
    counts = read_counts(path)
    shares = {each.benchmark: each for each in counts.shares}
    rounded = {
        (name, model): round(own.right[model] / own.items, 4)
        for name, own in shares.items()
        for model in ("base", "virtue")
    }
    assert rounded == {
        ("wsc273", "base"): 0.8571, ("wsc273", "virtue"): 0.8791,
        ("crows_pairs", "base"): 0.6237, ("crows_pairs", "virtue"): 0.6249,
        ("toxigen", "base"): 0.4277, ("toxigen", "virtue"): 0.4266,
    }  # fmt: skip
    assert counts.answers[0].counts("utilitarianism") == (69, 106, 325)
    assert [sum(counts.answers[0].counts(model)) for model in counts.models] == [
        100, 500, 500, 500, 500, 100,
    ]  # fmt: skip


def test_its_report_says_what_could_have_been_shown() -> None:
    path = counts_path("published-2024")
    assert path is not None
    text = markdown_page(counts_document(read_counts(path)))
    for said in (
        "can show a difference in 4 of 15 comparisons with fine-tuned (on CrowS-Pairs)",
        "models had to lie 0.056 to 0.079 apart",
        "the largest lead that was published is 0.022",
        "base (−6 of 273), deontology (−1 of 273), harmless (0 of 273)",
        "virtue (1048 against 1061, if they parted on 21 items at most)",
        "acc\\_norm is 0.4319 for all 6 models",
        "41.0\u202f% to 95.6\u202f% of items",
        "virtue: Matthews correlation +0.145 \\[−0.149, 0.438\\] on 48 answers",
    ):
        assert said in text, said


def test_a_lead_that_counts_says_on_how_few_items_and_one_that_does_not_says_never(
    tmp_path: Path,
) -> None:
    text = markdown_page(counts_document(read_counts(small(tmp_path))))
    # 10 of 12 one way: 2 (1 + 12) / 4096 = .0063... on 12 parted, 11 to 1; of 14, 12 to 2: .013;
    # of 16, 13 to 3: .021; of 18, 14 to 4: .031, above .05 / 2
    assert "can differ: duty (60 against 50, if they parted on 16 items at most)" in text
    assert "cannot, whichever items these were: care (+1 of 100)" in text
    assert "Free answers" not in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base = 50", "base = 500", "shares.0: right.base is 500 of 100 items"),
        (", care = 51 }", " }", "shares of Quiz: 'care' is in only one of them and models"),
        ("care = 51 }", "care = 51, virtue = 1 }", "'virtue' is in only one of them"),
        ('control = "base"', 'control = "none"', "control 'none' is none of the models"),
        ("items = 100", "items = 0", "shares.0.items: Input should be greater than"),
        ("duty = 60", "duty = -1", "shares.0.right.duty: Input should be greater than"),
        ('metric = "acc"', 'metrik = "acc"', "shares.0.metric: Field required"),
        ('question = "Which?"', "question = ", "not valid TOML"),
    ],
)
def test_wrong_counts_are_one_line_that_names_the_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(InputError) as fault:
        read_counts(small(tmp_path, SMALL.replace(old, new)))
    assert said in str(fault.value)
    assert "small.toml" in str(fault.value)


def test_from_the_command_line(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("report", "published-2024", "--runs-dir", str(tmp_path))
    assert (status, out.strip()) == (0, f"done: {tmp_path / 'published-2024' / 'report.html'}")
    assert sorted(each.name for each in (tmp_path / "published-2024").iterdir()) == [
        "report.html", "report.md",
    ]  # fmt: skip
    status, _, _ = call("report", str(small(tmp_path)), "--runs-dir", str(tmp_path))
    assert status == 0
    assert "Which?" in (tmp_path / "small" / "report.html").read_text("utf-8")
    broken = small(tmp_path, SMALL.replace("base = 50", "base = 500"))
    status, _, err = call("report", str(broken), "--runs-dir", str(tmp_path))
    assert (status, err.count("\n")) == (2, 1)


def test_names_from_a_file_are_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    write_counts_report(read_counts(small(tmp_path, SMALL.replace("Quiz", evil))), tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html
