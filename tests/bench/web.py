"""Measure the web page in Chromium: `python -m tests.bench.web [--versions 10000] [--entries 1000000] [--runs 500]`.

Times are from asking for an address until its content is in the page, as the page's own clock has them, medians over
fresh windows, with the server running and asked once before. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.serve.browser import look, open_browser, serve, until
from tests.serve.large import make_large, name_entry

WINDOWS = 7
WATCH = """
// By a timer: a loop of animation frames would have the browser draw the page while it is still empty.
const timer = setInterval(() => {
  if (!(%s)) return;
  clearInterval(timer);
  requestAnimationFrame(() => { window.shownAt = performance.now(); });
}, 4);
"""
CATALOGUE = "document.querySelector('tr.link')"
DIRECTORY = "document.querySelector('.row .name')"
GRAPH = "document.querySelector('.graph')?.shadowRoot?.querySelector('svg[viewBox]')?.querySelector('g[data-node]')"


def measure(browser: Browser, url: str, path: str, condition: str, *, windows: int = WINDOWS) -> float:
    """Return the milliseconds until a condition holds in a page, the median over new windows."""
    found = []
    for _ in range(windows + 1):
        with look(browser, url) as seen:
            seen.page.add_init_script(WATCH % condition)
            seen.page.goto(seen.address + path)
            found.append(float(until(seen.page, "window.shownAt")))
    return statistics.median(found[1:])  # the first one warms what a server keeps


def measure_jump(browser: Browser, url: str, entries: int) -> float:
    """Return the milliseconds from scrolling to the middle of a directory until what is there is shown."""
    middle = name_entry(entries // 2).decode()
    script = """(middle) => new Promise((resolve) => {
      const list = document.querySelector(".virtual"), began = performance.now();
      list.scrollTop = (list.scrollHeight - list.clientHeight) / 2;
      const near = middle.slice(0, -7);
      const look = () => ([...document.querySelectorAll(".row .name")].some((one) => one.textContent.startsWith(near))
        ? resolve(performance.now() - began) : requestAnimationFrame(look));
      requestAnimationFrame(look);
    })"""
    found = []
    for _ in range(WINDOWS):
        with look(browser, url) as seen:
            seen.open("/v/big:v0/files")
            seen.page.wait_for_selector(".row .name")
            found.append(float(seen.page.evaluate(script, middle)))
    return statistics.median(found)


def measure_all(folder: Path, *, entries: int) -> dict[str, float]:
    """Return what takes how many milliseconds."""
    with serve(folder) as url, open_browser() as browser:
        return {
            "first page": measure(browser, url, "/", CATALOGUE),
            "collection": measure(browser, url, "/c/collection-001", CATALOGUE),
            "directory": measure(browser, url, "/v/big:v0/files", DIRECTORY),
            "to the middle of it": measure_jump(browser, url, entries),
            "one file of it": measure(browser, url, f"/v/big:v0/files/{name_entry(entries // 3).decode()}", DIRECTORY),
            "lineage": measure(browser, url, "/lineage/step-0:v0?clusters=never&depth=1000&limit=1000", GRAPH),
            "lineage in clusters": measure(browser, url, "/lineage/step-0:v0?depth=1000&limit=1000", GRAPH),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--where", default=None, help="a repository that was made before, or where to make one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.where or temporary)
        if not (folder / "repository").exists():
            make_large(folder, versions=arguments.versions, entries=arguments.entries, runs=arguments.runs)
        found = measure_all(folder, entries=arguments.entries)
    print("| page | ms |\n|---|---|")
    for name, milliseconds in found.items():
        print(f"| {name} | {milliseconds:.0f} |")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
