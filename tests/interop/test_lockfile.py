"""Lock files: the text, what is refused, and that `get`, the SDK and fsspec give what was locked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import fsspec
import pytest

import artifactfs
from artifactfs.errors import (
    ArtifactFSError,
    ConfigurationError,
    DigestMismatchError,
    MalformedError,
    NewerFormatError,
    NotFoundError,
    VersionNotFoundError,
)
from artifactfs.interop.lockfile import Lock, LockedArtifact, format_lock, parse_lock
from tests.cli.support import Cli

DIGEST = "sha256:" + "a1" * 32
LOCK = Lock("0123456789abcdef0123456789abcdef", (LockedArtifact('a:ä"x', "a:v7", DIGEST, DIGEST, 3, 2**40),))
TEXT = """\
# The versions that a job reads. Written by `artifactfs lock`; `artifactfs lock --update FILE` takes what the names
# mean then. Used with --lock FILE by get, mount and run: they give exactly these versions, or fail.

format = 1
repository = "0123456789abcdef0123456789abcdef"

[[artifact]]
ref = "a:ä\\"x"
version = "a:v7"
digest = "sha256:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
content = "sha256:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
files = 3
size = 1099511627776
"""


@pytest.fixture
def locked(animals: Cli, work: Path) -> Cli:
    """Return the command line; `artifactfs.lock` has `animals:latest`, and `latest` has moved on since."""
    animals("lock", "animals", "animals:v0", "animals:latest", "-o", "artifactfs.lock")
    (work / "images" / "cat.txt").write_text("third\n")
    animals("put", "animals", "images/")
    return animals


def test_text_is_as_it_is_written_down() -> None:
    assert format_lock(LOCK) == TEXT
    assert parse_lock(TEXT) == LOCK


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", MalformedError),
        ("no toml", MalformedError),
        (TEXT.replace("format = 1", "format = 2"), NewerFormatError),
        (TEXT.replace("files = 3", 'files = "3"'), MalformedError),
        (TEXT.replace("files = 3\n", ""), MalformedError),
        (TEXT.replace('"a:v7"', '"b:v7"'), MalformedError),
        (TEXT.replace('"a:v7"', '"a:best"'), MalformedError),
        (TEXT.replace('"a:v7"', '"a:v7/.."'), MalformedError),
        (TEXT.replace('"a:v7"', '".:v7"'), MalformedError),
        (TEXT + "\nmore = 1\n", MalformedError),
    ],
)
def test_what_is_no_lock_file_is_refused(text: str, error: type[ArtifactFSError]) -> None:
    with pytest.raises(error):
        parse_lock(text)


def test_lock_is_the_same_for_the_same_versions(animals: Cli) -> None:
    first = animals("lock", "animals:best", "animals").stdout
    assert first == animals("lock", "animals:latest", "animals:best", "animals:best").stdout
    fields = tomllib.loads(first)
    assert [(each["ref"], each["version"]) for each in fields["artifact"]] == [
        ("animals:best", "animals:v1"),
        ("animals:latest", "animals:v1"),
    ]
    assert fields["artifact"][0]["digest"] == animals.json("show", "animals")["digest"]
    animals("lock", code=2)
    animals("lock", "animals/images", code=2)
    animals("lock", "animals:nothing", code=12)


def test_get_gives_what_was_locked(locked: Cli, work: Path) -> None:
    locked("get", "--lock", "artifactfs.lock", "animals", "one")
    assert (work / "one" / "cat.txt").read_text() == "cat, longer\n"
    locked("get", "--lock", "artifactfs.lock", "animals/sub", "two")
    assert [path.name for path in (work / "two").iterdir()] == ["dog.txt"]
    locked("get", "--lock", "artifactfs.lock")
    assert (work / "artifacts" / "animals:v0" / "cat.txt").read_text() == "cat\n"
    assert (work / "artifacts" / "animals:v1" / "cat.txt").read_text() == "cat, longer\n"
    locked("get", "--lock", "artifactfs.lock", "animals:best", "three", code=13)
    locked("get", "--lock", "artifactfs.lock", "animals:v2", "three", code=13)
    locked("get", "--lock", "missing.lock", code=ConfigurationError.exit_code)
    locked("get", code=2)
    assert not (work / "three").exists()


def test_lock_that_cannot_be_kept_is_an_error(locked: Cli, work: Path, tmp_path: Path) -> None:
    text = (work / "artifactfs.lock").read_text()
    locked("lock", "--check", "artifactfs.lock")
    locked("--repo", str(tmp_path / "other"), "put", "animals", "images/")
    locked("--repo", str(tmp_path / "other"), "lock", "--check", "artifactfs.lock", code=ConfigurationError.exit_code)
    digest = tomllib.loads(text)["artifact"][0]["digest"]
    (work / "changed.lock").write_text(text.replace(digest, "sha256:" + "0" * 64))
    locked("get", "--lock", "changed.lock", "animals:v0", code=DigestMismatchError.exit_code)
    locked("rm", "animals:v0", "--yes")
    locked("lock", "--check", "artifactfs.lock", code=VersionNotFoundError.exit_code)
    locked("get", "--lock", "artifactfs.lock", code=VersionNotFoundError.exit_code)
    assert not (work / "artifacts").exists()


def test_update_takes_what_names_mean_now(locked: Cli, work: Path) -> None:
    before = tomllib.loads((work / "artifactfs.lock").read_text())
    locked("lock", "--update", "artifactfs.lock", "animals:best")
    after = tomllib.loads((work / "artifactfs.lock").read_text())
    assert [each["ref"] for each in before["artifact"]] == ["animals:latest", "animals:v0"]
    assert [(each["ref"], each["version"]) for each in after["artifact"]] == [
        ("animals:best", "animals:v1"),
        ("animals:latest", "animals:v2"),
        ("animals:v0", "animals:v0"),
    ]
    locked("lock", "--update", "artifactfs.lock", "--check", "artifactfs.lock", code=2)
    assert len(locked.json("lock", "--check", "artifactfs.lock")["artifacts"]) == 3


def test_python_gives_what_was_locked(locked: Cli, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_LOCK", str(work / "artifactfs.lock"))
    fs = fsspec.filesystem("artifact", skip_instance_cache=True)
    assert fs.cat("animals/cat.txt") == fs.cat("animals:v1/cat.txt") == b"cat, longer\n"
    with pytest.raises(FileNotFoundError, match="lock"):
        fs.cat("animals:v2/cat.txt")
    with artifactfs.Api() as api:
        assert api.artifact("animals").name == "animals:v1"
        with pytest.raises(NotFoundError, match="lock"):
            api.artifact("animals:best")
    assert locked("get", "animals:latest", "locked").exit_code == 0
    assert (work / "locked" / "cat.txt").read_text() == "cat, longer\n"
