"""How much of a version is here, and what has drifted: as the API counts it, and as the page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from artifactfs.reference.policy import ReferencePolicy
from artifactfs.repository.put import put_paths
from artifactfs.repository.referring import Referred
from artifactfs.repository.sources import Source
from artifactfs.serve import presence
from tests.serve.browser import MISSING, look, open_browser, serve
from tests.serve.support import Client, fill, open_client, open_one


def put_references(folder: Path) -> Path:
    """Make `away` with a file and three references, of which one file has changed and one is gone; return the third."""
    targets = [folder / f"{name}.txt" for name in ("changed", "gone", "same")]
    for target in targets:
        target.write_text("before")
    (folder / "here.txt").write_text("here")
    referred = [Referred(target.as_uri(), f"in/{target.name}".encode()) for target in targets]
    with open_one(folder) as repository:
        put_paths(repository, "away", [Source(bytes(folder / "here.txt"), b"here.txt"), *referred])
    targets[0].write_text("and after")
    targets[1].unlink()
    return targets[2]


def test_files_are_counted_by_where_they_are(client: Client) -> None:
    found = client.get("presence", ref="animals:v0")
    files = client.get("versions/animals:v0")["version"]  # of which one is a link
    assert found["counts"] == {"local": {"files": files["files"] - 1, "size": files["size"]}}
    assert (found["links"], found["references"], found["is_done"]) == (1, 0, True)
    assert client.get("presence", ref="animals:v0", path="images")["counts"]["local"]["files"] == 2
    assert client.get("presence", ref="animals:v0", path="notes.txt")["counts"]["local"]["files"] == 1
    assert client.get("presence", ref="animals:v0", path="empty")["counts"] == {}
    client.get("presence", 404, ref="animals:v0", path="nothing")


def test_a_count_goes_on_where_it_was(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.0)
    assert client.get("presence", ref="animals:v0", count=7)["counts"] == {}
    monkeypatch.setattr(presence, "LOOK_SECONDS", 5.0)
    whole = client.get("presence", ref="animals:v0", count=7)
    assert whole == client.get("presence", ref="animals:v0", count=7)
    assert whole["is_done"]


def test_drift_is_looked_for_when_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_references(tmp_path)
    with open_client(tmp_path) as client:
        found = client.get("presence", ref="away")
        assert (found["references"], found["checked"], found["drift_count"]) == (3, 0, 0)
        found = client.get("presence", ref="away", check=True)
        assert (found["references"], found["checked"], found["drift_count"]) == (3, 3, 2)
        assert [each["path"] for each in found["drifted"]] == ["in/changed.txt", "in/gone.txt"]
        assert client.get("presence", ref="away", path="in", check=True)["drift_count"] == 2
        assert client.get("presence", ref="away", path="in/same.txt", check=True)["drift_count"] == 0
        monkeypatch.setattr(client.context.repository.references._files, "_policy", ReferencePolicy(()))
        found = client.get("presence", ref="away", check=True, count=1)
        assert (found["checked"], found["failed"], found["drifted"]) == (0, 3, [])
        assert "is under no prefix" in found["problem"]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(180)
class TestShown:
    """In Chromium."""

    def test_counts_and_drift_are_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_references(tmp_path)
        # The server of the command follows references below what the configuration allows.
        (tmp_path / "config.toml").write_text(f'follow_references = ["{tmp_path.as_uri()}"]\n')
        monkeypatch.setenv("ARTIFACTFS_CONFIG", str(tmp_path / "config.toml"))
        with serve(tmp_path) as url, open_browser() as browser, look(browser, url) as seen:
            page = seen.open("/v/away:v0")
            expect(page.locator(".presence")).to_contain_text("4 here")
            expect(page.locator(".presence")).to_contain_text("3 references")
            page.locator(".row", has_text="in").first.click()
            expect(page.locator(".presence")).to_contain_text("3 here")
            page.get_by_role("button", name="have references changed?").click()
            expect(page.locator(".presence")).to_contain_text("3 looked at: 2 drifted")
            seen.shoot("drifted")
            page.get_by_role("link", name="in/changed.txt").click()
            expect(page.locator(".side h2:not(.minor)")).to_have_text("changed.txt")
            seen.problems.clear()  # the preview of what has drifted is refused
            seen.check()

    def test_a_version_is_chosen_to_compare_with(self, tmp_path: Path) -> None:
        fill(tmp_path)
        with serve(tmp_path) as url, open_browser() as browser, look(browser, url) as seen:
            for keys, address in (
                (("ArrowDown", "ArrowDown", "Enter"), "/diff/animals%3Av0/animals%3Av2"),
                (("f", "i", "r", "s", "Enter"), "/diff/animals%3Av0/animals%3Av2"),
                (("v", "1", "Enter"), "/diff/animals%3Av1/animals%3Av2"),
            ):
                page = seen.open("/v/animals:v2")
                page.get_by_role("button", name="compare with…").click()
                expect(page.locator(".choices button")).to_have_count(2)
                seen.shoot("compare")
                for key in keys:
                    page.keyboard.press(key)
                page.wait_for_url(seen.address + address)
                expect(page.locator("h1").first).to_contain_text("→ animals:v2")
            seen.check()
