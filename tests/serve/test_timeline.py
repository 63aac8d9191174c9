"""What happened to all collections, as one time line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs.clock import format_time_ns
from artifactfs.repository import changes
from tests.serve.large import commit, make_root_of
from tests.serve.support import Client, open_client, open_one

BEGIN = 1_767_225_600_000_000_000  # 2026-01-01


class Clock:
    """A clock that goes on by a second at each look, and stands when it is told to."""

    def __init__(self) -> None:
        self.step = 10**9
        self._now = BEGIN

    def now_ns(self) -> int:
        self._now += self.step
        return self._now


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Client]:
    """Return a client of a repository where `a`, `b` and `c` were written to by turns; `c` was deleted."""
    with open_one(tmp_path) as repository:
        clock = Clock()
        repository.log._clock = clock
        root = make_root_of(repository, 1)
        for turn in range(9):
            clock.step = 10**9 if turn < 6 else 0  # the last four at the same time as the one before
            commit(repository, "abc"[turn % 3], root)
        repository.append("c", changes.delete_collection, message="no longer needed")
    with open_client(tmp_path) as found:
        yield found


def names(answer: Any) -> list[str]:
    return [f"{each['collection']} {each['seq']}" for each in answer["records"]]


def test_all_logs_are_one_time_line(three: Client) -> None:
    found = three.get("log")
    whole = ["a 3", "b 3", "c 4", "c 3", "c 2", "b 2", "a 2", "c 1", "b 1", "a 1"]
    assert names(found) == whole
    assert (found["total"], found["older"], found["damaged"]) == (10, None, [])
    assert found["records"][2]["text"] == "deleted the collection"
    assert found["records"][2]["message"] == "no longer needed"
    assert found["records"] == sorted(found["records"], key=lambda each: each["time"], reverse=True)
    turned: list[str] = []
    past = ""
    for _ in range(4):
        part = three.get("log", limit=3, past=past)
        turned += names(part)
        past = part["older"]
    assert turned == whole
    assert past is None


def test_it_begins_where_one_wants(three: Client) -> None:
    times = {name: each["time"] for each in three.get("log")["records"] for name in names({"records": [each]})}
    assert names(three.get("log", until=times["b 2"])) == ["a 2", "c 1", "b 1", "a 1"]
    assert names(three.get("log", until=times["b 2"], past="c/1")) == ["b 1", "a 1"]
    assert names(three.get("log", until=times["a 3"]))[0] == "b 2"
    assert names(three.get("log", until="2026-01-01")) == []
    assert len(names(three.get("log", until=format_time_ns(BEGIN + 3600 * 10**9)))) == 10
    for wrong in ({"until": "yesterday"}, {"past": "a"}, {"past": "../a/1"}, {"past": "a/0"}, {"past": "a/x"}):
        assert three.get("log", status=400, **wrong)["error"]["message"]
    assert three.get("log", status=404, past="a/99")["error"]["kind"] == "NotFoundError"


def test_nothing_is_read_but_what_is_shown(three: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    log, read = three.context.repository.log, []
    real = log.iter_records
    monkeypatch.setattr(log, "iter_records", lambda name, start: read.append((name, start)) or real(name, start))
    assert names(three.get("log", limit=2)) == ["a 3", "b 3"]
    assert len(read) <= 4


def test_a_damaged_record_ends_only_its_own_log(three: Client) -> None:
    (record,) = (three.folder / "repository" / "collections" / "b" / "log").glob("*2")
    record.chmod(0o644)
    record.write_bytes(b"nonsense")
    found = three.get("log")
    assert found["damaged"] == ["b"]
    assert names(found)[-2:] == ["c 1", "a 1"]
    assert "b 1" not in names(found)


def test_a_deleted_collection_has_a_history(three: Client) -> None:
    assert [each["seq"] for each in three.get("collections/c/log")["records"]] == [4, 3, 2, 1]
    assert three.get("growth", collection="c") == {"schema": 1, "points": [], "left": 0}
    assert three.get("collections/d/log", status=404)["error"]["kind"] == "CollectionNotFoundError"
