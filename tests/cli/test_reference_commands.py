"""References by the command line: put, looked at, read, verified; and what is followed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.credentials import find_followed
from artifactfs.reference.asking import FAILURES
from artifactfs.repository.verify import ASKED_AT_ONCE
from artifactfs.settings import Settings
from tests.cli.support import Cli
from tests.reference.odd_server import Odd, running_odd_server

CHANGED, DENIED, USAGE, MISMATCH = 34, 42, 2, 30


@pytest.fixture
def odd() -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files["/data/cat.png"] = b"meow" * 1000
        yield server


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets `follow_references`."""

    def write(*prefixes: str) -> None:
        config = tmp_path / "config.toml"
        config.write_text(f"follow_references = {json.dumps(prefixes)}\n")
        monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))

    return write


@pytest.fixture
def put(cli: Cli, odd: Odd, work: Path, follow) -> Cli:
    """Return the command line with `animals:v0`: a file, a reference to a URL and references to local files."""
    follow(odd.url, f"file://{work}")
    cli("put", "animals", "images", f"{odd.url}/data/cat.png", f"file://{work}/images/sub", "--exclude", "link")
    return cli


def test_references_lie_beside_files_and_are_read(put: Cli, odd: Odd, work: Path) -> None:
    listed = {item["path"]: item for item in put.json("ls", "-R", "animals:v0")["entries"]}
    assert sorted(listed) == [
        "cat.png",
        "images",
        "images/cat.txt",
        "images/sub",
        "images/sub/dog.txt",
        "sub",
        "sub/dog.txt",
    ]
    assert listed["cat.png"]["kind"] == "reference"
    assert listed["cat.png"]["validator"] == {"kind": "etag", "value": '"one"'}
    assert listed["sub/dog.txt"]["digest"] == listed["images/sub/dog.txt"]["digest"]
    assert put("cat", "animals:v0/cat.png").stdout == "meow" * 1000
    put("get", "animals:v0", "out")
    assert (work / "out/cat.png").read_bytes() == odd.files["/data/cat.png"]
    assert (work / "out/sub/dog.txt").read_text() == "dog\n"
    verified = put("verify", "animals:v0")
    assert (verified.stdout, verified.stderr) == ("", "animals:v0 is as it was stored\n")
    assert put.json("verify", "animals:v0")["unverified"] == []
    assert put.json("show", "animals:v0")["unverified"] == 0
    assert "unverified" not in put("show", "animals:v0").stdout
    assert put("verify", "animals:v0", "out").stdout == "cat.png is unverified: only its size could be compared\n"
    (work / "out/sub/dog.txt").write_text("DOG\n")
    (work / "out/cat.png").write_text("me")
    problems = put.json("verify", "animals:v0", "out", code=MISMATCH)["problems"]
    assert [(item["path"], item["problem"]) for item in problems] == [
        ("cat.png", "has 2 bytes, not 4000"),
        ("sub/dog.txt", "has other content"),
    ]


def test_a_local_directory_is_taken_as_put_takes_it(cli: Cli, work: Path, follow) -> None:
    follow(f"file://{work}")
    (work / "images" / "sub" / "other").symlink_to("dog.txt")
    os.mkfifo(work / "images" / "sub" / "fifo")
    said = cli("put", "animals", f"file://{work}/images/sub", code=USAGE).stderr
    assert "cannot store sub/fifo (FIFO)" in said
    assert "--skip-special" in said
    said = cli("put", "animals", f"file://{work}/images/sub", "--skip-special").stderr
    assert "left out sub/fifo" in said
    assert "left out" not in cli("put", "plants", f"file://{work}/images/sub", "--exclude", "fifo").stderr
    listed = {item["path"]: item["kind"] for item in cli.json("ls", "-R", "animals:v0")["entries"]}
    assert listed == {"sub": "directory", "sub/dog.txt": "reference", "sub/other": "symlink"}
    cli("get", "animals:v0", "out")
    assert (work / "out/sub/other").read_text() == "dog\n"


def test_only_what_is_referred_to_is_stored_nowhere(put: Cli, tmp_path: Path) -> None:
    stored = b"".join(path.read_bytes() for path in (tmp_path / "repository").rglob("*") if path.is_file())
    assert b"meow" not in stored
    assert b"references" in b"".join(path.read_bytes() for path in (tmp_path / "repository/format").iterdir())


def test_a_version_without_references_needs_no_feature(animals: Cli, tmp_path: Path) -> None:
    texts = [path.read_text() for path in (tmp_path / "repository/format").iterdir()]
    assert not any("references" in text for text in texts)


def test_what_changed_is_not_read_and_verify_lists_it(put: Cli, odd: Odd, work: Path) -> None:
    odd.etags["/data/cat.png"] = '"two"'
    (work / "images/sub/dog.txt").write_text("DOG\n")
    said = put("cat", "animals:v0/cat.png", code=CHANGED).stderr
    assert 'etag "one"' in said
    assert 'etag "two"' in said
    put("get", "animals:v0", "out", code=CHANGED)
    assert not (work / "out/cat.png").exists()
    problems = put.json("verify", "animals:v0", code=MISMATCH)["problems"]
    assert [problem["path"] for problem in problems] == ["cat.png", "sub/dog.txt"]
    del odd.files["/data/cat.png"]
    assert "there is nothing" in put("verify", "animals:v0", code=MISMATCH).stdout


def test_verify_gives_up_on_a_host_that_does_not_answer(cli: Cli, odd: Odd, follow, monkeypatch) -> None:
    count = 3 * ASKED_AT_ONCE
    follow(odd.url)
    odd.files |= {f"/data/{number:02}": b"x" for number in range(count)}
    cli("put", "animals", *(f"{odd.url}/data/{number:02}" for number in range(count)))
    odd.takes_no_head = True
    odd.faults = {f"/data/{number:02}": ["503"] * 1000 for number in range(count)}
    monkeypatch.setenv("ARTIFACTFS_DEADLINE_SECONDS", "0.1")
    odd.requests.clear()
    said = cli("verify", "animals", code=40).stdout.splitlines()
    assert len(said) == count
    # Those that were asked at the same time as the first three, and what was begun before the third had failed.
    asked = ["was not asked" not in line for line in said]
    assert FAILURES <= sum(asked) < ASKED_AT_ONCE + FAILURES
    assert not any(asked[2 * ASKED_AT_ONCE :])
    assert len({path for _, path in odd.requests}) <= sum(asked)


@pytest.mark.parametrize(
    ("kind", "compared"), [("modified", "size and time"), ("weak-etag", "size and weak ETag"), ("none", "size")]
)
def test_unverified_references_are_marked_everywhere(cli: Cli, odd: Odd, follow, kind: str, compared: str) -> None:
    follow(odd.url)
    odd.etags["/data/cat.png"] = 'W/"weak"' if kind == "weak-etag" else ""
    odd.sends_dates = kind == "modified"
    assert "1 reference is unverified" in cli("put", "animals", f"{odd.url}/data/cat.png").stderr
    assert cli.json("put", "more", f"{odd.url}/data/cat.png", "--no-checksum")["unverified"] == 1
    assert "1 reference is unverified" in cli("drafts", "add", "all", "job", f"{odd.url}/data/cat.png").stderr
    assert "(unverified)" in cli("ls", "-l", "animals:v0").stdout
    shown = cli.json("show", "animals:v0/cat.png")
    assert (shown["unverified"], shown["validator"]["kind"]) == (True, kind)
    assert "unverified:" in cli("show", "animals:v0/cat.png").stdout
    assert cli.json("show", "animals")["unverified"] == 1
    assert "unverified:      1 reference\n" in cli("show", "animals:v0").stdout
    assert "(unverified)" in cli("reference", "ls", "animals:v0").stdout
    assert cli("cat", "animals:v0/cat.png").stdout == "meow" * 1000
    done = cli("verify", "animals:v0")
    assert done.stdout == f"cat.png is unverified: only its {compared} could be compared\n"
    assert done.stderr == "animals:v0 is as it was stored, as far as can be told: 1 reference is unverified\n"
    found = cli.json("verify", "animals:v0")
    assert (found["ok"], [item["path"] for item in found["unverified"]]) == (True, ["cat.png"])


def test_what_its_owner_does_not_follow_is_neither_added_nor_read(put: Cli, odd: Odd, work: Path, follow) -> None:
    follow("s3://bucket")
    odd.requests.clear()
    for path in ("animals:v0/cat.png", "animals:v0/sub/dog.txt"):
        assert "follow_references" in put("cat", path, code=DENIED).stderr
    problems = put.json("verify", "animals:v0", code=DENIED)["problems"]
    assert [(item["path"], item["unknown"]) for item in problems] == [("cat.png", True), ("sub/dog.txt", True)]
    assert "2 paths of animals:v0 could not be verified" in put("verify", "animals:v0", code=DENIED).stderr
    put("put", "other", f"file://{work}/images", code=DENIED)
    put("put", "other", f"{odd.url}/data/cat.png", code=DENIED)
    assert odd.requests == []


def test_local_files_and_private_addresses_are_not_followed_by_default(cli: Cli, odd: Odd, work: Path) -> None:
    assert "follow_references" in cli("put", "animals", f"file://{work}/images", code=DENIED).stderr
    assert "not public" in cli("put", "animals", f"{odd.url}/data/cat.png", code=DENIED).stderr


def test_signed_urls_are_refused_unless_allowed_and_never_printed(cli: Cli, odd: Odd, follow) -> None:
    follow(odd.url)
    url = f"{odd.url}/data/cat.png?X-Amz-Signature=topsecret"
    outputs = [cli("put", "animals", url, code=USAGE)]
    outputs.append(cli("put", "animals", url, "--allow-signed"))
    outputs += [
        cli(*command, "animals:v0/cat.png") for command in (["ls", "-l"], ["show"], ["show", "--json"], ["cat"])
    ]
    outputs += [cli("ls", "-lR", "animals:v0"), cli("ls", "-R", "animals:v0", "--json"), cli("log", "animals")]
    odd.etags["/data/cat.png"] = '"two"'
    cli("cache", "clean")
    outputs += [cli("cat", "animals:v0/cat.png", code=CHANGED), cli("verify", "animals:v0", code=MISMATCH)]
    assert [output for output in outputs if "topsecret" in output.stdout + output.stderr] == []
    assert "[redacted]" in outputs[-1].stdout


@pytest.mark.parametrize("value", ['"s3://bucket"', '["bucket"]', '["ftp://host"]', '["https://a:b@host"]'])
def test_a_prefix_that_cannot_be_one_is_said(cli: Cli, odd: Odd, tmp_path: Path, value: str, monkeypatch) -> None:
    (tmp_path / "config.toml").write_text(f"follow_references = {value}\n")
    monkeypatch.setenv("ARTIFACTFS_CONFIG", str(tmp_path / "config.toml"))
    assert "follow_references" in cli("put", "animals", f"{odd.url}/data/cat.png", code=4).stderr


def test_a_name_that_is_taken_and_too_many_objects_make_no_version(put: Cli, odd: Odd, work: Path) -> None:
    (work / "cat.png").write_text("local")
    put("put", "animals", "cat.png", f"{odd.url}/data/cat.png", code=14)
    assert "--max-objects" in put("put", "animals", f"file://{work}/images", "--max-objects", "1", code=USAGE).stderr
    assert [item["version"] for item in put.json("ls", "animals")["versions"]] == ["v0"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ftp://host/a", "use s3://, gs://, az://, http://, https://, file://"),
        ("s3:/bucket/a", "write s3://bucket/a"),
        ("https:host/a", "write https://host/a"),
        ("artifact:/animals", "write artifact://animals"),
    ],
)
def test_what_is_nearly_a_uri_is_said(cli: Cli, work: Path, text: str, hint: str) -> None:
    assert hint in cli("put", "animals", text, code=USAGE).stderr
    (work / text).mkdir(parents=True)
    cli("put", "animals", text)


@pytest.mark.parametrize("command", [["ls"], ["copy", "animals", "s3:/bucket/a"], ["clone", "s3:/bucket/a", "there"]])
def test_a_repository_at_nearly_a_url_is_not_made(animals: Cli, monkeypatch, command: list[str]) -> None:
    if command == ["ls"]:
        monkeypatch.setenv("ARTIFACTFS_REPO", "s3:/bucket/a")
    assert "write s3://bucket/a" in animals(*command, code=4).stderr


def test_a_staging_directory_over_references_keeps_them(put: Cli, odd: Odd) -> None:
    put("stage", "animals")
    assert put("cat", "animals:@staging/cat.png").stdout == "meow" * 1000
    odd.requests.clear()
    put("commit", "animals", "-m", "nothing new")
    assert odd.requests == []
    old, new = (put.json("show", f"animals:v{number}/cat.png") for number in (0, 1))
    assert old["validator"] == new["validator"]
    assert put.json("diff", "animals:v0", "animals:v1")["changes"] == []


@pytest.mark.mounted
def test_a_mount_reads_what_its_owner_follows(put: Cli, odd: Odd, tmp_path: Path, follow) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    follow(odd.url)
    put("mount", str(folder))
    try:
        assert (folder / "animals/v0/cat.png").read_bytes() == odd.files["/data/cat.png"]
        with pytest.raises(PermissionError):
            (folder / "animals/v0/sub/dog.txt").read_bytes()
    finally:
        put("umount", str(folder))


def test_a_server_for_others_follows_nothing_that_the_file_does_not_list() -> None:
    assert find_followed(Settings(), for_others=True) == ()
    assert "s3://" in find_followed(Settings())
    assert find_followed(Settings(follow_references=("s3://lake",)), for_others=True) == ("s3://lake",)
