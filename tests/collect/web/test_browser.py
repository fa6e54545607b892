"""The pages in a browser: mouse, keyboard and telephone, with and without script and connection."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ethosteer.collect.records import Answer, Pair
from ethosteer.collect.store import Store
from tests.collect.web.example import PLANTED, PRACTICE, REVERSED, new_store, pair, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
LONG = "It is her private diary, even on the table. Ask her what is on her mind instead.\n\n" * 12

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium on the PATH")


@dataclass
class Collection:
    """A collection that is served, and the browser that visits it."""

    store: Store
    origin: str
    browser: Browser
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def visitor(self, width: int = 1280, scheme: str = "light", script: bool = True) -> Page:
        """A page of somebody who was not here before."""
        height = 844 if width < 500 else 800
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=script,
            has_touch=width < 500,
            reduced_motion="reduce",
        )
        context.set_default_timeout(15_000)
        self.contexts.append(context)
        return self.watched(context.new_page())

    def watched(self, page: Page) -> Page:
        """Note what a page complains of and what it asks for."""
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda fault: self.errors.append(str(fault)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def joined(self, name: str = "Robin", **options: object) -> Page:
        """A page of a new annotator, on the first pair."""
        page = self.visitor(**options)  # type: ignore[arg-type]
        page.goto(f"{self.origin}/join/{self.store.invite()}")
        page.fill("#name", name)
        page.click("text=Begin")
        page.click("#next")
        ready(page)
        return page

    def owner(self, **options: object) -> Page:
        """A page of the owner."""
        page = self.visitor(**options)  # type: ignore[arg-type]
        page.goto(f"{self.origin}/owner/open/{self.store.new_owner_token()}")
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


def visited(browser: Browser, folder: Path, pairs: list[Pair]) -> Iterator[Collection]:
    store = new_store(folder, pairs)
    with served(store) as origin:
        collection = Collection(store, origin, browser)
        yield collection
        for context in collection.contexts:
            context.close()
    assert collection.errors == []
    assert all(request.startswith(origin) for request in collection.requests)


@pytest.fixture
def collection(browser: Browser, tmp_path: Path) -> Iterator[Collection]:
    """A collection of twenty short pairs."""
    yield from visited(browser, tmp_path, [pair(index) for index in range(20)])


def ready(page: Page) -> None:
    """Wait until a new page takes a choice: not at once, which may be a double click."""
    page.wait_for_selector("#judgement, #next, form, h1")
    page.wait_for_timeout(450)


def shown(page: Page) -> str:
    """The id of the assignment that a page shows."""
    return page.locator("#judgement [name=assignment]").input_value()


def judge(page: Page, key: int, mouse: bool = True) -> None:
    """Choose a step of the scale, and wait for the next page."""
    before = shown(page)
    if mouse:
        page.locator(".scale button").nth(key - 1).click()
    else:
        page.keyboard.press(str(key))
    expect(page.locator(f'[name=assignment][value="{before}"]')).to_have_count(0)
    ready(page)


def first_is_a(page: Page) -> bool:
    return "private diary" in page.locator("article").first.inner_text()


def test_three_annotators_judge_by_mouse_by_keyboard_and_on_a_telephone(collection: Collection):
    people = {
        "Robin": (collection.joined("Robin"), True),
        "Kim": (collection.joined("Kim"), False),
        "Sam": (collection.joined("Sam", width=390), True),
    }
    expected: dict[str, list[int]] = {}
    for turn in range(4):
        for name, (page, mouse) in people.items():
            key = 1 + (turn + len(name)) % 5
            value = 3 - key if first_is_a(page) else key - 3
            judge(page, key, mouse)
            expect(page.locator("#state")).to_have_text("Saved")
            expected.setdefault(name, []).append(value)
    names = {annotator.id: annotator.name for annotator in collection.store.annotators()}
    stored: dict[str, list[int | None]] = {}
    for judgement in collection.store.judgements():
        stored.setdefault(names[judgement.annotator], []).append(judgement.preference)
        assert 0.4 < judgement.seconds < 60
    assert stored == expected


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_scale_is_within_reach_and_nothing_scrolls_sideways(
    browser: Browser, tmp_path: Path, width: int, scheme: str
):
    long = pair(1, first=Answer("virtue", LONG), second=Answer("base", LONG + "w" * 400))
    for collection in visited(browser, tmp_path, [long]):
        page = collection.joined(width=width, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
        boxes = [button.bounding_box() for button in page.locator(".scale button").all()]
        height = page.viewport_size["height"] if page.viewport_size else 0
        assert len(boxes) == 5
        for box in boxes:
            assert box and box["y"] > height / 2 and box["y"] + box["height"] <= height
            assert box["height"] >= 44 and box["width"] >= 44
        left, right = (article.bounding_box() for article in page.locator("article").all())
        assert left and right
        assert (left["x"] == right["x"]) == (width == 390), "stacked on a telephone"


def test_keys_flag_undo_and_show_help_and_may_be_switched_off(collection: Collection):
    page = collection.joined()
    page.keyboard.press("?")
    expect(page.locator("#keys dl")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#keys dl")).to_be_hidden()
    page.keyboard.press("f")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("1 of them is not 5 words, unfortunately?")
    assert collection.store.judgements() == [], "keys in a text are text"
    page.keyboard.press("Escape")
    expect(page.locator("#reason")).to_be_hidden()
    before = shown(page)
    page.keyboard.press("Control+1")
    page.keyboard.press("f")
    page.click("text=Flag it and skip")
    expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    (judgement,) = collection.store.judgements()
    assert judgement.flagged and judgement.preference is None
    assert judgement.reason == "1 of them is not 5 words, unfortunately?"
    ready(page)
    page.keyboard.press("u")
    expect(page.locator("#state")).to_have_text("Undone")
    assert collection.store.judgements() == []
    ready(page)
    page.keyboard.press("?")
    page.uncheck("#use-keys")
    page.locator("h1").focus()
    page.keyboard.press("1")
    page.reload()
    ready(page)
    page.keyboard.press("1")
    page.wait_for_timeout(200)
    assert collection.store.judgements() == []


def test_a_double_click_judges_one_pair(collection: Collection):
    page = collection.joined()
    before = shown(page)
    page.locator(".scale button").nth(1).dblclick(delay=20)
    page.locator(".scale button").nth(1).click(click_count=3, delay=20)
    page.keyboard.press("4")
    expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    ready(page)
    assert [judgement.assignment for judgement in collection.store.judgements()] == [before]


def test_a_lost_connection_loses_nothing(collection: Collection):
    page = collection.joined()
    before = shown(page)
    page.context.set_offline(True)
    page.keyboard.press("2")
    expect(page.locator("#trouble")).to_contain_text("No connection to the server.")
    expect(page.locator("#trouble")).to_contain_text("“A is slightly better” is kept")
    expect(page.locator("#state")).to_have_text("Not saved yet")
    expect(page.locator(".scale .chosen")).to_contain_text("slightly")
    page.keyboard.press("5")
    expect(page.locator(".scale .chosen")).to_have_count(1)
    assert collection.store.judgements() == []
    page.context.set_offline(False)
    expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    expect(page.locator("#trouble")).to_be_empty()
    (judgement,) = collection.store.judgements()
    assert abs(judgement.preference or 0) == 1
    assert all("ERR_INTERNET_DISCONNECTED" in error for error in collection.errors)
    collection.errors.clear()


def test_a_judgement_that_was_not_saved_outlives_a_closed_tab(collection: Collection):
    page = collection.joined()
    before, is_first = shown(page), first_is_a(page)
    page.route("**/judge", lambda route: route.abort())
    page.keyboard.press("5")
    expect(page.locator("#trouble")).to_contain_text("No connection")
    tab = collection.watched(page.context.new_page())
    page.close()
    tab.goto(f"{collection.origin}/judge")
    expect(tab.locator(f'[value="{before}"]')).to_have_count(0)
    (judgement,) = collection.store.judgements()
    assert (judgement.assignment, judgement.preference) == (before, -2 if is_first else 2)
    collection.errors.clear()


def test_an_answer_that_was_lost_is_no_second_judgement(collection: Collection):
    page = collection.joined()
    before = shown(page)
    lost = iter([True])

    def lose_once(route):  # the server stores it, and its answer does not arrive
        if route.request.method == "POST" and next(lost, False):
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    page.route("**/judge", lose_once)
    page.keyboard.press("1")
    expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    assert [judgement.assignment for judgement in collection.store.judgements()] == [before]
    expect(page.locator("main")).not_to_contain_text("already")
    collection.errors.clear()


def test_a_server_that_fails_is_asked_again(collection: Collection):
    page = collection.joined()
    before = shown(page)
    answers = iter([503, 502, 429])

    def fail(route):
        if route.request.method == "POST" and (status := next(answers, None)):
            route.fulfill(status=status, headers={"Retry-After": "3600"}, body="no")
        else:
            route.continue_()

    page.route("**/judge", fail)
    # the first two messages last for a second or two, which a busy machine may not look at in time
    page.evaluate("""() => {
        window.messages = [];
        const trouble = document.querySelector("#trouble");
        new MutationObserver(() => window.messages.push(trouble.textContent))
            .observe(trouble, { childList: true });
    }""")
    page.keyboard.press("1")
    expect(page.locator("#trouble")).to_contain_text("asks for a pause", timeout=60_000)
    messages = " ".join(page.evaluate("window.messages"))
    assert "could not answer (503)" in messages
    assert "could not answer (502)" in messages
    page.click("text=Try now")
    expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    assert len(collection.store.judgements()) == 1
    collection.errors.clear()


def test_two_tabs_show_one_pair_which_counts_once(collection: Collection):
    page = collection.joined()
    tab = collection.watched(page.context.new_page())
    tab.goto(f"{collection.origin}/judge")
    ready(tab)
    before = shown(page)
    assert shown(tab) == before
    judge(page, 1)
    judge(tab, 5)
    expect(tab.locator(".notice")).to_contain_text("You had judged that pair already")
    assert shown(tab) == shown(page)
    assert [judgement.assignment for judgement in collection.store.judgements()] == [before]


def test_it_works_without_script(collection: Collection):
    page = collection.joined(script=False)
    for index in (0, 4):
        before = shown(page)
        page.wait_for_timeout(450)
        page.locator(".scale button").nth(index).click()
        expect(page.locator(f'[value="{before}"]')).to_have_count(0)
    page.click("text=Undo the last judgement")
    expect(page.locator(".notice")).to_contain_text("undone")
    assert len(collection.store.judgements()) == 1
    assert not page.locator("#use-keys").is_visible(), "there are no keys without script"


def test_practice_warning_and_the_end_by_keyboard_alone(browser: Browser, tmp_path: Path):
    pairs = [PRACTICE, pair(1, warning="Describes violence.")]
    for collection in visited(browser, tmp_path, pairs):
        page = collection.joined(width=390)
        page.keyboard.press("3")
        expect(page.locator("h1")).to_contain_text("Practice: differs")
        expect(page.locator("#next")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Content warning")
        expect(page.locator("main")).not_to_contain_text("flatmate")
        ready(page)
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Show the pair":
                break
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Which answer is better?")
        expect(page.locator("h1")).to_be_focused()
        ready(page)
        page.keyboard.press("3")
        expect(page.locator("h1")).to_have_text("All done")
        assert len(collection.store.judgements()) == 2


def test_nothing_that_somebody_wrote_runs_or_turns_the_page_around(
    browser: Browser, tmp_path: Path
):
    text = f"{PLANTED} {REVERSED}"
    hostile = pair(
        1, prompt=(("human", text),), first=Answer("virtue", text), second=Answer("base", text)
    )
    for collection in visited(browser, tmp_path, [hostile]):
        page = collection.joined(PLANTED)
        assert page.locator("main").inner_text().count(PLANTED) == 3
        widths = [
            page.locator(selector).first.bounding_box()
            for selector in ("article h2", "header nav", ".scale")
        ]
        assert all(widths)
        page.keyboard.press("f")
        page.fill("#reason", PLANTED)
        page.click("text=Flag it and skip")
        expect(page.locator("h1")).to_have_text("All done")
        owner = collection.owner()
        expect(owner.locator("#live")).to_contain_text("<script>")
        for view in (page, owner):
            assert view.evaluate("window.ran") is None
            assert view.locator("img").count() == 0


def test_the_owner_copies_links_and_sees_what_annotators_do(collection: Collection):
    owner = collection.owner()
    owner.fill("#count", "2")
    owner.fill("#note", "second floor")
    owner.click("text=Make invitations")
    expect(owner.locator("h1")).to_have_text("2 new invitations")
    links = [link.input_value() for link in owner.locator(".links input").all()]
    owner.context.grant_permissions(["clipboard-read", "clipboard-write"])
    owner.locator("text=Copy").nth(2).click()
    expect(owner.locator("#state")).to_have_text("Copied")
    assert owner.evaluate("navigator.clipboard.readText()") == links[1]
    owner.click("text=Back")
    expect(owner.locator("main")).to_contain_text("Nobody has joined yet")
    page = collection.visitor()
    page.goto(links[0])
    page.fill("#name", "Kim")
    page.click("text=Begin")
    expect(owner.locator("#live")).to_contain_text("Kim", timeout=15_000)
    owner.get_by_role("link", name="Delete").click()
    owner.check("text=are removed too")
    owner.click("button:has-text('Delete')")
    expect(owner.locator("#live")).not_to_contain_text("Kim")
    assert re.search(r"second floor", owner.locator("main").inner_text())
