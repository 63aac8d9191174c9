"""The Markdown pages: their links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(chain(ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md")))
DESIGN = [page for page in PAGES if "design" in page.relative_to(ROOT).as_posix() or page.stem == "kernel-transport"]
OVERVIEW = ROOT / "docs" / "design.md"
SOURCES = [path for folder in ("artifactfs", "cli", "tests") for path in (ROOT / folder).rglob("*")]
OVERVIEW_WORDS = 2400  # what is read in ten minutes
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")
MODULE = re.compile(r"`((?:[a-z_]+/)*[a-z_*]+\.py|(?:[a-z_]+/){2,})`")


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        base = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = sum(re.fullmatch(rf"{re.escape(base)}(-\d+)?", other) is not None for other in found)
        found.append(f"{base}-{count}" if count else base)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def is_there(name: str) -> bool:
    """Return whether a file or folder is in the checkout, named by the last parts of its path."""
    return any(path.match(name) for path in SOURCES)


@pytest.mark.parametrize("page", DESIGN, ids=name_page)
def test_modules_that_the_design_names_are_there(page: Path) -> None:
    assert [name for name in MODULE.findall(prose(page)) if not is_there(name)] == []


def test_the_overview_names_each_package_and_links_to_each_page() -> None:
    text = OVERVIEW.read_text()
    packages = [path.parent.name for path in (ROOT / "artifactfs").glob("*/__init__.py")]
    assert [name for name in packages if f"`{name}/`" not in text] == []
    assert [page.name for page in (ROOT / "docs" / "design").iterdir() if f"(design/{page.name})" not in text] == []


def test_the_overview_is_read_in_ten_minutes() -> None:
    assert len(OVERVIEW.read_text().split()) <= OVERVIEW_WORDS


def test_pages_that_the_code_names_are_there() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        if path.suffix == ".py"
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())
        if not (ROOT / name).exists()
    }
    assert missing == set()
