"""The pages in a real Chromium: each is shown, works, and lets nothing run that is not its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Route, expect

from artifactfs.paths import parse_ref
from artifactfs.repository.staging import StagingArea
from artifactfs.staging.marks import make_whiteout
from tests.serve.browser import MISSING, Look, look, serve, until
from tests.serve.large import commit, make_root_of
from tests.serve.support import HOSTILE_NAMES, Client, fill, make_image, open_client, open_one, put

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.timeout(180)]

SHOWN = {
    "catalogue": ("/", "Catalogue"),
    "found": ("/?q=type%3Dmodel", "model:v0"),
    "collection": ("/c/animals", "second"),
    "version": ("/v/animals:v1", "Animals"),
    "image": ("/v/animals:v1/images/cat.png", "here"),
    "code": ("/v/animals:v1/moved.py", "def"),
    "markdown": ("/v/animals:v1/README.md", "notes"),
    "parquet": ("/v/animals:v1/rows.parquet", "2 rows, 2 columns"),
    "csv": ("/v/animals:v1/rows.csv", "boolean"),
    "json-lines": ("/v/animals:v1/rows.jsonl", "2 rows, 3 columns"),
    "numpy": ("/v/animals:v1/array.npy", "3 \u00d7 5"),
    "numpy-archive": ("/v/animals:v1/arrays.npz", "2 arrays, 8 values"),
    "safetensors": ("/v/model:v0/weights.safetensors", "2 \u00d7 3"),
    "binary": ("/v/animals:v1/raw.bin", "000000  00 01 02"),
    "link": ("/v/animals:v1/link", "A symbolic link to notes.txt"),
    "grid": ("/v/animals:v0/images?view=grid", "dog.png"),
    "diff": ("/diff/animals:v0/animals:v1", "code.py → moved.py"),
    "lineage": ("/lineage/model:v0", "3 nodes"),
    "history": ("/history/animals", "committed v1"),
    "growth": ("/history", "all versions together"),
    "runs": ("/runs", "oops"),
    "run": ("/runs/train", "animals:v0"),
    "machine": ("/machine", "animals:@staging"),
    "staging": ("/v/animals:@staging", "staging directory"),
}


@pytest.fixture
def seen(browser: Browser, address: str) -> Iterator[Look]:
    with look(browser, address) as found:
        yield found
        found.check()


@pytest.mark.parametrize("name", SHOWN)
def test_each_page_is_shown(seen: Look, name: str) -> None:
    path, text = SHOWN[name]
    seen.open(path)
    expect(seen.page.locator("main")).to_contain_text(text)
    expect(seen.page.locator(".loading")).to_have_count(0)
    seen.shoot(name)


@pytest.mark.parametrize("name", ["catalogue", "version", "code", "diff", "lineage", "history", "machine"])
@pytest.mark.parametrize("way", ["dark", "narrow"])
def test_pages_in_the_dark_and_in_a_narrow_window(browser: Browser, address: str, name: str, way: str) -> None:
    with look(browser, address, dark=way == "dark", narrow=way == "narrow") as seen:
        path, text = SHOWN[name]
        seen.open(path)
        expect(seen.page.locator("main")).to_contain_text(text)
        wide = seen.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        colour = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        seen.shoot(f"{name}-{way}")
        seen.check()
    assert not wide
    assert colour == ("rgb(13, 17, 23)" if way == "dark" else "rgb(255, 255, 255)")


def test_the_catalogue_is_there_before_any_script_and_the_same_afterwards(browser: Browser, address: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        rows = without_ages("\n".join(page.locator("tr.link").all_text_contents()))
        expect(page.locator("tr.link", has_text="animals")).to_contain_text("best")
    with look(browser, address) as seen:
        page = seen.open("/")
        until(page, "document.querySelector('time').title")
        first = without_ages(page.locator("main > .page").inner_html())
        assert without_ages("\n".join(page.locator("tr.link").all_text_contents())) == rows
        page.get_by_role("link", name="Runs").click()
        expect(page.locator("h1").first).to_have_text("Runs")
        page.go_back()
        expect(page.locator("h1").first).to_have_text("Catalogue")
        assert without_ages(page.locator("main > .page").inner_html()) == first
        page.get_by_role("link", name="last changed first").click()
        page.wait_for_url(f"{seen.address}/?order=changed")
        expect(page.locator("h2")).to_have_count(1)
        expect(page.locator("h2")).to_have_text("last changed first")
        seen.check()
    assert len(rows.splitlines()) == 3


def without_ages(text: str) -> str:
    """Return text without what changes by the second, and the mark of a heading that has the focus."""
    return re.sub(r"now|\d+ (?:second|minute)s? ago", "-", text).replace('<h1 tabindex="-1">', "<h1>")


@pytest.mark.parametrize(
    "name", ["catalogue", "collection", "version", "csv", "grid", "diff", "lineage", "history", "runs", "run"]
)
def test_everything_is_reached_by_tab_and_the_focus_is_seen(seen: Look, name: str) -> None:
    page = seen.open(SHOWN[name][0])
    expect(page.locator("main")).to_contain_text(SHOWN[name][1])
    page.wait_for_load_state("networkidle")
    total = page.evaluate("""() => {
      const all = "a[href], button, input, select, textarea, summary, tr.link, audio, video, [tabindex='0']";
      const found = [...document.querySelectorAll(all)].filter((one) => one.checkVisibility() && !one.disabled);
      found.forEach((one, number) => { one.dataset.number = number; });
      document.activeElement.blur();
      return found.length;
    }""")
    reached, unseen = set(), set()
    for _ in range(2 * total + 10):
        page.keyboard.press("Tab")
        number, is_seen = page.evaluate("""() => {
          const one = document.activeElement, style = getComputedStyle(one);
          const inner = one.shadowRoot?.activeElement?.querySelector("rect");  // of the lineage
          const isSeen = inner ? getComputedStyle(inner).strokeWidth === "4px" : style.outlineStyle !== "none";
          return [one.dataset.number ?? null, isSeen];
        }""")
        reached.add(number)
        if number is not None and not is_seen:
            unseen.add(number)
    missing = {str(number) for number in range(total)} - reached
    assert {page.locator(f"[data-number='{number}']").evaluate("(one) => one.outerHTML") for number in missing} == set()
    assert {page.locator(f"[data-number='{number}']").evaluate("(one) => one.outerHTML") for number in unseen} == set()


def test_the_chart_can_be_read_in_a_narrow_window(browser: Browser, address: str) -> None:
    with look(browser, address, narrow=True) as seen:
        page = seen.open("/history")
        height = page.locator(".chart text").first.evaluate("(one) => one.getBoundingClientRect().height")
        assert height > 8
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.locator(".chart").evaluate("(one) => { one.scrollLeft = 1000; }")
        expect(page.locator(".chart text").last).to_be_in_viewport()
        seen.check()


def test_what_was_asked_for_ahead_is_not_asked_for_again(seen: Look) -> None:
    for address in ("/", SHOWN["image"][0], SHOWN["lineage"][0], SHOWN["machine"][0]):
        page = seen.open(address)
        names = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        again = {name for name in names if names.count(name) > 1 and not name.endswith("icon.svg")}
        looked_at = {f"{seen.address}/api/mounts", f"{seen.address}/api/cache"}  # every two seconds
        assert again <= looked_at, address
        is_drawn = address in ("/", SHOWN["lineage"][0])
        assert sum("/api/server" in name for name in names) == (0 if is_drawn else 1)


def test_images_sound_and_code_are_really_there(seen: Look) -> None:
    page = seen.open(SHOWN["image"][0])
    expect(page.locator("img.shown")).to_be_visible()
    until(page, "document.querySelector('img.shown').naturalWidth === 64")
    page = seen.open("/v/animals:v1/sound.wav")
    until(page, "document.querySelector('audio').readyState > 0")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(1, abs=0.01)
    page = seen.open(SHOWN["code"][0])
    assert page.locator(".t-k").first.text_content() == "def"
    page = seen.open(SHOWN["grid"][0])
    until(page, "[...document.querySelectorAll('.cell img')].filter((one) => one.naturalWidth === 64).length === 2")


def test_the_tree_opens_in_place_and_by_keys(seen: Look) -> None:
    page = seen.open("/v/animals:v0")
    page.locator(".row", has_text="images").click()
    expect(page.locator(".row", has_text="dog.png")).to_be_visible()
    page.locator(".row", has_text="dog.png").click()
    expect(page.locator(".side h2:not(.minor)")).to_have_text("dog.png")
    assert page.url.endswith("/v/animals:v0/images/dog.png")
    page.reload()
    expect(page.locator(".row.selected")).to_contain_text("dog.png")
    page = seen.open("/v/animals:v0")
    page.locator(".virtual").focus()
    for key in ("j", "j", "k", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".side h2:not(.minor)")).to_have_text("array.npy")


def test_the_keyboard_leads_through_the_catalogue(seen: Look) -> None:
    page = seen.open("/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1").first).to_contain_text("animals")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.locator("h1").first).to_have_text("Runs")
    page.keyboard.press("/")
    page.keyboard.type("name=model")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("model:v0")
    page.locator("h1").first.click()
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("this machine")


def test_the_grid_is_walked_through_by_keys(browser: Browser, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(40):
        make_image(source / f"image-{number:02}.png", (number * 6, 30, 40), 16)
    with open_one(tmp_path) as repository:
        put(repository, "images", source)
    with serve(tmp_path) as url, look(browser, url) as seen:
        page = seen.open("/v/images:v0?view=grid")
        expect(page.locator(".virtual")).to_be_focused()
        current = page.locator(".cell.current")
        columns = page.locator(".cells").first.locator(".cell").count()
        assert columns > 1
        last = (39 // columns) * columns
        for keys, number in (
            ("ArrowRight", 1),
            ("ArrowDown", 1 + columns),
            ("ArrowLeft", columns),
            ("ArrowUp", 0),
            ("ArrowUp", 0),
            ("End", 39),
            ("Home", 0),
            ("PageDown PageDown PageDown PageDown PageDown", last),
            ("ArrowRight", min(last + 1, 39)),
        ):
            for key in keys.split():
                page.keyboard.press(key)
            expect(current).to_have_text(f"image-{number:02}.png")
            expect(current).to_be_in_viewport()
            named = page.locator(".virtual").get_attribute("aria-activedescendant")
            assert current.get_attribute("id") == named
        assert "rgb" in current.evaluate("(one) => getComputedStyle(one).boxShadow")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator(".side h2:not(.minor)")).to_have_text("image-01.png")
        page.reload()
        expect(current).to_have_text("image-01.png")
        expect(page.locator(".cell[aria-selected=true]")).to_have_text("image-01.png")
        seen.shoot("grid-by-keys")
        seen.check()


def test_differences_side_by_side_and_by_line(seen: Look) -> None:
    page = seen.open("/diff/animals:v0/animals:v1")
    expect(page.locator(".pair img")).to_have_count(2)
    page.locator(".row", has_text="notes.txt").click()
    expect(page.locator(".line.added")).to_have_text("+three\n")
    page.locator(".chip", has_text="renamed").click()
    expect(page.locator(".row")).to_have_count(1)


def test_the_lineage_is_moved_zoomed_and_followed(seen: Look) -> None:
    page = seen.open("/lineage/model:v0")
    box = "document.querySelector('.graph').shadowRoot.querySelector('svg').getAttribute('viewBox')"
    first = page.evaluate(box)
    page.locator(".graph").focus()
    page.keyboard.press("+")
    nearer = page.evaluate(box)
    page.mouse.move(640, 600)
    page.mouse.down()
    page.mouse.move(700, 620)
    page.mouse.up()
    moved = page.evaluate(box)
    page.mouse.wheel(0, 300)
    assert len({first, nearer, moved, page.evaluate(box)}) == 4
    page.keyboard.press("0")
    fill_of = "getComputedStyle(document.querySelector('.graph').shadowRoot.querySelector('rect')).fill"
    assert page.evaluate(fill_of) in ("rgb(221, 244, 255)", "rgb(255, 248, 197)")
    page.locator(".graph g[data-node='animals:v0']").click()
    expect(page.locator("h1").first).to_have_text("animals:v0 raw")


def copy_table(seen: Look, path: str) -> str:
    """Open a page, copy its table, and return what the clipboard has."""
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = seen.open(path)
    page.get_by_role("button", name="copy table").click()
    expect(page.locator("#status")).to_contain_text("table copied")
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_tables_are_copied_and_times_say_when_exactly(seen: Look) -> None:
    text = copy_table(seen, "/c/animals")
    assert text.splitlines()[1].split("\t")[:3] == ["v2", "latest", "third"]
    assert "T" in str(seen.page.locator("time").first.get_attribute("title")).splitlines()[1]


def test_numbers_are_copied_as_numbers(seen: Look) -> None:
    for path, name in (("/?order=name", "animals"), ("/c/animals", "v2")):
        expected = seen.page.request.get(f"{seen.address}/api/collections/animals").json()
        rows = [line.split("\t") for line in copy_table(seen, path).splitlines()]
        found = dict(zip(rows[0], next(row for row in rows if row[0] == name), strict=True))
        assert (found["files"], found["size"]) == (str(expected["files"]), str(expected["size"]))
        assert expected["size"] > 1024
    assert seen.page.locator("tr", has_text="v2").locator(".bytes").text_content() == "17.9 KiB"


def test_a_previewed_table_is_copied_with_its_head(seen: Look) -> None:
    assert copy_table(seen, "/v/animals:v0/rows.csv") == "name\tage\tgood\ncat\t3\ttrue\ndog\t4.5\tfalse"


def test_a_preview_that_comes_late_is_not_shown(seen: Look) -> None:
    page = seen.open("/v/animals:v0")
    waiting: list[Route] = []
    page.route("**/api/preview?*path=notes.txt", lambda route: waiting.append(route))  # noqa: PLW0108
    page.locator(".row", has_text="notes.txt").click()
    page.locator(".row", has_text="code.py").click()
    expect(page.locator(".side h2:not(.minor)")).to_have_text("code.py")
    with page.expect_response("**/api/preview?*path=notes.txt"):
        waiting[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator(".side h2:not(.minor)")).to_have_text("code.py")


def test_the_way_up_by_keys(seen: Look) -> None:
    page = seen.open("/v/animals:v0")
    page.locator(".row", has_text="images").click()
    page.locator(".row", has_text="dog.png").click()
    expect(page.locator(".side h2:not(.minor)")).to_have_text("dog.png")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".row.current")).to_contain_text("images")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".row", has_text="dog.png")).to_have_count(0)
    page = seen.open("/v/animals:v0/images/dog.png?view=grid")
    for key, address in (("h", "/v/animals:v0/images?view=grid"), ("Backspace", "/v/animals:v0?view=grid")):
        page.keyboard.press(key)
        page.wait_for_url(seen.address + address)
        page.wait_for_selector("main:not([aria-busy])")
    page.keyboard.press("h")
    page.wait_for_url(f"{seen.address}/c/animals")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("to the directory that it is in")


def test_the_search_box_has_the_query_of_the_address(seen: Look) -> None:
    page = seen.open("/?q=type%3Dmodel")
    box = page.locator("#search")
    expect(box).to_have_value("type=model")
    box.fill("name=animals")
    box.press("Enter")
    expect(page.locator("main")).to_contain_text("animals:v0")
    page.go_back()
    expect(box).to_have_value("type=model")
    page.get_by_role("link", name="Runs").click()
    expect(box).to_have_value("")


def test_a_click_on_a_difference_asks_once(seen: Look) -> None:
    page = seen.open("/diff/animals:v0/animals:v1")
    expect(page.locator(".pair img")).to_have_count(2)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/diff/file" in request.url else None)
    page.locator(".row", has_text="notes.txt").click()
    expect(page.locator(".line.added")).to_have_text("+three\n")
    page.wait_for_timeout(200)
    assert len(asked) == 1


def test_the_lineage_follows_the_theme(seen: Look) -> None:
    page = seen.open("/lineage/model:v0")
    fill_of = "getComputedStyle(document.querySelector('.graph').shadowRoot.querySelector('rect.v')).fill"
    light = page.evaluate(fill_of)
    page.keyboard.press("t")
    assert page.evaluate(fill_of) == light
    page.keyboard.press("t")
    assert (light, page.evaluate(fill_of)) == ("rgb(221, 244, 255)", "rgb(12, 45, 107)")


def test_nothing_of_a_hostile_version_runs(browser: Browser, address: str) -> None:
    with look(browser, address) as seen:
        for name in (*HOSTILE_NAMES, "script.svg", "page.html", "evil.md", "evil.csv"):
            page = seen.open(f"/v/hostile:v0/{quote(name, safe='')}")
            expect(page.locator(".side .facts").first).to_contain_text("size")
            expect(page.locator(".row.selected")).to_have_count(1)
            seen.check()
        page.goto(f"{seen.address}/diff/hostile:v0?at=1")
        page.wait_for_selector(".row")
        seen.check()


def test_hostile_files_opened_by_themselves_run_nothing(browser: Browser, address: str) -> None:
    with look(browser, address) as seen:
        page = seen.page
        page.goto(f"{seen.address}/api/content?ref=hostile&path=script.svg")
        assert page.evaluate("document.documentElement.tagName") == "svg"
        assert page.evaluate("window.hacked === undefined")
        assert page.evaluate("window.origin") == "null"  # in a sandbox


def test_the_policy_refuses_what_the_page_itself_would_do_wrong(browser: Browser, address: str) -> None:
    with look(browser, address) as seen:
        page = seen.open("/")
        for script in (
            "() => { document.body.innerHTML = '<b>x</b>' }",
            "() => { document.body.append(document.createRange().createContextualFragment('<b>x</b>')) }",
        ):
            with pytest.raises(Exception, match="TrustedHTML"):
                page.evaluate(script)
        page.evaluate("() => { const one = new Image(); one.src = 'http://evil.example/x'; document.body.append(one) }")
        with page.expect_console_message(lambda message: "evil.example" in message.text):
            page.evaluate("() => { const one = new Image(); one.src = 'http://evil.example/y' }")


def test_a_link_of_another_site_leads_to_a_page(browser: Browser, shown: Path) -> None:
    with serve(shown, "--write") as url, browser.new_context() as context:
        page, base = context.new_page(), url.partition("?")[0].rstrip("/")
        link = f"<a href='{base}/c/animals'>look</a>"
        page.route("http://other.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        for address, text in (("http://other.example/", "A token is required"), (url, "animals")):
            page.goto(address)
            page.goto("http://other.example/")
            page.get_by_role("link", name="look").click()
            expect(page.locator("h1").first).to_contain_text(text)


def test_what_is_open_on_the_page_of_this_machine_stays_open(seen: Look) -> None:
    page = seen.page
    looks = [0]

    def answer(route: Route) -> None:
        looks[0] += 1
        route.fulfill(json={"schema": 1, "at": looks[0] * 2.0, "mounts": [make_mount(looks[0])]})

    page.route("**/api/mounts", answer)
    seen.open("/machine")
    expect(page.locator(".box tr", has_text="train (7)")).to_contain_text("one/v0/\\u{202e}a.png4.0 MiB")
    summary = page.locator(".box summary")
    summary.focus()
    page.keyboard.press("Enter")
    for number in (3, 4):
        expect(page.locator(".box details table")).to_contain_text(f"{number * 1111:,}")
        assert page.evaluate("document.activeElement.matches('.box summary')")
        assert page.locator(".box details").first.get_attribute("open") == ""
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('.box details').open")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert page.locator(".box details").first.get_attribute("open") is None
    assert f"{seen.address}/api/cache" in asked


def make_mount(number: int) -> dict[str, Any]:
    """Return a mount as the API describes it, whose figures grow with a number."""
    counts = dict.fromkeys(("bytes", "errors", "fetched_bytes", "fetched_reads", "fetching", "restarts", "upgrades"), 0)
    figures = {**counts, "requests": {"read": number * 1111}, "latency_us": {"p50": 1, "p99": 2}, "workers": [1]}
    names = {"mountpoint": "/mnt/one", "shows": "all", "transport": "kernel", "log": "/log"}
    fetch = {"request": "READ", "path": "one/v0/\u202ea.png", "offset": 4 << 20, "pid": 7, "program": "train"}
    return {**names, "started": "2026-01-01T00:00:00Z", "pid": 1, "figures": figures, "fetches": [fetch]}


def test_a_staging_directory_is_followed(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path)
    with open_client(tmp_path) as client:
        place = upper_of(client)
    with serve(tmp_path) as url, look(browser, url) as seen:
        page = seen.open("/machine")
        expect(page.locator("main")).to_contain_text("Nothing was changed.")
        for number in range(250):
            (place / f"new-{number:03}.txt").write_text("new\n")
        with open_one(tmp_path) as repository:
            collection, version = repository.resolve(parse_ref("animals"))
            StagingArea(repository).create(collection.name, version=version, name="other", driver="union")
        make_whiteout(os.fsencode(place / "README.md"))
        expect(page.locator("main")).to_contain_text("animals:@other", timeout=20_000)
        expect(page.locator("main")).to_contain_text("The first 200 of 251", timeout=20_000)
        page.get_by_role("link", name="README.md").click()
        expect(page.locator(".side h2:not(.minor)")).to_have_text("README.md")
        assert page.url.endswith("/v/animals:v2/README.md")
        page.go_back()
        page.get_by_role("link", name="all of them").click()
        expect(page.locator(".chip.added")).to_have_text("250 added")
        seen.check()


class TestWriting:
    """The write actions, each with its question."""

    @pytest.fixture
    def own(self, browser: Browser, tmp_path: Path) -> Iterator[Look]:
        fill(tmp_path)
        with serve(tmp_path, "--write") as url, look(browser, url) as found:
            assert "token=" in url
            yield found
            found.check()

    def answer(self, look: Look, text: str, **values: str) -> None:
        dialog = look.page.locator("dialog")
        for name, value in values.items():
            dialog.locator(f"[name={name}]").fill(value)
        look.shoot(f"dialog-{text}")
        dialog.get_by_role("button", name=text, exact=True).click()
        expect(dialog).to_have_count(0)

    def test_an_alias_moves_and_a_version_is_edited(self, own: Look) -> None:
        page = own.open("/v/animals:v0")
        page.get_by_role("button", name="move an alias here").click()
        dialog = page.locator("dialog")
        dialog.get_by_label("Aliases").fill("best other latest")
        expect(dialog).to_contain_text("best moves from v1 to v0; other is new; latest moves from v2 to v0")
        self.answer(own, "move", aliases="best")
        expect(page.locator("h1").first).to_contain_text("best")
        page.get_by_role("button", name="edit").click()
        self.answer(own, "save", description="<b>new</b>", tags="good raw")
        expect(page.locator(".description")).to_have_text("<b>new</b>")
        expect(page.locator("h1").first).to_contain_text("good")
        assert copy_table(own, "/c/animals").splitlines()[3].split("\t")[:2] == ["v0", "best"]
        page.get_by_role("button", name="Remove the alias best").click()
        self.answer(own, "remove")
        expect(page.locator("main")).not_to_contain_text("best")

    def test_a_staging_directory_is_committed_and_discarded(self, own: Look, tmp_path: Path) -> None:
        with open_client(tmp_path) as client:
            place = upper_of(client)
        (place / "new.txt").write_text("new\n")
        (place / "table.csv").write_bytes((tmp_path / "source" / "rows.csv").read_bytes())
        make_whiteout(os.fsencode(place / "rows.csv"))
        page = own.open("/machine")
        expect(page.locator("main")).to_contain_text("2 changes")
        expect(page.locator("tr", has_text="renamed")).to_contain_text("rows.csv → table.csv")
        page.get_by_role("button", name="commit").click()
        self.answer(own, "commit", message="from the page")
        expect(page.locator("#status")).to_contain_text("made animals:v3")
        (place / "lost.txt").write_text("lost\n")
        own.open("/machine")
        expect(page.locator("main")).to_contain_text("lost.txt")
        page.get_by_role("button", name="discard").click()
        expect(page.locator("dialog")).to_contain_text("1 uncommitted change is lost")
        self.answer(own, "discard")
        expect(page.locator("main")).to_contain_text("There are none.")


def upper_of(client: Client) -> Path:
    return Path(os.fsdecode(client.get("staging/animals")["staging"]["upper"]))


def test_the_time_line_of_all_collections_is_turned_over(browser: Browser, tmp_path: Path) -> None:
    with open_one(tmp_path) as repository:
        root = make_root_of(repository, 1)
        for number in range(150):
            commit(repository, f"c-{number:03}", root)
    with serve(tmp_path) as url, look(browser, url) as seen:
        page = seen.open("/history")
        items = page.locator(".timeline li")
        expect(items.first).to_contain_text("c-149 committed v0")
        page.get_by_role("link", name="older").click()
        expect(items).to_have_count(50)
        expect(items.last).to_contain_text("c-000")
        page.reload()
        expect(items.last).to_contain_text("c-000")
        seen.shoot("time-line")
        page.get_by_role("link", name="c-000", exact=True).click()
        expect(page.locator("h1").first).to_have_text("History of c-000")
        page.get_by_role("link", name="all collections").click()
        expect(items).to_have_count(100)
        day = page.get_by_label("up to the day")
        day.fill("2020-01-31")
        expect(page.locator("main")).to_contain_text("Nothing happened until then.")
        expect(day).to_have_value("2020-01-31")
        page.get_by_role("link", name="newest").click()
        expect(items).to_have_count(100)
        page = seen.open("/")
        page.get_by_role("link", name="next").click()
        expect(page.locator("tr.link")).to_have_count(50)
        page = seen.open("/?q=type%3Ddataset")
        expect(page.locator("tr.link")).to_have_count(150)
        seen.check()


def test_without_write_nothing_offers_to_change(seen: Look) -> None:
    page = seen.open("/v/animals:v0")
    expect(page.get_by_role("button", name="edit")).to_have_count(0)
    page = seen.open("/machine")
    expect(page.get_by_role("button", name="commit")).to_have_count(0)
