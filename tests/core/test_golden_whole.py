"""A repository with everything that format 1 knows, written once: each command that reads reads it, for ever.

`golden_whole.py` says what is in it. It never changes; what a later release adds to the format goes into another one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli
from tests.core.golden_archives import START_NS, unpack_archive
from tests.core.golden_whole import (
    ALIASES,
    CHANGED,
    EMPTY_DIRECTORY,
    EXECUTABLE,
    FILES,
    LINK,
    LINK_TARGET,
    MANY,
    PIN,
    REFERENCES,
    RUN_NAME,
    write_files,
)

DIGEST = "sha256:97edabb2bb691e453550aa04f88d3f34f7160e298ec1fc6038694f5bba7c1e5e"
CONTENT = "sha256:c0dda1a75d1637a38fb3215b8ef5dd534db0b585969660658830dd7154421356"
"""Of `animals:v0`."""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command line on a copy of the repository, by somebody who sees it for the first time."""
    monkeypatch.setenv("ARTIFACTFS_REPO", str(unpack_archive("whole", tmp_path)))
    monkeypatch.setenv("ARTIFACTFS_AUTHOR", "tester")
    monkeypatch.chdir(tmp_path)
    return Cli()


def assert_is(folder: Path, files: dict[str, bytes]) -> None:
    """Compare a checked out version with what was put."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {**files, LINK: files[LINK_TARGET]}
    assert (folder / LINK).readlink() == Path(LINK_TARGET)
    assert list((folder / EMPTY_DIRECTORY).iterdir()) == []
    assert [name for name in files if (folder / name).stat().st_mode & 0o100] == [EXECUTABLE]
    assert {path.lstat().st_mtime_ns for path in folder.rglob("*")} == {START_NS}


def test_nothing_is_damaged_or_unknown(cli: Cli) -> None:
    found = cli.json("check", "--read-data")
    assert (found["damage"], found["strays"], found["collections"], found["versions"]) == ([], [], 4, 5)
    for name in ("animals", "far", "often", "plants"):
        cli("log", name, "--verify")
    for ref in ("animals:v0", "animals:v1", "often", "plants"):
        cli("verify", ref)


@pytest.mark.parametrize(("ref", "files"), [("animals:best", FILES), ("animals", CHANGED)])
def test_a_version_is_copied_out_as_it_was_put(cli: Cli, tmp_path: Path, ref: str, files: dict[str, bytes]) -> None:
    cli("get", ref, str(tmp_path / "out"))
    assert_is(tmp_path / "out", files)
    cli("verify", ref, str(tmp_path / "out"))


def test_collections_versions_and_entries_are_listed(cli: Cli) -> None:
    assert cli("ls").stdout.split() == ["animals", "far", "often", "plants"]
    assert [version["ref"] for version in cli.json("ls", "animals")["versions"]] == ["animals:v0", "animals:v1"]
    assert [version["ref"] for version in cli.json("ls", "plants")["versions"]] == ["plants:v1"]
    assert len(cli("ls", "animals/many").stdout.split()) == MANY
    assert len(cli("ls", "-R", "animals:v0").stdout.splitlines()) == len(FILES) + 4
    assert sorted(cli("ls", "-R", "far:v0").stdout.split()) == ["d", *(path.decode() for path in sorted(REFERENCES))]


def test_a_version_is_described_as_it_was_recorded(cli: Cli) -> None:
    found = cli.json("show", "animals:v0")
    assert (found["digest"], found["content_digest"]) == (DIGEST, CONTENT)
    assert (found["type"], found["aliases"], found["tags"]) == ("model", ["best"], ["good", "small"])
    assert (found["message"], found["description"]) == ("the first", "tiny")
    assert found["metadata"] == {"accuracy": 0.5, "nested": {"list": [1, "two", None, True]}}
    assert (found["created"], found["expires"]) == ("2023-11-14T22:13:22.000000Z", "2055-07-24T00:00:00.000000Z")
    edited = cli.json("show", "animals:v1")
    assert (edited["description"], edited["tags"], edited["run"], edited["base"]) == (
        "edited",
        ["late"],
        "r",
        "animals:v0",
    )


def test_one_file_is_printed_and_compared(cli: Cli) -> None:
    assert cli("cat", "animals:v0/many/1499").stdout == "1"
    assert cli("cat", "animals:v1/images/cat.txt").stdout == "cat, longer\n"
    changes = cli.json("diff", "animals:v0", "animals:v1")["changes"]
    assert [(change["change"], change["path"]) for change in changes] == [
        ("modified", "images/cat.txt"),
        ("added", "new"),
    ]
    assert "animals" not in cli("diff", "animals:v0", "animals:v0").stdout
    assert cli("blame", "animals:v1", "new").stdout.startswith("v1 ")
    assert cli("find", "metadata.accuracy > 0.4").stdout.split() == ["animals:v0"]


def test_a_log_says_what_happened(cli: Cli) -> None:
    kinds = [record["change"]["kind"] for record in cli.json("log", "animals")["records"]]
    assert kinds == [
        *["relocate"] * 2,
        *["edit", "remove-aliases", "delete-version", "unpin", "pin", "pin"],
        *["commit"] * 3,
    ]
    assert len(cli.json("log", "often")["records"]) == ALIASES + 2


def test_runs_and_lineage(cli: Cli) -> None:
    [run] = cli.json("runs", "--all")["runs"]
    assert (run["name"], run["state"]) == (RUN_NAME, "finished")
    assert "CPython 3.11.2" in cli("--json", "runs", RUN_NAME).stdout
    assert "images/cat.txt" in cli("runs", RUN_NAME, "--files").stdout
    assert RUN_NAME in cli("lineage", "animals:v1").stdout
    assert "animals:v1" in cli("lineage", "animals:v0", "--down").stdout


def test_what_keeps_versions_and_what_does_not(cli: Cli) -> None:
    [pinned] = cli.json("staging", "--all")["pins"]
    assert (pinned["pin"], pinned["version"]) == (PIN, "animals:v0")
    assert "pinned" in cli("expire", "animals", "--keep-last", "1", "--dry-run").stdout
    assert cli.json("prune", "--dry-run")["garbage"]["objects"] > 0


def test_a_reference_is_not_followed_unasked(cli: Cli, tmp_path: Path) -> None:
    cli("get", "far", str(tmp_path / "out"), code=42)


def test_it_is_written_to(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path / "source", FILES)
    source = f"{tmp_path / 'source'}/"
    cli("alias", "set", "animals:v0", "latest")
    same = cli("put", "animals", source, "--if-changed")
    assert same.stdout.strip() == "animals:v0", "the same files have the same content digest"
    assert cli("put", "copy", source).stdout.strip() == "copy:v0"
    assert cli.json("show", "copy")["digest"] == DIGEST
    cli("rm", "animals:v1", "--yes")
    cli("prune", "--yes")
    assert cli.json("check", "--read-data")["damage"] == []
    cli("get", "animals:v0", str(tmp_path / "out"))
    assert_is(tmp_path / "out", FILES)
    assert cli("put", "plants", source).stdout.strip() == "plants:v2", "numbers are never used again"
