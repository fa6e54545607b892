"""The page in a browser, opened from disk: it sorts, filters and leads on, and nothing runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ethosteer.evaluation.outcomes import grouped
from ethosteer.published.counts import counts_path, read_counts
from ethosteer.published.document import write_counts_report
from ethosteer.records import Item, Outcome
from ethosteer.report import write_report
from ethosteer.results.study import Sample, SampleAnswer
from tests.report.example import example_items, example_outcomes, example_results, with_profile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
READY = "#item-browser .count:not(:empty)"
PLANTED = '<script>window.ran = 1</script><img src=x onerror="window.ran = 2">'

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium on the PATH")


@dataclass
class Watch:
    """What a page did that it should not have."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    write_report(example_results(), grouped(example_outcomes()), example_items(), folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 22 measures, the last of which alone was decided, besides the value profile."""
    folder = tmp_path_factory.mktemp("many")
    results = with_profile(example_results())
    names = [f"long name of a benchmark {index}" for index in range(12)]
    added = [replace(results.benchmarks[0], name=name, title=name) for name in names]
    compared = [pair for pair in results.comparisons if pair.benchmark == "ethics_virtue"]
    undecided = [
        pair
        if pair.benchmark.startswith("preferences:")
        else replace(pair, verdict="undecided" if pair.verdict != "equivalent" else pair.verdict)
        for pair in results.comparisons
    ]
    comparisons = [
        replace(pair, benchmark=name, verdict=pair.verdict if name == names[-1] else "undecided")
        for name in names
        for pair in compared
    ]
    write_report(
        replace(
            results,
            benchmarks=(*results.benchmarks, *added),
            comparisons=(*undecided, *comparisons),
        ),
        {}, {}, folder,
    )  # fmt: skip
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which a dataset's row, a model's answer and a sample try to run something."""
    folder = tmp_path_factory.mktemp("hostile")
    items: dict[str, list[Item]] = {
        name: [replace(item, contexts=(PLANTED,) * len(item.contexts)) for item in own]
        for name, own in example_items().items()
    }
    # free answers: what is expected comes from a file of the user's
    items["scruples_original"] = [
        replace(item, expected=(PLANTED, "42.0")) for item in items["scruples_original"]
    ]
    outcomes: list[Outcome] = [replace(each, text=PLANTED) for each in example_outcomes()]
    sample = Sample(PLANTED, (SampleAnswer("virtue", PLANTED, {"virtue": 1.0}),))
    write_report(replace(example_results(), samples=(sample,)), grouped(outcomes), items, folder)
    return folder / "report.html"


def open_page(
    browser: Browser,
    path: Path,
    width: int = 1280,
    scheme: str = "light",
    place: str = "",
    there: str = "figure svg",
    script: bool = True,
    height: int = 900,
) -> tuple[Page, Watch]:
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=script,
    )
    watch = Watch()
    page.on("console", lambda said: watch.errors.append(said.text))
    page.on("pageerror", lambda fault: watch.errors.append(str(fault)))
    page.on("request", lambda asked: watch.requests.append(asked.url))
    page.goto(f"{path.as_uri()}{place}")
    page.wait_for_selector(there)
    return page, watch


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_disk_without_a_request_an_error_or_a_sideways_scroll(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    page, watch = open_page(browser, report, width, scheme)
    assert watch.errors == []
    assert watch.requests == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_published_counts_open_too_and_nothing_in_them_runs(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    path = counts_path("published-2024")
    assert path is not None
    counts = read_counts(path)
    shares = tuple(each.model_copy(update={"title": PLANTED}) for each in counts.shares)
    write_counts_report(
        counts.model_copy(update={"shares": shares, "citation": PLANTED, "question": PLANTED}),
        tmp_path,
    )
    report = tmp_path / "report.html"
    page, watch = open_page(browser, report, width, scheme)
    assert watch.errors == []
    assert watch.requests == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("window.ran") is None
    assert page.locator("#answer").inner_text().count(PLANTED) >= 3
    page.close()


def test_items_are_filtered_by_benchmark_models_state_group_and_words(
    browser: Browser, report: Path
) -> None:
    page, watch = open_page(browser, report, place="#items", there=READY)
    count, items = page.locator("#item-browser .count"), page.locator("#item-browser ol > li")
    page.select_option("[name=benchmark]", label="Scruples (2024 protocol)")
    page.select_option("[name=a]", label="virtue, seed 1")
    page.select_option("[name=b]", label="fine-tuned")
    page.select_option("[name=state]", "all")
    assert count.inner_text() == "20 of 20 items: all items"
    assert items.count() == 10, "the rest is shown on demand"
    page.click("#item-browser .more")
    assert items.count() == 20
    page.select_option("[name=state]", "gain")
    assert count.inner_text() == "0 of 20 items: A right, B wrong", "both answered alike"
    # of items 0 to 19: labels are item % 2, every fifth has no answer, every third is answered 1
    page.select_option("[name=state]", "right")
    assert count.inner_text() == "7 of 20 items: both right"
    page.select_option("[name=slice]", label="odd")
    assert count.inner_text() == "2 of 20 items: both right"
    assert items.locator("strong").all_inner_texts() == ["i3", "i9"]
    page.fill("[name=search]", "statement 9")
    assert items.locator("strong").all_inner_texts() == ["i9"]
    assert "✓ right" in items.first.inner_text()
    page.fill("[name=search]", "nothing like it")
    assert count.inner_text() == "0 of 20 items: both right"
    assert watch.errors == []
    page.close()


def test_a_table_is_sorted_by_numbers_and_back_with_its_summary_at_the_end(
    browser: Browser, report: Path
) -> None:
    page, _ = open_page(browser, report)
    table = page.locator("#benchmarks table").first
    names = table.locator("tbody tr th .value")
    before = names.all_inner_texts()
    head = table.locator("thead th", has_text="WSC273")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    cells = table.locator("tbody tr td:nth-child(5) .value").all_inner_texts()
    values = [float(text) for text in cells if text.startswith("0.")]
    assert values == sorted(values)
    assert names.all_inner_texts()[0] == "utilitarianism"
    assert names.all_inner_texts()[-2:] == before[-2:] == ["constant answers", "items"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts()[0] == "base"
    page.close()


def test_a_verdict_leads_to_the_items_behind_it(browser: Browser, report: Path) -> None:
    page, watch = open_page(browser, report)
    page.locator('#benchmarks a.mark[href="#items=toxigen/harmless/fine-tuned"]').first.click()
    page.wait_for_selector(READY)
    chosen = [
        page.evaluate(f"document.querySelector('[name={name}]').selectedOptions[0].text")
        for name in ("benchmark", "a", "b")
    ]
    assert chosen == ["ToxiGen", "harmless, seed 0", "fine-tuned"]
    top = page.locator("#items").bounding_box()
    below = page.evaluate(
        "document.documentElement.scrollHeight - window.scrollY - window.innerHeight"
    )
    assert top is not None and (30 < top["y"] < 150 or below < 2), "as far up as the page goes"
    assert watch.errors == []
    page.close()
    place = "#items=scruples_original/virtue/base"
    page, _ = open_page(browser, report, place=place, there=READY)
    assert page.evaluate("document.querySelector('[name=b]').selectedOptions[0].text") == "base"
    page.close()


def test_nothing_that_a_model_or_a_dataset_wrote_runs(browser: Browser, hostile: Path) -> None:
    page, watch = open_page(browser, hostile, place="#items", there=READY)
    for name in ("toxigen", "scruples_original"):
        page.select_option("[name=benchmark]", name)
        page.wait_for_function("document.querySelector('#item-browser ol').children.length >= 0")
        page.select_option("[name=state]", "all")
        shown = page.locator("#item-browser ol > li").first.inner_text()
        if name == "toxigen":
            assert shown.count(PLANTED) == 3, "the item and both answers, as text"
    assert f"Expected: “{PLANTED}” or “42.0”" in shown
    assert shown.count(PLANTED) == 4
    assert "answer 0" not in shown and "answer 1" not in shown, "a grade is no answer"
    assert page.evaluate("window.ran") is None
    assert page.locator("img").count() == 0
    assert watch.errors == []
    assert watch.requests == [hostile.as_uri()]
    page.close()


def test_what_is_open_at_start_fits_on_ten_screens(browser: Browser, report: Path) -> None:
    page, _ = open_page(browser, report, height=800)
    assert page.evaluate("document.documentElement.scrollHeight") < 10 * 800
    page.close()


def test_of_many_measures_the_answer_and_the_figure_stand_on_the_first_screen(
    browser: Browser, many: Path
) -> None:
    page, _ = open_page(browser, many, height=800)
    figure = page.locator("figure.effects").bounding_box()
    aside = page.locator("aside").bounding_box()
    assert figure and aside
    right = figure["x"] + figure["width"]
    assert figure["y"] < 200
    for sentence in page.locator(".lead").all():
        box = sentence.bounding_box()
        assert box and box["x"] > right and box["y"] + box["height"] < 800
    assert aside["y"] < 800 and aside["x"] > right, "warnings begin beside it"
    rows = page.locator("figure.effects tbody tr:not(.group)")
    assert rows.count() == 22
    for row in rows.filter(has=page.locator(".better, .worse")).all():
        box = row.bounding_box()
        assert box and box["y"] + box["height"] < 800, "what was decided is seen first"
    page.close()
    page, _ = open_page(browser, many, width=390, height=844)
    first, below = (page.locator(kind).first.bounding_box() for kind in (".lead", "figure.effects"))
    assert first and below and first["y"] < below["y"]
    page.close()


@pytest.mark.parametrize("script", [True, False])
def test_a_link_opens_the_folded_section_that_it_leads_to(
    browser: Browser, report: Path, script: bool
) -> None:
    page, watch = open_page(browser, report, script=script)
    table = page.get_by_text("Sources of the preference data")
    assert not table.is_visible()
    page.click("nav a[href='#data']")
    table.wait_for(state="visible")
    navigation = page.locator("nav").bounding_box()
    assert navigation is not None and navigation["y"] == 0, "the navigation stays"
    assert watch.errors == []
    page.close()
    page, _ = open_page(browser, report, place="#data", script=script)
    assert page.get_by_text("Sources of the preference data").is_visible()
    page.close()


def test_the_items_open_on_the_largest_finding_and_are_unpacked_only_then(
    browser: Browser, report: Path
) -> None:
    page, watch = open_page(browser, report)
    assert page.locator("#item-browser .count").text_content() == ""
    page.click("summary:has-text('Item by item')")
    page.wait_for_selector(READY)
    chosen = [
        page.evaluate(f"document.querySelector('[name={name}]').selectedOptions[0].text")
        for name in ("benchmark", "a", "b")
    ]
    # of the two benchmarks with items ToxiGen has constant answers; on Scruples virtue gained most
    assert chosen == ["Scruples (2024 protocol)", "virtue, seed 0", "fine-tuned"]
    assert watch.errors == []
    page.close()


def test_a_term_explains_itself_on_focus_and_on_hover(browser: Browser, report: Path) -> None:
    page, watch = open_page(browser, report)
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator("figcaption .term", has_text="arm").hover()
    assert tip.inner_text().startswith("One preference dataset")
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    page.locator("figcaption .term", has_text="control").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert tip.inner_text().startswith("The model that arms are compared with")
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    # a head that sorts takes the focus itself
    page.locator("#steering th button", has_text="seed").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert tip.inner_text().startswith("The number that fixes")
    box = tip.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 1280
    assert watch.errors == []
    page.close()


def test_a_table_that_goes_on_says_so_at_390_pixels(browser: Browser, report: Path) -> None:
    page, _ = open_page(browser, report, width=390)
    frames = page.locator(".scroll:visible")
    assert frames.count() >= 3
    cut = "frame => frame.firstElementChild.scrollWidth > frame.firstElementChild.clientWidth + 2"
    for frame in frames.all():
        assert frame.evaluate(cut) == frame.evaluate("f => f.classList.contains('goes-right')")
    frame = page.locator("#benchmarks .scroll").first
    shown = frame.evaluate("frame => getComputedStyle(frame, '::after').display")
    assert shown == "flex"
    frame.evaluate("frame => frame.firstElementChild.scrollTo(99999, 0)")
    expect(frame).not_to_have_class(re.compile("goes-right"))
    head = frame.locator("tbody th").first.bounding_box()
    assert head is not None and 0 <= head["x"] < 30, "the first column stays"
    page.close()
