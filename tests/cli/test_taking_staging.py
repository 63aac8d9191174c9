"""`artifactfs reference add NAME artifact://...`: entries of versions in staging directories, with both drivers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.support import run
from tests.cli.test_mounted import mounted, text
from tests.cli.test_reference_staging import fails, odd, staging
from tests.reference.odd_server import Odd

__all__ = ["mounted", "odd", "staging"]

pytestmark = pytest.mark.mounted
TAKEN, USAGE, NO_ENTRY, GONE = 14, 2, 13, 31


@pytest.fixture
def plants(tmp_path: Path, staging: Path) -> bytes:
    """Put `plants:v0`, and return what its large file holds."""
    top = tmp_path / "plants"
    (top / "trees" / "empty").mkdir(parents=True)
    (top / "trees" / "oak").write_text("oak")
    (top / "trees" / "oak").chmod(0o755)
    (top / "trees" / "link").symlink_to("oak")
    data = os.urandom(5 << 20)
    (top / "large").write_bytes(data)
    text("put", "plants", f"{top}/", "--alias", "best")
    shutil.rmtree(top)
    return data


def test_entries_are_added_seen_committed_and_survive_their_source(
    staging: Path, plants: bytes, mounted: Path, tmp_path: Path
) -> None:
    assert text("reference", "add", "animals", "artifact://plants:best/trees") == "trees/link\ntrees/oak\n"
    assert text("reference", "add", "animals", "artifact://plants/large", "--as", "new/big") == "new/big\n"
    assert os.readlink(staging / "trees" / "oak").endswith(":artifact://plants:v0/trees/oak")
    assert (staging / "trees" / "empty").is_dir()
    assert {"A  new/big", "A  trees/oak"} <= set(text("status", "animals").splitlines())
    assert text("cat", "animals:@staging/trees/oak") == "oak"
    name = text("commit", "animals").split()[0]
    assert json.loads(text("show", name, "--json"))["inputs"] == ["plants:v0"]
    text("rm", "--collection", "plants", "--yes")
    text("prune", "--yes")
    text("get", name, str(tmp_path / "out"))
    assert (tmp_path / "out" / "new" / "big").read_bytes() == plants
    assert os.access(tmp_path / "out" / "trees" / "oak", os.X_OK)
    assert os.readlink(tmp_path / "out" / "trees" / "link") == "oak"
    version = mounted / "animals" / name.rpartition(":")[2]
    assert (version / "trees" / "oak").read_bytes() == b"oak"


def test_they_are_removed_and_replaced(staging: Path, plants: bytes) -> None:
    text("reference", "add", "animals", "artifact://plants/trees/oak")
    fails(TAKEN, "reference", "add", "animals", "artifact://plants/large", "--as", "oak")
    text("reference", "add", "animals", "artifact://plants/large", "--as", "oak", "--replace")
    text("reference", "rm", "animals", "oak")
    assert text("status", "animals") == ""
    assert "trees" in fails(NO_ENTRY, "reference", "add", "animals", "artifact://plants/tree")
    fails(USAGE, "reference", "add", "animals", "artifact://animals:@staging/cat.txt")
    assert text("status", "animals") == ""


def test_what_is_pruned_before_the_commit_is_said(staging: Path, plants: bytes) -> None:
    text("reference", "add", "animals", "artifact://plants/large")
    text("rm", "--collection", "plants", "--yes")
    text("prune", "--yes")
    assert "taken from another version" in fails(GONE, "commit", "animals")
    (staging / "large").unlink()
    (staging / "other").write_text("other")
    text("commit", "animals")


def test_references_are_known_to_older_releases_by_the_format(staging: Path, odd: Odd) -> None:
    text("reference", "add", "animals", f"{odd.url}/data/cat.png")
    text("commit", "animals")
    numbered = Path(os.environ["ARTIFACTFS_REPO"], "format").iterdir()
    assert any('"references"' in path.read_text() for path in numbered)


def test_entries_that_are_references_stay_such(staging: Path, odd: Odd) -> None:
    text("put", "plants", f"{odd.url}/data/cat.png")
    text("reference", "add", "animals", "artifact://plants/cat.png", "--as", "kitten.png")
    assert "etag" in text("reference", "ls", "animals:@staging")
    name = text("commit", "animals").split()[0]
    assert run("cat", f"{name}/kitten.png").stdout == b"meow" * 1000
