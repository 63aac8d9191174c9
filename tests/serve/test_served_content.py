"""The bytes of files: ranges, validators, and what they may be served as."""

from __future__ import annotations

import pytest

from artifactfs.serve.content import POLICY
from tests.serve.support import Client


def test_a_whole_file_with_its_validator(client: Client) -> None:
    found = client.raw("content", ref="animals:v0", path="raw.bin")
    assert found.content == bytes(range(256))
    assert found.headers["etag"].startswith('"sha256:')
    assert found.headers["cache-control"] == "private, max-age=86400, immutable"
    assert client.raw("content", ref="animals", path="raw.bin").headers["cache-control"] == "private, no-cache"
    again = {"if-none-match": found.headers["etag"]}
    assert client.raw("content", 304, again, ref="animals:v0", path="raw.bin").content == b""


@pytest.mark.parametrize(
    ("wanted", "status", "first", "last"),
    [
        ("bytes=2-4", 206, 2, 5),
        ("bytes=250-", 206, 250, 256),
        ("bytes=-3", 206, 253, 256),
        ("bytes=9-999", 206, 9, 256),
        ("bytes=0-", 206, 0, 256),
    ],
)
def test_ranges(client: Client, wanted: str, status: int, first: int, last: int) -> None:
    found = client.raw("content", status, {"range": wanted}, ref="animals", path="raw.bin")
    assert found.content == bytes(range(first, last))
    assert found.headers["content-range"] == f"bytes {first}-{last - 1}/256"


def test_ranges_that_cannot_be_had(client: Client) -> None:
    found = client.raw("content", 416, {"range": "bytes=256-"}, ref="animals", path="raw.bin")
    assert found.headers["content-range"] == "bytes */256"
    whole = client.raw("content", 200, {"range": "bytes=1-2", "if-range": '"other"'}, ref="animals", path="raw.bin")
    assert len(whole.content) == 256
    assert len(client.raw("content", 200, {"range": "lines=1-2"}, ref="animals", path="raw.bin").content) == 256


def test_head_has_the_size_and_no_body(client: Client) -> None:
    found = client.http.head("/api/content?ref=animals&path=raw.bin")
    assert (found.status_code, found.headers["content-length"], found.content) == (200, "256", b"")


def test_only_images_sound_and_video_are_shown_as_they_are(client: Client) -> None:
    image = client.raw("content", ref="animals", path="images/cat.png").headers
    assert (image["content-type"], image["content-disposition"].split(";")[0]) == ("image/png", "inline")
    for name in ("page.html", "script.svg", "evil.md"):
        headers = client.raw("content", ref="hostile", path=name).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        if name != "script.svg":
            assert (headers["content-type"], headers["content-disposition"][:10]) == (
                "application/octet-stream",
                "attachment",
            )
    saved = client.raw("content", ref="animals", path="images/cat.png", download="true").headers
    assert saved["content-disposition"] == "attachment; filename*=UTF-8''cat.png"


def test_what_is_no_file_has_no_bytes(client: Client) -> None:
    assert client.get("content", 400, ref="animals", path="images")["error"]["kind"] == "UsageError"
    assert client.get("content", 400, ref="animals", path="link")["error"]["kind"] == "UsageError"
