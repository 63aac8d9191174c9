"""The documentation as a site: it is built, holds every page and what is made, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import artifactfs

ROOT = Path(__file__).parent.parent
LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(https?:)?//", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "docs" / "site" / "properdocs.yml"
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--config-file", config, "--site-dir", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")]
    assert [str(page) for page in pages if not (site / page).is_file()] == []
    navigation = (site / "index.html").read_text()
    assert [str(page) for page in pages if f'href="{page}"' not in navigation] == []


def test_the_reference_has_what_is_public(site: Path) -> None:
    text = (site / "reference.html").read_text()
    assert [name for name in artifactfs.__all__ if callable(getattr(artifactfs, name)) and name not in text] == []
    assert "use_artifact" in text


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if LOADED.search(page.read_text())] == []
