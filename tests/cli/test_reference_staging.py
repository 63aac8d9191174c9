"""`artifactfs reference`: references are added to a staging directory, moved, removed and committed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount.overlay.mounting import may_overlay
from tests.cli.support import run
from tests.cli.test_mounted import mounted, text
from tests.mount.conftest import errno_of
from tests.reference.odd_server import Odd, running_odd_server

__all__ = ["mounted"]

pytestmark = pytest.mark.mounted
TAKEN, USAGE, MISSING = 14, 2, 13


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    """Return a server whose references are followed, by mounts as well."""
    with running_odd_server() as server:
        server.files["/data/cat.png"] = b"meow" * 1000
        config = tmp_path / "config.toml"
        config.write_text(f"follow_references = {json.dumps([server.url, f'file://{tmp_path}/data'])}\n")
        monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))
        yield server


@pytest.fixture(params=["overlay", "union"])
def staging(request: pytest.FixtureRequest, odd: Odd, mounted: Path) -> Path:
    if request.param == "overlay" and not may_overlay():
        pytest.skip("the overlay driver needs CAP_SYS_ADMIN in the initial user namespace")
    return Path(text("stage", "animals", "--driver", request.param).strip())


def fails(code: int, *arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    return done.stderr.decode()


def test_adding_says_what_is_unverified(staging: Path, odd: Odd) -> None:
    done = run("reference", "add", "animals", f"{odd.url}/data/cat.png", "--no-checksum")
    assert done.returncode == 0, done.stderr
    assert b"1 reference is unverified" in done.stderr
    assert "(unverified)" in text("ls", "-l", "animals:@staging/cat.png")
    assert "unverified:      1 reference\n" in text("show", "animals:@staging")
    done = run("commit", "animals")
    assert done.returncode == 0, done.stderr
    assert b"1 reference is unverified" in done.stderr


def test_a_reference_is_added_seen_and_committed(staging: Path, odd: Odd, mounted: Path) -> None:
    assert (
        text("reference", "add", "animals", f"{odd.url}/data/cat.png", "--as", "new/kitten.png") == "new/kitten.png\n"
    )
    assert os.readlink(staging / "new" / "kitten.png").endswith("/data/cat.png")
    assert errno_of((staging / "new" / "kitten.png").read_bytes) is not None, "no bytes rather than others"
    assert text("status", "animals") == "A  new/kitten.png\n"
    assert "etag" in text("reference", "ls", "animals:@staging")
    assert text("cat", "animals:@staging/new/kitten.png") == "meow" * 1000
    name = text("commit", "animals").split()[0].rpartition(":")[2]
    assert (mounted / "animals" / name / "new" / "kitten.png").read_bytes() == b"meow" * 1000
    assert text("status", "animals") == ""


def test_links_are_moved_copied_and_removed_as_files_are(staging: Path, odd: Odd) -> None:
    text("reference", "add", "animals", f"{odd.url}/data/cat.png")
    shutil.copy(staging / "cat.png", staging / "copy.png", follow_symlinks=False)
    os.rename(staging / "cat.png", staging / "moved.png")
    found = [line.split()[0] for line in text("reference", "ls", "animals:@staging").splitlines()]
    assert found == ["copy.png", "moved.png"]
    text("reference", "rm", "animals", "copy.png")
    (staging / "moved.png").unlink()
    assert text("reference", "ls", "animals:@staging") == ""
    assert text("status", "animals") == ""


def test_a_prefix_is_one_reference_for_each_object_or_none(staging: Path, mounted: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "set"
    data.mkdir(parents=True)
    for name in ("a", "b", "empty"):
        (data / name).write_text("" if name == "empty" else name)
    assert "more than 2" in fails(USAGE, "reference", "add", "animals", f"file://{data}", "--max-objects", "2")
    assert not (staging / "set").exists()
    assert text("reference", "add", "animals", f"file://{data}") == "set/a\nset/b\nset/empty\n"
    (staging / "set" / "b").unlink()
    (staging / "set" / "b").write_text("a file of its own\n")
    fails(TAKEN, "reference", "add", "animals", f"file://{data}")
    assert (staging / "set" / "b").read_text() == "a file of its own\n"
    text("reference", "add", "animals", f"file://{data}", "--replace")
    assert text("cat", "animals:@staging/set/b") == "b"
    (data / "link").symlink_to("a")
    os.mkfifo(data / "fifo")
    assert "set/fifo (FIFO)" in fails(USAGE, "reference", "add", "animals", f"file://{data}", "--replace")
    (data / "fifo").unlink()
    text("reference", "add", "animals", f"file://{data}", "--replace")
    name = text("commit", "animals").split()[0].rpartition(":")[2]
    assert os.readlink(mounted / "animals" / name / "set" / "link") == "a"


def test_what_is_no_reference_of_this_staging_directory_is_refused(staging: Path, odd: Odd) -> None:
    (staging / "forged").symlink_to("artifactfs-reference:" + "0" * 32 + ":https://elsewhere/")
    assert "forged" in fails(USAGE, "commit", "animals")
    (staging / "forged").unlink()
    fails(USAGE, "reference", "rm", "animals", "cat.txt")
    fails(MISSING, "reference", "rm", "animals", "nothing")
    fails(USAGE, "reference", "add", "animals", "https://user:password@host/x")
    (staging / "away").symlink_to("/tmp")
    fails(TAKEN, "reference", "add", "animals", f"{odd.url}/data/cat.png", "--as", "away/cat.png")
