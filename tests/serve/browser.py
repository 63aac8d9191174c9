"""A real server as a process of its own, and a real Chromium to look at it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.serve.support import AUTHOR

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "" if CHROMIUM else "there is no chromium here (vagrant/provision.sh --dev installs it)"
PICTURES = Path(__file__).parent.parent.parent / "build" / "pages"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROGRAM = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of programs that work with the repository in a folder."""
    return {
        **os.environ,
        "ARTIFACTFS_REPO": str(folder / "repository"),
        "ARTIFACTFS_STATE": str(folder / "state"),
        "ARTIFACTFS_CACHE": str(folder / "cache"),
        "ARTIFACTFS_RUNTIME": str(folder / "run"),
        "ARTIFACTFS_AUTHOR": AUTHOR,
    }


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[str]:
    """Yield the address of a server that shows the repository in a folder."""
    command = [*PROGRAM, "ui", "--port", "0", "--json", *arguments]
    with subprocess.Popen(
        command, env=environment_of(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            text = b""
            while not text.rstrip().endswith(b"}"):
                line = process.stdout.readline()
                assert line, process.stderr.read() if process.stderr else b""
                text += line
            yield json.loads(text)["url"]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode in (0, 143, -15), process.returncode


@contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def until(page: Page, condition: str) -> Any:
    """Wait until an expression of the page is true, and return its value.

    Playwright's own `wait_for_function` evaluates text in the page when the first look fails, which the content
    security policy forbids.
    """
    return page.evaluate(f"""() => new Promise((resolve, reject) => {{
      setTimeout(() => reject(new Error("not within 20 s")), 20_000);
      const look = () => {{ const found = {condition}; found ? resolve(found) : requestAnimationFrame(look); }};
      look();
    }})""")


@dataclass
class Look:
    """A page that is looked at, and all that went wrong in it.

    Attributes:
        page: Playwright's.
        address: of the server, without the slash.
        problems: messages of the console and errors of scripts.
        asked: addresses outside of the server that were asked for.
    """

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page, and wait until it is shown."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main:not([aria-busy]) > *")
        return self.page

    def shoot(self, name: str) -> None:
        """Keep a picture of the page in build/pages/."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(PICTURES / f"{name}.png"))

    def check(self) -> None:
        """Raise an error if anything went wrong, ran that should not, or was asked of another server."""
        assert self.problems == []
        assert self.asked == []
        assert self.page.evaluate("window.hacked") is None


@contextmanager
def look(browser: Browser, url: str, *, dark: bool = False, narrow: bool = False) -> Iterator[Look]:
    """Yield a page of its own; `url` may carry a token."""
    size: Any = {"width": 390, "height": 780} if narrow else {"width": 1280, "height": 800}
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", locale="en-GB")
    context.set_default_timeout(20_000)
    page = context.new_page()
    base = url.partition("?")[0].rstrip("/")
    found = Look(page, base)
    page.on("console", lambda one: found.problems.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(base) else found.asked.append(request.url))
    if "?" in url:
        page.goto(url)
    try:
        yield found
    finally:
        context.close()
