"""The two files: whole, self-contained, the same content, and safe with hostile text."""

import base64
import gzip
import json
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ethosteer.evaluation.outcomes import grouped
from ethosteer.records import BASE, FINETUNED
from ethosteer.report import write_report
from ethosteer.report.markdown import escape
from ethosteer.results.reward_models import CrossCell
from ethosteer.results.study import Sample, SampleAnswer, StudyResults
from tests.report.example import ARMS, example_items, example_outcomes, example_results

SCRIPT = "<script>alert('one')</script>"
HANDLER = '"><img src=x onerror="alert(2)">'
HOSTILE = (
    f"{SCRIPT} {HANDLER} | `code` **bold** [link](https://evil.example) ![i](x) &lt; $x$ \x00\ud800"
    "{{ 7 * 7 }}{% raw %} \u202efdp.exe \u2067isolated"
)
SPELT = {"\x00": "\ufffd", "\ud800": "\ufffd", "\u202e": r"\u202e", "\u2067": r"\u2067"}
"""How the report shows what no file should hold, and what would reorder the words beside it."""


def shown(text: str) -> str:
    """Return hostile text as a reader of the report sees it."""
    return "".join(SPELT.get(character, character) for character in text)


LINES = "\u2028\u2029\x85"
"""Ends of lines to some programs: JavaScript's strings had none of the first two until 2019."""
FILES = {
    "report.md",
    *(f"tables/{name}.csv" for name in (
        "benchmarks", "comparisons", "reward_comparisons", "rewards", "slopes", "steering",
    )),
    "tables/benchmarks.tex",
    "tables/comparisons.tex",
}  # fmt: skip
"""What the report of the example links to beside it."""


class Page(HTMLParser):
    """Collects tags, attributes, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _write(folder: Path, results: StudyResults) -> tuple[str, str]:
    write_report(results, grouped(example_outcomes()), example_items(), folder)
    return (folder / "report.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return _write(tmp_path_factory.mktemp("report"), example_results())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    results = example_results()
    card = replace(results.cards[0], name=HOSTILE, source=HOSTILE, licence=HOSTILE)
    points = tuple(
        replace(point, rewards={HOSTILE: point.reward, "virtue": 0.0}, alarms=(HOSTILE,))
        for point in results.arms[0].curve[::5]
    )
    arm = replace(results.arms[0], arm=HOSTILE, stopped=HOSTILE, algorithm=HOSTILE, curve=points)
    estimate = results.cross_rewards[0].estimate
    rise = replace(estimate, value=3.0, low=2.9, high=3.1)
    fall = replace(estimate, value=-3.0, low=-3.1, high=-2.9)
    cells = (CrossCell(HOSTILE, HOSTILE, rise), CrossCell(HOSTILE, "virtue", fall))
    control = tuple(CrossCell(FINETUNED, name, estimate) for name in (HOSTILE, "virtue"))
    compared = tuple(
        replace(results.reward_comparisons[0], benchmark=judge, a=HOSTILE, difference=moved)
        for judge, moved in ((HOSTILE, rise), ("virtue", fall))
    )
    slope = replace(results.slopes[0], a=HOSTILE)
    sample = Sample(HOSTILE, (SampleAnswer(BASE, HOSTILE, {HOSTILE: 1.0}),))
    bad = replace(
        results,
        study=HOSTILE,
        question=HOSTILE,
        models=(*results.models, HOSTILE),
        cards=(card,),
        arms=(*results.arms, arm),
        benchmarks=(replace(results.benchmarks[0], title=HOSTILE), *results.benchmarks[1:]),
        samples=(sample,),
        provenance={HOSTILE: HOSTILE},
        cross_rewards=(*control, *cells),
        reward_comparisons=compared,
        cross_accuracies=(*cells, CrossCell("virtue", HOSTILE, fall)),
        slopes=(slope, replace(slope, b=HOSTILE)),
    )
    folder = tmp_path_factory.mktemp("hostile")
    items = {
        name: [replace(item, contexts=(HOSTILE + LINES,) * len(item.contexts)) for item in known]
        for name, known in example_items().items()
    }
    outcomes = [replace(outcome, text=HOSTILE + LINES) for outcome in example_outcomes()]
    write_report(bad, grouped(outcomes), items, folder)
    return (folder / "report.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8")


def test_only_the_reports_files_are_left(tmp_path: Path) -> None:
    _write(tmp_path, example_results())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "report.md",
        "tables",
    ]
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "benchmarks.csv", "benchmarks.tex", "comparisons.csv", "comparisons.tex",
        "reward_comparisons.csv", "rewards.csv", "slopes.csv", "steering.csv",
    ]  # fmt: skip


def test_a_fault_leaves_the_old_report(tmp_path: Path) -> None:
    old = _write(tmp_path, example_results())
    broken = replace(example_results(), cards=(None,))  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        write_report(broken, {}, {}, tmp_path)
    assert (tmp_path / "report.html").read_text("utf-8") == old[0]


def test_the_same_results_make_the_same_bytes(tmp_path: Path, pages: tuple[str, str]) -> None:
    assert _write(tmp_path, example_results()) == pages


def test_the_page_is_light_and_loads_nothing(pages: tuple[str, str]) -> None:
    html, _ = pages
    assert len(html.encode()) < 400_000
    page = Page(html)
    loading = {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "video",
        "audio",
        "base",
    }
    assert not loading & {tag for tag, _ in page.tags}
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts.count({}) == 1, "the page's own"
    assert {own.get("type") for own in scripts if own} == {"application/octet-stream"}, "data"
    for tag, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        if "href" in attributes:
            link = attributes["href"] or ""
            assert tag == "a" and (link.startswith("#") or link in FILES), link
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_the_policy_forbids_network_and_names_style_and_script(pages: tuple[str, str]) -> None:
    html, _ = pages
    policy = next(
        attributes["content"]
        for tag, attributes in Page(html).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_ids_are_unique_and_links_lead_somewhere(pages: tuple[str, str]) -> None:
    tags = Page(pages[0]).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] or "" for tag, attributes in tags if tag == "a"} - FILES
    assert {link[1:] for link in links if not link.startswith("#items=")} <= set(ids)
    assert "item-browser" in ids


def test_every_verdict_leads_to_its_items(pages: tuple[str, str]) -> None:
    links = re.findall(r'<a class="(?:mark|effect) \w+" href="(#items=[^"]*)"', pages[0])
    assert "#items=toxigen/virtue/fine-tuned" in links
    names = {each.name for each in example_results().benchmarks}
    assert {link.partition("=")[2].split("/")[0] for link in links} <= names
    # every arm against the control at a glance, in the table, among all comparisons, and once more
    # beside each figure
    against = [link for link in links if link.endswith("/virtue/fine-tuned")]
    assert len(against) == 4 * 6


def test_items_and_answers_are_packed_as_data(pages: tuple[str, str]) -> None:
    blocks = dict(re.findall(r'data-benchmark="(\w+)">([A-Za-z0-9+/=]+)</script>', pages[0]))
    assert set(blocks) == {"toxigen", "scruples_original"}
    scruples = json.loads(gzip.decompress(base64.b64decode(blocks["scruples_original"])))
    assert scruples["ids"][:2] == ["i0", "i1"]
    assert scruples["models"][:3] == [["base", 0], ["fine-tuned", 0], ["deontology", 0]]
    assert scruples["predicted"][0][:4] == [None, 0, 0, 1]
    assert scruples["labels"][:2] == [0, 1]
    assert scruples["slices"] == ["even", "odd"]
    assert scruples["inSlices"][:2] == [[0], [1]]


def test_numbers_stand_to_the_right(pages: tuple[str, str]) -> None:
    html, markdown = pages
    assert re.search(r"td\.number \{ text-align: right; \}", html)
    assert "tabular-nums" in html
    cells = re.findall(r'<td class="(\w+)"[^>]*>\s*<span class="value">([^<]*)', html)
    numeric = re.compile(r"[+−]?\d[\d,.]*(?:\u202f%)?")
    loose = [
        text for kind, text in cells if numeric.fullmatch(text) and kind not in ("number", "code")
    ]
    assert sum(kind == "number" for kind, _ in cells) > 200
    assert loose == []
    assert "| --- | ---: |" in markdown


def test_both_files_hold_the_same_content(pages: tuple[str, str]) -> None:
    html, markdown = pages
    text = Page(html).text
    rendered = Page(MarkdownIt("commonmark").enable("table").render(markdown)).text
    for said in (
        "Which of four value datasets steers the pocket model best",
        "virtue was better than the control (+0.068, Holm-adjusted CI [0.061, 0.075]",
        "[0.690, 0.714]",
        "answers 'No' to 99.0\u202f% of items",
        "always No 0.568",
        "virtue − fine-tuned",
        "I am sorry, I would rather not say more.",
        "1 h 30 min",
        "ethosteer run study.toml",
        "no contrast",
        "4 CPU cores, 16 GiB memory",
        "scored above fine-tuned under its own reward model (+1.95 [1.80, 2.10])",
        "↓ −0.64",
        "The reward model of virtue preferred the rejected response in most of harmless's pairs",
        "no difference shown",
        "stopped early: KL 230 nats at step 207, above max_kl 200",
        "virtue: reward against KL",
        "38 of 160",
    ):
        assert said in text, said
        assert said in rendered, said
    titles = [Page(title).text for title in re.findall(r"<h2[^>]*>(.*?)</h2>", html)]
    assert titles == re.findall(r"(?m)^## (.*)$", markdown)
    assert len(titles) == 10
    assert html.count('role="img"') == len(example_results().benchmarks) + 3 + 2 * len(ARMS)


def test_the_effects_of_the_first_screen_are_a_table_in_markdown(pages: tuple[str, str]) -> None:
    html, markdown = pages
    rows = re.findall(r"(?m)^\| (ETHICS virtue|ToxiGen) \(acc\) \| (.*) \|$", markdown)
    cells = {title: row.replace("\\", "").split(" | ") for title, row in rows}
    assert cells["ETHICS virtue"][3] == "+0.068<br>[0.061, 0.075]<br>▲ better"
    assert cells["ToxiGen"][0].endswith("= equivalent<br>⚑ two constant answers")
    shown = re.findall(r'<span class="amount">([^<]+)</span>', html)
    assert len(shown) == 6 * 4
    assert [text for row in cells.values() for cell in row for text in cell.split("<br>")[:1]] == [
        *shown[:4],
        *shown[8:12],
    ]


def test_all_but_the_answer_benchmarks_and_steering_start_folded(pages: tuple[str, str]) -> None:
    heads = re.findall(
        r'<details class="section"( open)?>\s*<summary><h2>(.*?)</h2></summary>\s*'
        r'<div class="content" id="(\w+)">',
        pages[0],
    )
    assert [anchor for state, _, anchor in heads if state] == ["benchmarks", "steering"]
    folded = [anchor for state, _, anchor in heads if not state]
    assert folded == ["differences", "rewards", "samples", "items", "data", "run", "glossary"]
    assert '<div class="content" id="answer">' in pages[0]
    for title in ("Results by benchmark", "Limitations", "Study file (study.toml)"):
        assert re.search(rf"<details><summary>{re.escape(title)}</summary>", pages[0]), title


def test_files_beside_the_report_are_linked_where_they_are(tmp_path: Path) -> None:
    beside = ("results.json", "items.parquet")
    write_report(
        example_results(), grouped(example_outcomes()), example_items(), tmp_path, beside=beside
    )
    html = (tmp_path / "report.html").read_text("utf-8")
    markdown = (tmp_path / "report.md").read_text("utf-8")
    links = {attributes.get("href") for tag, attributes in Page(html).tags if tag == "a"}
    assert FILES | set(beside) <= links
    assert links.isdisjoint({"outcomes.parquet", "study.toml", "manifest.json"})
    assert all((tmp_path / name).is_file() for name in FILES)
    assert "[results.json](results.json)" in markdown
    assert "kept in items.parquet. Benchmarks" in markdown
    assert "same items and answers are in items.parquet, beside the report" in html


def test_hostile_text_is_text_in_html(hostile: tuple[str, str]) -> None:
    html, _ = hostile
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert sum(tag == "script" for tag, _ in page.tags) == 3, "the page's own, and two of data"
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert shown(HOSTILE) in page.text, "a name is shown whole, and no template of it is filled in"
    assert not set(SPELT) & set(html)
    titles = [value for _, attributes in page.tags if (value := attributes.get("title"))]
    assert any(shown(HOSTILE) in title for title in titles), "a quote ends no attribute"


def test_items_with_hostile_text_are_whole_in_the_page(hostile: tuple[str, str]) -> None:
    blocks = re.findall(r'data-benchmark="\w+">([A-Za-z0-9+/=]+)</script>', hostile[0])
    assert len(blocks) == 2
    for block in blocks:
        packed = json.loads(gzip.decompress(base64.b64decode(block)))
        texts = {text for prompts in packed["prompts"] for text in prompts}
        texts |= {text for answers in packed["texts"] for text in answers if text is not None}
        (text,) = texts
        assert text == (shown(HOSTILE) + LINES).replace("\ufffd", "\x00", 1).replace("\ufffd", "?")


def test_hostile_names_reach_every_new_place_as_text(hostile: tuple[str, str]) -> None:
    text = re.sub(r"\s+", " ", Page(hostile[0]).text)
    for said in (
        f"reward: {SCRIPT}",
        "scored above fine-tuned under its own reward model (+3.00 [2.90, 3.10])",
        f"The reward model of {SCRIPT}",
        f"Answers of {SCRIPT}",
        f"stopped early: {SCRIPT}",
        "Slope of reward over steps",
        "Differences in slope",
        "Alarms during steering",
    ):
        assert said in text, said


def test_hostile_text_is_text_in_markdown(hostile: tuple[str, str]) -> None:
    _, markdown = hostile
    assert "<script" not in markdown
    assert "<img" not in markdown
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    parts = [part for token in tokens for part in (token.children or [token])]
    kinds = {part.type for part in parts}
    assert not kinds & {"html_block", "code_inline", "image", "em_open", "fence"}
    assert {part.attrs["href"] for part in parts if part.type == "link_open"} == FILES
    assert {part.content for part in parts if part.type == "html_inline"} == {"<br>"}
    cells = [token.content for token in tokens if token.type == "inline"]
    rendered = Page(MarkdownIt("commonmark").enable("table").render(markdown)).text
    assert cells
    assert shown(HOSTILE) in rendered


@pytest.mark.parametrize(
    "text",
    [
        "# no head", "- no list", "1. no list", "+ x", "> no quote", "==", "a | b", "`c`",
        "_e_ *f*", "~~s~~", "<b>x</b>", "&amp;", "[a](b)", "\\", "www.evil.example",
        "    not code", "a@b.example",
    ],
)  # fmt: skip
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(escape(text))
    assert re.findall(r"<(\w+)", html) == ["p"]
    assert Page(html).text.strip() == text.strip()


def test_line_breaks_stay_in_one_cell() -> None:
    assert escape("a\n\nb|") == "a<br><br>b\\|"


@pytest.mark.parametrize(
    "empty",
    [
        "cards", "overlaps", "arms", "benchmarks", "comparisons", "samples", "times",
        "cross_rewards", "cross_accuracies", "slopes",
    ],
)  # fmt: skip
def test_an_incomplete_study_still_has_a_report(tmp_path: Path, empty: str) -> None:
    html, _ = _write(tmp_path, replace(example_results(), **{empty: ()}))  # type: ignore[arg-type]
    assert "The answer" in html


def test_a_study_without_curves_or_outcomes_has_a_report(tmp_path: Path) -> None:
    results = example_results()
    arms = tuple(replace(each, curve=()) for each in results.arms)
    write_report(replace(results, arms=arms), {}, {}, tmp_path)
    assert "Reward over steps" not in (tmp_path / "report.html").read_text("utf-8")


def test_results_of_before_lack_the_sections_that_they_have_nothing_for(tmp_path: Path) -> None:
    results = example_results()
    arms = tuple(
        replace(
            each,
            algorithm="ppo",
            step=0,
            stopped="",
            curve=tuple(replace(point, rewards={}, alarms=()) for point in each.curve),
        )
        for each in results.arms
    )
    older = replace(results, arms=arms, cross_rewards=(), cross_accuracies=(), slopes=())
    for text in _write(tmp_path, older):
        for absent in ("Reward under every", "Slope of", "Differences in slope", "Alarms during"):
            assert absent not in text
        assert "Reward over steps" in text
        assert "PPO step" in text


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_on_tinted_cells_has_contrast_in_every_scheme(pages: tuple[str, str]) -> None:
    style = pages[0].partition("<style>")[2].partition("</style>")[0]
    schemes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(schemes) == 3
    light, dark = ({**schemes[0], **each} for each in schemes[:2])
    names = [f"{side}{strength}" for side in ("above", "below") for strength in (1, 2, 3)]
    for scheme in (light, dark):
        for name in names:
            assert _contrast(scheme["ink"], scheme[name]) >= 4.5, name
        for name in ("ink", "soft", "link", "better", "worse", "s3"):
            # the numbers of the first screen, and definitions on their raised ground
            assert _contrast(scheme[name], scheme["paper"]) >= (3 if name == "s3" else 4.5), name
        assert _contrast(scheme["ink"], scheme["raised"]) >= 4.5
    assert {name: schemes[2][name] for name in names} == {name: light[name] for name in names}
    assert re.search(r":is\(\.above1[^)]*\.below3\) \.small \{ color: var\(--ink\); \}", style)
