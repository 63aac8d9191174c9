"""The catalogue as the server draws it: all that the API says, in parts and orders, and nothing of it as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.serve.drawn import draw_catalogue
from artifactfs.serve.looks import SETTLING_NS, Looks
from artifactfs.serve.server import looking_ahead
from artifactfs.serve.summaries import CataloguePage, list_collections
from tests.kernel.waiting import wait_until
from tests.serve.large import commit, make_root_of
from tests.serve.support import Client, open_client, open_one

COUNT = 250
TAGS = set(re.findall(r"\w+", "a button data div h1 h2 p span table tbody td th thead time tr"))
ATTRIBUTES = {
    *("aria-current", "class", "data-copies", "data-href", "data-made", "datetime"),
    *("href", "scope", "tabindex", "title", "type", "value"),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return a client of a repository with many collections, of which `late` was changed last."""
    folder = tmp_path_factory.mktemp("many")
    with open_one(folder) as repository:
        root = make_root_of(repository, 1)
        for number in range(COUNT):
            commit(repository, f"c-{number:03}", root, type_="model" if number % 2 else "dataset")
        commit(repository, "c-007", root, type_="model")
    with open_client(folder) as client:
        yield client


class Names(HTMLParser):
    """Keeps the addresses of rows, and of links by their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[str] = []
        self.links: dict[str, str] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._address = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(found)
        if tag == "tr" and "data-href" in found:
            self.rows.append(str(found["data-href"]).removeprefix("/c/"))
        self._address = str(found.get("href", "")) if tag == "a" else ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._address:
            self.links[data] = self._address


def draw(client: Client, address: str, status: int = 200) -> Names:
    response = client.http.get(address)
    assert response.status_code == status, response.text
    return Names(response.text)


def test_all_collections_are_reached_part_by_part(many: Client) -> None:
    address, found, parts = "/", [], 0
    while address:
        page = draw(many, address)
        found += page.rows
        parts += 1
        address = page.links.get("next", "")
    by_type = [f"c-{number:03}" for start in (0, 1) for number in range(start, COUNT, 2)]
    assert (found, parts) == (by_type, 3)
    last = draw(many, draw(many, "/").links["last"])
    assert last.rows == by_type[200:]
    assert draw(many, last.links["previous"]).rows == by_type[100:200]
    assert last.links["first"] == "/"


def test_other_orders_and_single_types(many: Client) -> None:
    assert draw(many, "/?order=changed").rows[:2] == ["c-007", f"c-{COUNT - 1}"]
    assert draw(many, "/?order=name").rows[:3] == ["c-000", "c-001", "c-002"]
    models = draw(many, draw(many, "/").links["125 model"])
    assert models.rows[0] == "c-001"
    assert models.links["125 model"] == "/"
    assert "125 to" not in str(models.links)
    assert draw(many, "/?offset=1000").rows == []
    draw(many, "/?offset=-1", 400)
    draw(many, "/?order=%3Cb%3E", 400)


def test_the_api_answers_parts_in_any_order_and_parts_of_what_is_found(many: Client) -> None:
    found = many.get("collections", order="changed", offset=1, limit=2)
    assert [each["collection"] for each in found["collections"]] == [f"c-{COUNT - 1}", f"c-{COUNT - 2}"]
    assert (found["total"], found["offset"], found["types"]) == (COUNT, 1, {"dataset": 125, "model": 125})
    assert many.get("collections", type="model", limit=1)["total"] == 125
    found = many.get("find", query="type=model", offset=124, limit=1)
    assert ([each["ref"] for each in found["versions"]], found["is_cut"]) == (["c-247:v0"], True)
    found = many.get("find", query="type=model", offset=125, limit=1)
    assert ([each["ref"] for each in found["versions"]], found["is_cut"]) == (["c-249:v0"], False)


def test_what_is_drawn_is_what_the_api_says(client: Client) -> None:
    text = client.http.get("/").text
    for each in client.get("collections")["collections"]:
        assert f'<tr class="link" tabindex="0" data-href="/c/{each["collection"]}">' in text
        assert f'<time datetime="{each["modified"]}">' in text
    assert '<a class="chip alias" href="/v/animals:best" title="v1">best</a>' in text
    assert '<a class="chip alias" href="/v/hostile:%3Cb%3E" title="v0">&lt;b&gt;</a>' in text
    assert re.findall("<(?:b|script)>", text) == []


def test_text_of_every_kind_is_escaped() -> None:
    bad = '"><script>x</script>&'
    each: Any = {
        **dict.fromkeys(("collection", "type", "latest", "problem"), bad),
        **dict.fromkeys(("versions", "files", "size"), 1),
        "created": None,
        "modified": "2026-01-01T00:00:00Z",
        "aliases": {bad: bad},
        "tags": [bad],
    }
    found: Any = {"collections": [each], "total": 1, "versions": 1, "types": {bad: 1}, "offset": 0}
    drawn = Names(draw_catalogue(CataloguePage(type=bad, order="changed"), found))
    assert drawn.tags <= TAGS
    assert drawn.attributes <= ATTRIBUTES
    assert drawn.text.count(bad) == 7


def test_a_repository_with_nothing_in_it(tmp_path: Path) -> None:
    with open_one(tmp_path), open_client(tmp_path) as client:
        assert "There is nothing here yet." in client.http.get("/").text


def test_what_is_recorded_is_seen_at_once_and_what_is_not_is_not_looked_at(tmp_path: Path) -> None:
    with open_one(tmp_path) as repository:
        root = make_root_of(repository, 1)
        for name in ("one", "two"):
            commit(repository, name, root)
        looks = Looks(repository)
        now = repository.clock.now_ns()
        repository.clock = Clock(now + 2 * SETTLING_NS)
        before = looks.find_all()
        loaded = note_loading(repository)
        assert looks.find_all() == before
        assert loaded == []
        commit(repository, "two", root)
        repository.append("one", changes.delete_collection, message="")
        commit(repository, "three", root)
        assert [(each.name, len(each.versions)) for each in looks.find_all()] == [("three", 1), ("two", 2)]  # type: ignore[union-attr]


def note_loading(repository: Repository) -> list[str]:
    """Return a list that gets the name of each collection whose state is loaded from now on."""
    loaded: list[str] = []
    real = repository.load_state

    def load(name: str) -> Any:
        loaded.append(name)
        return real(name)

    repository.load_state = load  # type: ignore[method-assign]
    return loaded


def test_a_search_and_the_growth_load_nothing_that_was_seen(client: Client) -> None:
    settled = Clock(client.context.repository.clock.now_ns() + 2 * SETTLING_NS)
    client.context.repository.clock = settled
    client.get("collections")
    states = client.context.repository._states
    looked, real = [], states.load
    states.load = lambda name: looked.append(name) or real(name)  # type: ignore[method-assign, func-returns-value]
    assert [each["ref"] for each in client.get("find", query="type=model")["versions"]] == ["model:v0"]
    assert len(client.get("growth")["points"]) == 5
    assert looked == []


def test_the_server_looks_at_collections_before_anybody_asks(tmp_path: Path) -> None:
    with open_one(tmp_path) as repository:
        root = make_root_of(repository, 1)
        for name in ("one", "two", "three"):
            commit(repository, name, root)
        repository.clock = Clock(repository.clock.now_ns() + 2 * SETTLING_NS)
        ahead, looks = note_loading(repository), Looks(repository)
        with looking_ahead(looks):
            wait_until(lambda: len(ahead) == 3)
        assert ahead == ["one", "three", "two"]
        assert len(looks.find_all()) == 3
        assert len(ahead) == 3
        looks = Looks(repository)
        looks.look_ahead(lambda: len(ahead) < 4)
        assert len(ahead) == 4  # it ends when it is not wanted any more


class Clock:
    """A clock that stands."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now_ns(self) -> int:
        return self._now


def test_a_damaged_collection_is_listed(tmp_path: Path) -> None:
    with open_one(tmp_path) as repository:
        commit(repository, "one", make_root_of(repository, 1))
    (record,) = (tmp_path / "repository" / "collections" / "one" / "log").iterdir()
    record.chmod(0o644)
    record.write_bytes(b"nonsense")
    with open_client(tmp_path) as client:
        (found,) = list_collections(client.context, CataloguePage())["collections"]
        assert found["problem"]
        assert "1 damaged" in client.http.get("/").text
