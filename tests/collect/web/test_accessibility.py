"""axe-core finds nothing on any page, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ethosteer.collect.records import Answer
from tests.collect.web.example import PRACTICE, pair
from tests.collect.web.test_browser import CHROMIUM, QUIET, Collection, ready, visited

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium on the PATH"),
    pytest.mark.skipif(
        find_spec("axe_playwright_python") is None, reason="needs axe-playwright-python"
    ),
]
LONG = "It is her private diary, even on the table. Ask her what is on her mind.\n\n" * 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


def check(page: Page) -> None:
    """Run axe-core's rules, best practices included, on what is shown."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(browser: Browser, tmp_path: Path, width: int, scheme: str):
    pairs = [PRACTICE, pair(1, first=Answer("virtue", LONG), warning="Describes violence.")]
    for collection in visited(browser, tmp_path, pairs):
        annotators_pages(collection, width, scheme)
        owners_pages(collection, width, scheme)
        collection.errors.clear()


def annotators_pages(collection: Collection, width: int, scheme: str) -> None:
    page = collection.visitor(width, scheme)
    page.goto(f"{collection.origin}/")
    check(page)
    page.goto(f"{collection.origin}/join/{collection.store.invite()}")
    check(page)
    page.fill("#name", " ")
    page.evaluate("document.querySelector('#name').required = false")
    page.click("text=Begin")
    expect(page.locator(".problem")).to_be_visible()
    check(page)
    page.fill("#name", "Robin")
    page.click("text=Begin")
    expect(page.locator("h1")).to_have_text("Guidelines")
    check(page)
    page.click("#next")
    check(page)
    ready(page)
    page.keyboard.press("1")
    page.wait_for_selector("h1:has-text('Practice')")
    check(page)
    page.click("#next")
    expect(page.locator("h1")).to_have_text("Content warning")
    check(page)
    ready(page)
    page.click("text=Show the pair")
    expect(page.locator("h1")).to_have_text("Which answer is better?")
    ready(page)
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.locator("#flag summary").click()
    check(page)
    page.context.set_offline(True)
    page.locator(".scale button").nth(4).click()
    page.wait_for_selector("#trouble p")
    check(page)
    page.context.set_offline(False)
    expect(page.locator("h1")).to_have_text("All done")
    check(page)
    page.goto(f"{collection.origin}/pause")
    check(page)
    page.goto(f"{collection.origin}/nothing")
    check(page)


def owners_pages(collection: Collection, width: int, scheme: str) -> None:
    page = collection.owner(width=width, scheme=scheme)
    check(page)
    page.click("text=Make invitations")
    check(page)
    page.click("text=Back")
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("h1")).to_have_text("Delete Robin?")
    check(page)
