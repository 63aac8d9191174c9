"""The front end's files: all in the package, each asking for files that are there, none making HTML of data."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from artifactfs.serve.ahead import MODULES
from artifactfs.serve.assets import TYPES
from tests.serve.support import Client

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "artifactfs" / "serve" / "static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
FORBIDDEN = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|DOMParser|createContextualFragment|srcdoc)\b"
)


def test_each_file_is_in_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["artifactfs"]
    packed = {path for pattern in patterns for path in (ROOT / "artifactfs").glob(pattern)}
    assert [path.name for path in FILES if path not in packed] == []
    assert {path.suffix.removeprefix(".") for path in FILES} <= set(TYPES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_each_script_asks_for_what_is_there_and_is_short(path: Path) -> None:
    text = path.read_text()
    imported = re.findall(r"from \"(\.[^\"]+)\"", text)
    assert [name for name in imported if not (path.parent / name).is_file()] == []
    for names, name in re.findall(r"import \{([^}]+)\} from \"(\.[^\"]+)\"", text):
        exported = (path.parent / name).read_text()
        for one in (each.strip() for each in names.split(",")):
            assert re.search(rf"export (?:async )?(?:function|const|class) {one}\b", exported), (one, name)
    assert not FORBIDDEN.search(text)
    assert len(text.splitlines()) < 300


def test_the_page_and_its_files_are_served(client: Client) -> None:
    index = client.http.get("/v/animals:v0/some/where")
    assert (index.status_code, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for address in re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", index.text):
        found = client.http.get(address)
        assert (found.status_code, found.headers["cache-control"]) == (200, "no-cache")
        again = client.http.get(address, headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for address in (
        "/static/",
        "/static/..%2fapi.py",
        "/static/%2e%2e%2f__init__.py",
        "/static/pages",
        "/static/nothing.js",
    ):
        assert client.http.get(address).status_code == 404
    assert client.http.post("/anything", headers={"x-csrf-token": "x"}).status_code in (403, 405, 415)


def test_a_page_comes_with_the_names_of_all_that_it_imports(client: Client) -> None:
    routes = re.findall(r"\[/\^\\/(\w*)[^\s]*, \"(\w+)\", \"\w+\"\]", (STATIC / "app.js").read_text())
    assert dict(routes) == MODULES
    links = client.http.get("/v/animals:v0/some/where").headers["link"]
    named = re.findall(r"</static/([^>]+)>; rel=modulepreload", links)
    for name in named:
        for other in re.findall(r"^import .* from \"(\.[^\"]+)\"", (STATIC / name).read_text(), re.MULTILINE):
            assert str((STATIC / name).parent.joinpath(other).resolve().relative_to(STATIC)) in named
    assert {"app.js", "pages/version.js", "tree.js", "virtual.js"} <= set(named)
    assert "pages/lineage.js" not in named


def test_a_page_names_what_it_will_ask_of_the_api(client: Client) -> None:
    asked = "</api/server>; rel=preload; as=fetch; crossorigin"
    assert asked in client.http.get("/c/animals").headers["link"]
    assert asked not in client.http.get("/?q=type%3Dmodel").headers["link"]
    drawn = client.http.get("/").headers["link"]
    assert "/api/" not in drawn
    assert "pages/" not in drawn
    assert "</static/adopt.js>; rel=modulepreload" in drawn
    assert "link" not in client.http.get("/nothing/of/the/kind").headers


def test_the_style_sheet_is_in_the_page_and_the_policy_names_it(client: Client) -> None:
    page = client.http.get("/runs")
    (sheet,) = re.findall(r"<style>(.*)</style>", page.text, re.DOTALL)
    assert sheet == (STATIC / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}';" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "sha256" not in client.http.get("/static/app.js").headers["content-security-policy"]
