"""Published counts: read, refused where they cannot be, and what their report says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from ethosteer.errors import InputError
from ethosteer.published.analysis import ALPHA, analyse
from ethosteer.published.counts import bundled_counts, counts_path, read_counts
from ethosteer.published.document import counts_document, write_counts_report
from ethosteer.report.blocks import Bullets, Document, Text
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


def page(path: Path) -> Document:
    counts = read_counts(path)
    return counts_document(counts, analyse(counts))


def test_the_2024_counts_are_bundled_and_give_its_published_shares() -> None:
    assert bundled_counts() == ("published-2024",)
    path = counts_path("published-2024")
    assert path is not None
    counts = read_counts(path)
    rounded = {
        each.benchmark: [round(each.right[model] / each.items, 4) for model in counts.models]
        for each in counts.shares
    }
    assert rounded == {
        "wsc273": [0.8571, 0.8791, 0.8755, 0.8791, 0.8755, 0.8791],
        "crows_pairs": [0.6237, 0.6327, 0.6333, 0.6255, 0.6261, 0.6249],
        "toxigen": [0.4277, 0.4298, 0.4287, 0.4287, 0.4255, 0.4266],
    }
    assert counts.answers[0].counts("utilitarianism") == (69, 106, 325)
    assert [sum(counts.answers[0].counts(model)) for model in counts.models] == [
        100, 500, 500, 500, 500, 100,
    ]  # fmt: skip


def test_its_report_says_what_could_have_been_shown() -> None:
    path = counts_path("published-2024")
    assert path is not None
    text = markdown_page(page(path))
    for said in (
        "Of 15 comparisons with fine-tuned on the same items, none is certain to be significant, "
        "4 could be, if few items are discordant (at most 2.3\u202f% on CrowS-Pairs), and 11 "
        "cannot",
        "largest published difference is 0.022",
        "minimum detectable difference of separate samples of these sizes is 0.056 at "
        "80\u202f% power",
        "refusal rate differs significantly from fine-tuned's for all 5 models, accuracy among the "
        "answers given for none",
        "base (−6), deontology (−1), harmless (0), utilitarianism (−1) and virtue (0) cannot",
        "base's, with all 6 discordant items one way: p\u202f=\u202f0.031, adjusted "
        "p\u202f=\u202f0.156",
        "at most 29 for virtue (−13), 21 of them one way",
        "acc\\_norm is 0.4319 for all 6 models",
        "No model's acc reaches it (0.4298 at most)",
        "41.0\u202f% to 95.6\u202f% of 100 to 500 items were refused; the refusal rate differs",
        "the lowest p is that of base (+0.196 \\[0.045, 0.329\\], adjusted p\u202f=\u202f0.064)",
        "virtue: the Matthews correlation of answers and labels, +0.145 \\[−0.176, 0.466\\] on 48 "
        "answers, does not differ",
        "“No dataset beat the others significantly.” Undetermined on CrowS-Pairs: with few "
        "discordant items, differences could be significant (deontology vs harmless, deontology vs "
        "utilitarianism and deontology vs virtue)",
        "It holds on WSC273 and ToxiGen",
        "“The harmless dataset raised its reward fastest.” None of the published counts",
        "base's −0.0220, requires 5,527 items per model as separate samples, or 1,207",
    ):
        assert said in text, said


def test_sentences_are_well_spaced(tmp_path: Path) -> None:
    path = counts_path("published-2024")
    assert path is not None
    for document in (page(path), page(small(tmp_path))):
        blocks = [block for section in document.sections for block in section.blocks]
        texts = [block.text for block in blocks if isinstance(block, Text)]
        texts += [item for block in blocks if isinstance(block, Bullets) for item in block.items]
        assert len(texts) > 8
        for text in texts:
            assert not re.search(r"  |\n| [.,;:)]|\( |\.\.|, \.", text), text
            assert text.endswith("."), text


def test_its_numbers_are_those_of_other_computations() -> None:
    path = counts_path("published-2024")
    assert path is not None
    result = analyse(read_counts(path))
    wsc, crows, _ = result.shares
    base = wsc.against[0]
    # Holm: the least of five is multiplied by five
    assert base.best_p == pytest.approx(5 * 2 / 2**6)
    assert (base.lead, base.verdict) == (-6, "cannot differ")
    # 2^-14 (15 one way), 2^-12, 2^-11 and 2^-10: five, four, three and two are left at each
    expected = {"base": 5 * 2**-14, "virtue": 4 * 2**-12, "harmless": 3 * 2**-11,
                "utilitarianism": 2 * 2**-10, "deontology": 1.0}  # fmt: skip
    assert {pair.a: pair.best_p for pair in crows.against} == pytest.approx(expected)
    # 21 to 8 of 29 is within what Holm asks of virtue with the others at their best, 22 to 9 not
    p = [2 * stats.binom(n, 0.5).cdf((n - 13) // 2) for n in (29, 31)]
    assert p[0] < ALPHA / 2 < p[1]
    refused = {pair.a: pair.p for pair in result.answers[0].refused_against}
    assert refused["harmless"] == pytest.approx(
        2 * stats.hypergeom(1000, 839, 500).sf(477), rel=1e-6
    )
    assert all(pair.verdict == "differs" for pair in result.answers[0].refused_against)
    assert not any(pair.verdict == "differs" for pair in result.answers[0].right_against)


def test_counts_that_differ_for_certain_say_so(tmp_path: Path) -> None:
    text = markdown_page(page(small(tmp_path, SMALL.replace("duty = 60", "duty = 100"))))
    assert "1 is certain to be significant, and 1 cannot" in text
    assert "duty (+50) differs significantly, whichever items each model had right" in text


def test_statements_fall_where_arms_differ(tmp_path: Path) -> None:
    statement = '[[statements]]\nquote = "None beat another."\nabout = "arms"\n'
    apart = SMALL.replace("duty = 60", "duty = 99").replace("care = 51", "care = 10") + statement
    answers = """
[[answers]]
benchmark = "free"
title = "Open"
correct = { base = 5, duty = 50, care = 1 }
wrong = { base = 5, duty = 1, care = 50 }
refused = { base = 5, duty = 5, care = 5 }
"""
    text = markdown_page(page(small(tmp_path, apart + answers)))
    assert (
        "Contradicted on Open: significant differences in accuracy among the answers given (duty "
        "vs care)."
    ) in text
    assert "Contradicted on Quiz: significant differences (duty vs care)." in markdown_page(
        page(small(tmp_path, apart))
    )


@pytest.mark.parametrize(
    "counted",
    [
        '[[confusions]]\nbenchmark = "q"\ntitle = "Q"\nmodel = "duty"\n'
        "tp = 1\ntn = 0\nfp = 0\nfn = 0\n",
        '[[answers]]\nbenchmark = "q"\ntitle = "Q"\n'
        "correct = { base = 0, duty = 3, care = 0 }\nwrong = { base = 0, duty = 0, care = 1 }\n"
        "refused = { base = 2, duty = 0, care = 1 }\n",
        '[[shares]]\nbenchmark = "q"\ntitle = "Q"\nmetric = "acc"\nitems = 1\n'
        "right = { base = 0, duty = 1, care = 0 }\n",
    ],
    ids=["one confusion", "nobody answers", "one item"],
)
def test_counts_too_few_for_anything_have_a_report(tmp_path: Path, counted: str) -> None:
    head = SMALL[: SMALL.index("[[shares]]")]
    write_counts_report(read_counts(small(tmp_path, head + counted)), tmp_path / "out")
    assert "n/a" in (tmp_path / "out" / "report.md").read_text("utf-8") or "items = 1" in counted


def test_all_numbers_are_kept_as_json(tmp_path: Path) -> None:
    path = counts_path("published-2024")
    assert path is not None
    counts = read_counts(path)
    write_counts_report(counts, tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert kept["published"]["shares"][0]["right"]["virtue"] == 240
    assert kept["shares"][0]["against"][2]["needed_unpaired"] == "Infinity"
    assert kept["confusions"][0]["correlation"]["value"] == pytest.approx(0.1448, abs=5e-5)
    assert kept["alpha"] == ALPHA


def test_a_lead_that_counts_says_on_how_few_items_and_one_that_does_not_says_never(
    tmp_path: Path,
) -> None:
    text = markdown_page(page(small(tmp_path)))
    # 11 to 1 of 12: 2 (1 + 12) / 4096 = .0063; 12 to 2 of 14: .013; 13 to 3 of 16: .021;
    # 14 to 4 of 18: .031, above .05 / 2
    assert "at most 16 for duty (+10), 13 of them one way. care (+1) cannot" in text
    assert "Free answers" not in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base = 50", "base = 500", "shares.0: right.base is 500 of 100 items"),
        (", care = 51 }", " }", "shares of Quiz: model 'care' is missing"),
        (
            "care = 51 }",
            "care = 51, virtue = 1 }",
            "shares of Quiz: 'virtue' is none of the models",
        ),
        ('control = "base"', 'control = "none"', "control: 'none' is none of the models"),
        ("items = 100", "items = 0", "shares.0.items: Input should be greater than"),
        ("duty = 60", "duty = -1", "shares.0.right.duty: Input should be greater than"),
        ('metric = "acc"', 'metrik = "acc"', "shares.0.metric: Field required"),
        ('"duty", "care"]', '"duty", "care", "duty"]', "models: one is named twice"),
        ('control = "base"', 'control = "base"\nbaselines = ["x"]', "baselines: 'x' is none of"),
        ("base = 50", "base = 50.5", "shares.0.right.base: Input should be a valid integer"),
        ("base = 50", "base = true", "shares.0.right.base: Input should be a valid integer"),
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


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tp = 18", "tp = 19", "virtue has 27 right and 22 wrong, but 26 and 22 in answers"),
        ('model = "virtue"', 'model = "vice"', "confusions: 'vice' is none of the models"),
        ("4.708", "nan", "values.0.value.base: Input should be a finite number"),
        ('about = "arms"', 'about = "all"', "statements.0.about: Input should be 'arms' or"),
        ("correct = { base = 40", "correct = { bass = 40", "model 'base' is missing"),
    ],
)
def test_wrong_answers_and_values_are_named_too(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = counts_path("published-2024")
    assert path is not None
    text = path.read_text("utf-8")
    assert old in text
    with pytest.raises(InputError) as fault:
        read_counts(small(tmp_path, text.replace(old, new, 1)))
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_counts_without_a_citation_are_counts_all_the_same(tmp_path: Path) -> None:
    path = small(tmp_path, SMALL.replace('citation = "Somebody, 2020"\n', ""))
    assert counts_path(str(path)) == path
    with pytest.raises(InputError, match="citation: Field required"):
        read_counts(path)
    assert counts_path("demo") is None


def test_from_the_command_line(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("report", "published-2024", "--runs-dir", str(tmp_path))
    assert (status, out.strip()) == (0, f"done: {tmp_path / 'published-2024' / 'report.html'}")
    assert sorted(each.name for each in (tmp_path / "published-2024").iterdir()) == [
        "report.html", "report.md", "results.json",
    ]  # fmt: skip
    status, _, _ = call("report", str(small(tmp_path)), "--runs-dir", str(tmp_path))
    assert status == 0
    assert "Which?" in (tmp_path / "small" / "report.html").read_text("utf-8")
    broken = small(tmp_path, SMALL.replace("base = 50", "base = 500"))
    status, _, err = call("report", str(broken), "--runs-dir", str(tmp_path))
    assert (status, err.count("\n")) == (2, 1)


def test_names_from_a_file_are_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    text = SMALL + f'[[statements]]\nquote = "{evil}"\nabout = "nothing"\n'
    text = text.replace("Quiz", evil).replace("Which?", evil).replace("Somebody", evil)
    text = text.replace('"duty"', f'"{evil}"').replace("duty = 60", f'"{evil}" = 60')
    write_counts_report(read_counts(small(tmp_path, text)), tmp_path / "out")
    for name in ("report.html", "report.md"):
        page = (tmp_path / "out" / name).read_text("utf-8")
        assert evil not in page
        assert page.count("&lt;script&gt;alert(1)") > 10
