"""Queries: what they find, what they mean, and where a wrong one is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactfs.errors import UsageError
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.find import FIELDS, find_versions
from artifactfs.repository.query import parse_query
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, make_repository


class Fixed:
    """A clock that stands still on 2026-11-23, 12:00 UTC."""

    def now_ns(self) -> int:
        return 1_795_435_200_000_000_000

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with make_repository(tmp_path_factory.mktemp("find"), clock=Fixed()) as repository:
        good = {"accuracy": 0.95, "lr": {"initial rate": 1e-3}, "layers": [16, 32], "seed": 7, "ok": True, "none": None}
        commit_files(repository, "net", {b"f": b"x"}, CommitOptions(type="model", metadata={"accuracy": 0.5}))
        commit_files(
            repository,
            "net",
            {b"f": b"x" * 5000, b"g": b""},
            CommitOptions(
                type="model", metadata=good, tags=("reviewed", "big.one"), aliases=("best",), inputs=("data:v0",),
                message="It's Trained", run="r",
            ),
        )  # fmt: skip
        commit_files(repository, "data", {b"f": b"y"}, CommitOptions(tags=("reviewed",), description="cats"))
        yield repository


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("type=model and metadata.accuracy > 0.9 and tag=reviewed", ["net:v1"]),
        ("type = model", ["net:v1", "net:v0"]),
        ("type=model and metadata.accuracy>=0.5", ["net:v1", "net:v0"]),
        ("metadata.accuracy < 0.9", ["net:v0"]),
        ("tag=reviewed", ["data:v0", "net:v1"]),
        ("tag!=reviewed", ["net:v0"]),
        ("tag='big.one'", ["net:v1"]),
        ('tag="big.one"', ["net:v1"]),
        ("alias=best or name=data", ["data:v0", "net:v1"]),
        ("not tag", ["net:v0"]),
        ("not (type=model or tag)", []),
        ("NOT type=model AND tag", ["data:v0"]),
        ("tag and type=dataset or metadata.accuracy=0.5", ["data:v0", "net:v0"]),
        ("metadata.lr.'initial rate' = 0.001", ["net:v1"]),
        ('metadata."lr"."initial rate" <= 1e-3', ["net:v1"]),
        ("metadata.layers = 32", ["net:v1"]),
        ("metadata.layers > 32", []),
        ("metadata.seed = 7", ["net:v1"]),
        ("metadata.seed = '7'", []),
        ("metadata.seed = true", []),
        ("metadata.ok", ["net:v1"]),
        ("metadata.ok = true", ["net:v1"]),
        ("metadata.ok = 1", []),
        ("metadata.ok > 0", []),
        ("metadata.none = null", ["data:v0", "net:v1", "net:v0"]),
        ("metadata.none", []),
        ("metadata.missing.below", []),
        ("metadata", ["net:v1", "net:v0"]),
        ("size > 4KiB", ["net:v1"]),
        ("size > 5kb", []),
        ("size = 5kB", ["net:v1"]),
        ("files=2", ["net:v1"]),
        ("version=0 and type=model", ["net:v0"]),
        ("ref=net:v1", ["net:v1"]),
        ("name ~ 'N*t'", ["net:v1", "net:v0"]),
        ("message ~ *trained", ["net:v1"]),
        ("message = 'It\\'s Trained'", ["net:v1"]),
        ("description=cats", ["data:v0"]),
        ("author=tester@host and input=data:v0", ["net:v1"]),
        ("run", ["net:v1"]),
        ("created = 2026-11-23T12:00:00Z and name=data", ["data:v0"]),
        ("created > 2026-11-22 and created < 2026-11-24 and name=data", ["data:v0"]),
        ("created > 2026-11-23T13:30:00+02:00 and name=data", ["data:v0"]),
        ("created > 2026-11-23T12:30:00 or created = 5", []),
        ("type.below = 1", []),
    ],
)
def test_what_is_found(repository: Repository, query: str, found: list[str]) -> None:
    assert [f"{collection.name}:{version.name}" for collection, version in find_versions(repository, query)] == found


@pytest.mark.parametrize(
    ("query", "at", "words"),
    [
        ("", 1, "a field is missing"),
        ("type=", 6, "a value is missing after '='"),
        ("type=model and", 15, "a field is missing"),
        ("type=model tag=x", 12, "'tag' is too much here"),
        ("colour=red", 1, "there is no field 'colour': known are name, "),
        ("(type=model", 12, "a closing parenthesis is missing"),
        ("type=model)", 11, "')' is too much"),
        ("type='model", 6, "a quotation mark is not closed"),
        ("type ! model", 6, "'!' means nothing"),
        ("metadata. > 1", 1, "a name is missing beside the dot"),
        ("metadata..a", 1, "a name is missing beside the dot"),
        ("and", 1, "a field is missing before 'and'"),
        ("tag < > 3", 7, "a value is missing after '<'"),
        ("(" * 101 + "tag", 101, "nested too deeply"),
    ],
)
def test_errors_say_where(query: str, at: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_query(query, fields=FIELDS)
    assert f"at character {at}: " in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint == f"{query}\n  {' ' * (at - 1)}^"


@given(st.text(alphabet=" ()=<>!~'\"\\.andortgx1", max_size=30))
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_query(text, fields=FIELDS).holds(lambda field: None)
