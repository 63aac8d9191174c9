"""`artifact://`: entries of versions are taken over, and stay when these are deleted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.support import Cli
from tests.cli.test_reference_commands import follow

__all__ = ["follow"]

USAGE, NO_COLLECTION, NO_VERSION, NO_ALIAS, NO_ENTRY, TAKEN, GONE = 2, 10, 11, 12, 13, 14, 31


@pytest.fixture(params=[None, 0], ids=["packed", "loose"])
def animals(
    request: pytest.FixtureRequest, cli: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """The command line with `animals:v0`: small and large files, a link, an empty directory, odd bits."""
    if request.param is not None:
        config = tmp_path / "config.toml"
        config.write_text(f"packed_below = {request.param}\n")
        monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))
    (work / "images" / "empty").mkdir()
    (work / "images" / "sub").chmod(0o700)
    (work / "images" / "sub" / "run").write_bytes(os.urandom(5 << 20))
    (work / "images" / "sub" / "run").chmod(0o755)
    cli("put", "animals", "images", "--alias", "best")
    return cli


def listed(cli: Cli, ref: str) -> dict[str, tuple[str, object, object]]:
    found = cli.json("ls", "-R", ref if ":" in ref else f"{ref}/")["entries"]
    return {item["path"]: (item["kind"], item.get("digest"), item["mode"]) for item in found}


def test_a_directory_is_taken_as_it_is_and_survives_its_source(animals: Cli, work: Path, tmp_path: Path) -> None:
    before = listed(animals, "animals:v0")
    size = (work / "images" / "sub" / "run").read_bytes()
    animals("put", "zoo", "artifact://animals:v0/images")
    assert listed(animals, "zoo:v0") == before
    assert animals.json("show", "zoo:v0")["inputs"] == ["animals:v0"]
    shutil.rmtree(work / "images")
    animals("rm", "--collection", "animals", "--yes")
    animals("prune", "--yes")
    assert animals("cat", "zoo/images/cat.txt").stdout == "cat\n"
    animals("check", "--read-data")
    animals("get", "zoo", str(tmp_path / "out"))
    assert (tmp_path / "out" / "images" / "sub" / "run").read_bytes() == size
    assert (tmp_path / "out" / "images" / "empty").is_dir()


def test_nothing_is_read_or_stored_but_directories(animals: Cli, tmp_path: Path) -> None:
    def content() -> dict[Path, int]:
        top = tmp_path / "repository"
        return {path: path.stat().st_atime_ns for name in ("blobs", "packs") for path in top.glob(f"{name}/*/*")}

    before = content()
    animals("put", "zoo", "artifact://animals:best/images/")
    assert content() == before


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("artifact://animals:v0/images/cat.txt", ["cat.txt"]),
        ("artifact://animals/images/sub", ["sub", "sub/dog.txt", "sub/run"]),
        ("artifact://animals:best/images/sub/", ["dog.txt", "run"]),
        ("artifact://animals:v0/images/link", ["link"]),
        ("ARTIFACT://animals:v0", ["images"]),
    ],
)
def test_names_are_kept_as_of_local_paths(animals: Cli, uri: str, expected: list[str]) -> None:
    animals("put", "zoo", uri)
    found = [path for path in listed(animals, "zoo") if not path.startswith("images/")]
    assert found == expected


def test_it_lies_beside_local_files_and_others(animals: Cli, work: Path) -> None:
    (work / "more").mkdir()
    (work / "more" / "b.txt").write_text("b")
    animals("put", "plants", "more/")
    animals("put", "zoo", "artifact://animals:v0/images/", "artifact://plants/", "more")
    assert {"b.txt", "cat.txt", "more/b.txt", "sub/dog.txt"} <= set(listed(animals, "zoo"))
    assert animals.json("show", "zoo")["inputs"] == ["animals:v0", "plants:v0"]
    for twice in (["artifact://plants:v0/b.txt", "more/b.txt"], ["artifact://animals/images", "images"]):
        assert "twice" in animals("put", "zoo", *twice, code=TAKEN).stderr


def test_references_are_taken_as_such(cli: Cli, work: Path, follow) -> None:
    follow(f"file://{work}")
    cli("put", "animals", f"file://{work}/images/cat.txt")
    cli("put", "zoo", "artifact://animals/cat.txt")
    assert listed(cli, "zoo") == listed(cli, "animals")
    assert json.dumps(cli.json("ls", "zoo/")["entries"]).count("file://") == 1


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("artifact://animal:v0/images", NO_COLLECTION, "animals"),
        ("artifact://animals:v7/images", NO_VERSION, "v0"),
        ("artifact://animals:bets", NO_ALIAS, "best"),
        ("artifact://animals:v0/images/cta.txt", NO_ENTRY, "cat.txt"),
        ("artifact://animals:@staging/images", USAGE, "staging"),
        ("artifact://animals/images/cat.txt/", USAGE, "not a directory"),
        ("artifact:///mnt/repository/animals", USAGE, "artifactfs copy"),
        ("artifact://s3://bucket/prefix", USAGE, "artifactfs copy"),
    ],
)
def test_what_cannot_be_taken_is_said(animals: Cli, uri: str, code: int, said: str) -> None:
    assert said in animals("put", "zoo", uri, code=code).stderr
    assert "zoo" not in animals("ls").stdout


def test_more_than_max_objects_is_an_error(animals: Cli) -> None:
    said = animals("put", "zoo", "artifact://animals:v0/images", "--max-objects", "3", code=USAGE).stderr
    assert "more than 3" in said
    animals("put", "zoo", "artifact://animals:v0/images", "--max-objects", "4")


def test_patterns_leave_out_of_it(animals: Cli) -> None:
    animals("put", "zoo", "artifact://animals:v0/images", "--exclude", "sub")
    assert "images/sub" not in listed(animals, "zoo")


def test_it_is_found_without_the_index(animals: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_STATE", str(tmp_path / "new-state"))
    config = tmp_path / "other.toml"
    config.write_text("packed_below = 0\n")  # which does not look what packs hold
    monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))
    animals("put", "zoo", "artifact://animals:v0/images")
    assert animals("cat", "zoo/images/sub/dog.txt").stdout == "dog\n"


def test_lost_content_is_said(animals: Cli, tmp_path: Path) -> None:
    for name in ("blobs", "packs"):
        shutil.rmtree(tmp_path / "repository" / name, ignore_errors=True)
    assert "was taken from another version" in animals("put", "zoo", "artifact://animals/images", code=GONE).stderr
