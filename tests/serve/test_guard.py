"""Who may ask, and who may change something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from artifactfs.serve.api import WRITING
from artifactfs.serve.guard import POLICY, SAFE, Access
from tests.serve.support import Client, fill, open_client

ALIAS = {"ref": "animals:v0", "aliases": ["new"]}


def test_a_page_of_another_name_reads_nothing(client: Client) -> None:
    for host in ("evil.example", "evil.example:8265", "", "127.0.0.1.evil.example"):
        assert client.http.get("/api/server", headers={"host": host}).status_code == 421
    for host in ("127.0.0.1:8265", "[::1]:1", "localhost", "192.168.1.7:80"):
        assert client.http.get("/api/server", headers={"host": host}).status_code == 200
    assert Access("", "", frozenset({"box.local"})).is_host("Box.Local:80")


def test_every_answer_has_the_policy(client: Client) -> None:
    for address in ("/", "/api/server", "/api/nothing", "/static/nothing.js", "/collections/animals"):
        found = client.http.get(address).headers["content-security-policy"]
        assert re.sub(r" 'sha256-[^']+'", "", found) == POLICY
    for word in ("unsafe-inline", "unsafe-eval", "http:", "https:", "*"):
        assert word not in POLICY


def test_a_token_is_asked_for_and_kept_in_a_cookie(shown: Path) -> None:
    with open_client(shown, token="secret") as client:
        assert client.http.get("/api/server").status_code == 401
        assert client.http.get("/").status_code == 401
        assert client.http.get("/api/server", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.http.get("/api/server", headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.http.get("/?token=wrong").status_code == 401
        moved = client.http.get("http://127.0.0.1:8265//evil.example/x?a=1&token=secret", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (303, "/evil.example/x?a=1")
        cookie = moved.headers["set-cookie"]
        assert all(word in cookie for word in ("artifactfs=secret", "HttpOnly", "SameSite=lax"))
        assert client.http.get("/api/server").status_code == 200


def test_a_page_without_a_token_says_what_to_do(shown: Path) -> None:
    with open_client(shown, token="secret") as client:
        for path in ("/", "/v/animals:v0/images?view=grid", "/apian"):
            page = client.http.get(path)
            assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
            assert "<code>artifactfs ui</code>" in page.text
        for path in ("/api/server", "/static/app.js"):
            assert client.http.get(path).json()["error"]["kind"] == "AccessDeniedError"
        assert client.http.post("/").json()["error"]["kind"] == "AccessDeniedError"


def test_with_the_cookie_alone_another_site_changes_nothing(tmp_path: Path) -> None:
    assert not {operation.method for operation in WRITING} & set(SAFE)
    fill(tmp_path)
    with open_client(tmp_path, may_write=True, token="secret") as client:
        client.http.cookies.set("artifactfs", "secret")
        for headers in ({"X-CSRF-Token": ""}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            client.send("POST", "aliases/set", ALIAS, 403, **headers)
        assert client.send("POST", "aliases/set", ALIAS)["aliases"]


def test_nothing_is_changed_without_write(client: Client) -> None:
    for method, path, body in (
        ("POST", "aliases/set", ALIAS),
        ("POST", "aliases/remove", {"collection": "animals", "aliases": ["best"]}),
        ("PATCH", "versions/animals:v0", {"description": "new"}),
        ("POST", "staging/animals/commit", {}),
        ("POST", "staging/animals/discard", {"changes": 0}),
    ):
        assert client.send(method, path, body, 403)["error"]["kind"] == "ReadOnlyError"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": "wrong"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_another_site_changes_nothing(writable: Client, headers: dict[str, str], status: int) -> None:
    writable.send("POST", "aliases/set", ALIAS, status, **headers)
    assert "new" not in writable.get("collections/animals")["aliases"]
    writable.send("POST", "aliases/set", ALIAS, 200, Origin="http://127.0.0.1:8265")
    assert writable.get("collections/animals")["aliases"]["new"] == "v0"


def test_too_much_is_not_taken(writable: Client) -> None:
    assert writable.send("PATCH", "versions/animals", {"description": "x" * (2 << 20)}, 413)["error"]
    assert writable.send("PATCH", "versions/animals", {"description": 1}, 400)["error"]["kind"] == "UsageError"
    assert writable.send("PATCH", "versions/animals", {"other": 1}, 400)["error"]["kind"] == "UsageError"
