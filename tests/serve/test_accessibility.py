"""The pages for those who see little, hear them read, or have no pointer: by axe-core, in Chromium."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serve.browser import MISSING, look, serve
from tests.serve.large import commit, make_root_of
from tests.serve.support import open_one

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.timeout(180)]
pytest.importorskip("axe_playwright_python")

# Whatever has a shape of its own; pages are told apart by what they show, not by their address.
PAGES = (
    *("/", "/?order=changed", "/?q=type%3Dmodel", "/?q=%28", "/c/animals", "/runs", "/runs/train", "/nothing"),
    *("/v/animals:v0", "/v/animals:v0/images?view=grid", "/v/animals:@staging", "/diff/animals:v0/animals:v1"),
    *(f"/v/animals:v1/{name}" for name in ("README.md", "rows.csv", "moved.py", "raw.bin", "sound.wav", "array.npy")),
    *("/v/animals:v1/images/cat.png", "/lineage/model:v0", "/history", "/history/animals", "/machine"),
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def find_violations(page: Page) -> list[tuple[str, str]]:
    """Return the rules of axe-core that a page breaks, each with where."""
    script = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    session = page.context.new_cdp_session(page)
    session.send("Page.setBypassCSP", {"enabled": True})
    page.evaluate(f"{script}; undefined")
    found: Any = page.evaluate("(rules) => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })", RULES)
    return [(each["id"], node["html"][:200]) for each in found["violations"] for node in each["nodes"]]


@pytest.mark.parametrize("way", ["light", "dark", "narrow"])
def test_no_page_breaks_a_rule(browser: Browser, address: str, way: str) -> None:
    found = {}
    with look(browser, address, dark=way == "dark", narrow=way == "narrow") as seen:
        for path in PAGES:
            page = seen.open(path)
            expect(page.locator("main")).not_to_contain_text("measuring")
            page.wait_for_load_state("networkidle")
            found[path] = find_violations(page)
    assert {path: each for path, each in found.items() if each} == {}


def test_a_page_that_was_gone_to_is_begun_at_its_heading(browser: Browser, address: str) -> None:
    with look(browser, address) as seen:
        page = seen.open("/")
        page.keyboard.press("Tab")
        expect(page.locator("a.skip")).to_be_focused()  # at first, what is at the top
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.get_by_role("link", name="Runs", exact=True).press("Enter")
        expect(page.locator("h1")).to_be_focused()
        expect(page.locator("#top nav a[aria-current=page]")).to_have_text("Runs")
        page.keyboard.press("g")
        page.keyboard.press("h")
        expect(page.locator("h1")).to_have_text("History")
        expect(page.locator("h1")).to_be_focused()
        page.goto(f"{seen.address}/c/nobody")
        expect(page.locator("h1")).to_have_text("This cannot be shown")


def test_a_page_begins_at_its_top_and_is_come_back_to_where_it_was_left(browser: Browser, tmp_path: Path) -> None:
    with open_one(tmp_path) as repository:
        root = make_root_of(repository, 1)
        for number in range(120):
            commit(repository, f"c-{number:03}", root)
    with serve(tmp_path) as url, look(browser, url) as seen:
        page = seen.open("/")
        page.get_by_role("link", name="next").click()
        expect(page.locator("tr.link")).to_have_count(20)
        assert page.evaluate("scrollY") == 0
        page.get_by_role("link", name="previous").click()
        expect(page.locator("tr.link")).to_have_count(100)
        page.locator("a", has_text="c-090").click()
        expect(page.locator("h1")).to_contain_text("c-090")
        assert page.evaluate("scrollY") == 0
        page.go_back()
        expect(page.locator("tr.link")).to_have_count(100)
        expect(page.locator("a", has_text="c-090")).to_be_in_viewport()
        left = page.evaluate("scrollY")
        assert left > 500
        page.reload()
        expect(page.locator("a", has_text="c-090")).to_be_in_viewport()
        seen.check()
