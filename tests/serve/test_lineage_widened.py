"""Lineage beyond its edge: widened by address in the API, and by click and key in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from artifactfs.runs.history import RunLog
from artifactfs.serve import lineage
from tests.serve.browser import MISSING, look, serve, until
from tests.serve.large import commit, make_large, make_root_of
from tests.serve.support import Client, open_client, open_one

LENGTH = 10
BOX = "document.querySelector('.graph').shadowRoot.querySelector('svg').getAttribute('viewBox')"
FOCUSED = "document.querySelector('.graph').shadowRoot.activeElement?.getAttribute('data-node')"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `step:v0` to `step:v9`, each made from the one before by a run, and `side:v0` from v4."""
    folder = tmp_path_factory.mktemp("chain")
    count = iter(range(100))
    with open_one(folder) as repository:
        root = make_root_of(repository, 1)
        log = RunLog(repository.store, clock=repository.clock, random=lambda size: next(count).to_bytes(size))
        made = [commit(repository, "step", root)]

        def make(used: str, name: str) -> None:
            run = log.start(author="tester", name=f"make {name}").run
            log.use(run, used)
            made.append(commit(repository, name, root, run=run))
            log.log(run, made[-1], is_new=True)
            log.finish(run, exit_code=0)

        for _ in range(LENGTH - 1):
            make(made[-1], "step")
        make("step:v4", "side")
    return folder


@pytest.fixture(scope="module")
def steps(chain: Path) -> Iterator[Client]:
    with open_client(chain) as client:
        yield client


def versions(found: dict) -> list[str]:  # type: ignore[type-arg]
    return sorted(each["id"] for each in found["nodes"] if each["kind"] == "version")


def wider(found: dict) -> dict[str, list[str]]:  # type: ignore[type-arg]
    return {each["id"]: each["wider"] for each in found["nodes"] if each["wider"]}


def test_each_node_says_where_there_is_more(steps: Client) -> None:
    found = steps.get("lineage", node="step:v5", depth=2)
    assert versions(found) == ["step:v4", "step:v5", "step:v6"]
    assert wider(found) == {"step:v4": ["up", "down"], "step:v6": ["down"]}
    assert wider(steps.get("lineage", node="step:v5", depth=2, direction="up")) == {"step:v4": ["up"]}
    drawn = steps.raw("lineage.svg", node="step:v5", depth=2).text
    assert drawn.count("data-more=") == 3
    assert 'data-more="down" data-of="step:v6"' in drawn


def test_it_is_widened_from_where_that_is_asked(steps: Client) -> None:
    found = steps.get("lineage", node="step:v5", depth=2, widen="up:step:v4,down:step:v4,up:step:v3,up:nothing,x")
    assert versions(found) == ["side:v0", "step:v2", "step:v3", "step:v4", "step:v5", "step:v6"]
    assert wider(found) == {"step:v2": ["up"], "step:v6": ["down"]}


def test_a_hub_is_widened_again_and_again(steps: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "WIDENED", 1)
    wanted = {"node": "step:v4", "direction": "down", "depth": 1, "limit": 1}
    found = [steps.get("lineage", **wanted, widen=",".join(["down:step:v4"] * times)) for times in range(4)]
    assert [each["node_count"] for each in found] == [1, 2, 3, 3]
    assert "step:v4" in wider(found[1])
    assert "step:v4" not in wider(found[2])


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(300)
class TestShown:
    """In Chromium."""

    def test_by_click_and_by_key(self, browser: Browser, chain: Path) -> None:
        with serve(chain) as url, look(browser, url) as seen:
            page = seen.open("/lineage/step:v5?depth=2")
            seen.shoot("lineage-cut")
            page.locator(".graph g[data-more='down'][data-of='step:v4']").click()
            expect(page.locator(".graph g[data-node='side:v0']")).to_have_count(1)
            assert page.url.endswith("widen=down%3Astep%3Av4")
            until(page, f"{FOCUSED} === 'step:v4'")
            page.keyboard.press("u")
            expect(page.locator(".graph g[data-node='step:v3']")).to_have_count(1)
            until(page, f"{FOCUSED} === 'step:v4'")
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowLeft")
            until(page, f"{FOCUSED} === 'step:v3'")
            seen.shoot("lineage-widened")
            page.keyboard.press("Enter")
            expect(page.locator("h1").first).to_contain_text("step:v3")
            page.go_back()
            expect(page.locator(".graph g[data-node='step:v3']")).to_have_count(1)
            page.keyboard.press("Tab")
            until(page, f"{FOCUSED} === 'step:v5'")
            page.keyboard.press("Tab")
            until(page, f"!{FOCUSED}")
            seen.check()

    def test_a_large_one_begins_at_a_scale_that_can_be_read(self, browser: Browser, tmp_path: Path) -> None:
        make_large(tmp_path, versions=50, entries=1, runs=150)
        with serve(tmp_path) as url, look(browser, url) as seen:
            page = seen.open("/lineage/step-0:v0?clusters=never&depth=1000")
            until(page, BOX)
            width = float(page.evaluate(BOX).split()[2])
            assert width == pytest.approx(page.locator(".graph").evaluate("(one) => one.clientWidth"), abs=1)
            expect(page.locator(".graph g[data-node='step-0:v0']")).to_be_in_viewport()
            seen.shoot("lineage-readable")
            page.keyboard.press("0")
            assert float(page.evaluate(BOX).split()[2]) > 2 * width
            seen.check()
