"""Ten thousand versions, a million entries and a lineage of a thousand nodes, in a real Chromium.

The figures that are asked for, doubled, so that noise does not fail the test; `python -m tests.bench.web` measures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.web import measure_all
from tests.serve.browser import MISSING, look, open_browser, serve
from tests.serve.large import make_large, name_entry

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.timeout(1200)]
ENTRIES = 1_000_000


def test_pages_of_a_large_repository_come_in_time(tmp_path: Path) -> None:
    make_large(tmp_path, versions=10_000, entries=ENTRIES, runs=500)
    found = measure_all(tmp_path, entries=ENTRIES)
    assert found["first page"] < 2 * 200, found
    assert found["directory"] < 2 * 300, found
    assert found["lineage"] < 2 * 1000, found
    with serve(tmp_path) as url, open_browser() as browser, look(browser, url) as seen:
        page = seen.open("/v/big:v0/files")
        page.wait_for_selector(".row .name")
        page.locator(".virtual").focus()
        page.keyboard.press("End")
        last = name_entry(ENTRIES - 1).decode()
        page.wait_for_selector(f".row:has-text('{last}')")
        assert page.locator(".row").count() < 100  # only what is in view exists
        seen.shoot("a-million-entries")
        seen.open("/lineage/step-0:v0?depth=1000&limit=1000")
        seen.shoot("lineage-in-clusters")
        seen.open("/lineage/step-0:v0?clusters=never&depth=1000&limit=1000")
        seen.shoot("lineage-of-a-thousand")
        seen.check()
