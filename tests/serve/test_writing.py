"""What may be changed with `--write`."""

from __future__ import annotations

import os
from pathlib import Path

from artifactfs.repository.staging import StagingArea
from tests.serve.support import Client


def upper(client: Client) -> Path:
    """Return the upper directory of `animals:@staging`."""
    return Path(os.fsdecode(StagingArea(client.context.repository).get("animals").upper))


def test_aliases_move_and_go(writable: Client) -> None:
    moved = writable.send("POST", "aliases/set", {"ref": "animals:v2", "aliases": ["best", "gold"]})
    assert moved["aliases"] == {"best": "v2", "gold": "v2", "latest": "v2"}
    gone = writable.send("POST", "aliases/remove", {"collection": "animals", "aliases": ["gold"]})
    assert "gold" not in gone["aliases"]
    assert writable.send("POST", "aliases/remove", {"collection": "animals", "aliases": ["gold"]}, 404)["error"]
    assert writable.send("POST", "aliases/set", {"ref": "animals:v2", "aliases": ["v7"]}, 400)["error"]
    assert writable.send("POST", "aliases/set", {"ref": "animals:v2/x", "aliases": ["x"]}, 400)["error"]


def test_a_version_is_edited_and_what_is_not_named_stays(writable: Client) -> None:
    found = writable.send(
        "PATCH", "versions/animals:v1", {"tag": ["good", "raw"], "metadata": {"n": 1}, "unset": ["who"]}
    )["version"]
    assert (found["tags"], found["metadata"]) == (["good", "raw"], {"accuracy": 0.9, "n": 1})
    found = writable.send("PATCH", "versions/animals:v1", {"description": "better", "untag": ["raw"]})["version"]
    assert (found["description"], found["tags"], found["metadata"]["n"]) == ("better", ["good"], 1)
    assert writable.send("PATCH", "versions/animals:v1", {}, 400)["error"]["kind"] == "UsageError"


def test_a_staging_directory_is_committed(writable: Client) -> None:
    (upper(writable) / "new.txt").write_text("new\n")
    assert writable.get("staging/animals")["counts"] == {"added": 1}
    done = writable.send("POST", "staging/animals:@staging/commit", {"message": "from the page", "tags": ["t"]})
    assert (done["version"]["ref"], done["version"]["message"], done["is_new"]) == ("animals:v3", "from the page", True)
    assert writable.get("entry", ref="animals:v3", path="new.txt")["entry"]["size"] == 4
    assert writable.get("staging/animals")["total"] == 0
    again = writable.send("POST", "staging/animals/commit", {"if_changed": True, "close": True})
    assert (again["is_new"], writable.get("staging")["staging"]) == (False, [])


def test_no_more_is_discarded_than_was_seen(writable: Client) -> None:
    (upper(writable) / "new.txt").write_text("new\n")
    refused = writable.send("POST", "staging/animals/discard", {"changes": 0}, 409)
    assert (refused["error"]["kind"], len(writable.get("staging")["staging"])) == ("ConflictError", 1)
    assert writable.send("POST", "staging/animals/discard", {"changes": 1})["discarded"] == "animals:@staging"
    assert writable.get("staging")["staging"] == []
