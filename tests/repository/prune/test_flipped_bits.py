"""A flipped bit in any file below a repository's directory is found by check, and never served.

The repository has everything that there is: what lies below its directory is listed, and a file of a kind that is not
named here is an error, as is a kind of which there is none. Of a kind with many files, some are flipped.
"""

from __future__ import annotations

import os
import random
import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from artifactfs.errors import ArtifactFSError
from artifactfs.model import FileEntry
from artifactfs.mount.holds import open_holds
from artifactfs.repository.check import check_repository
from artifactfs.repository.commit import DEFAULT_OPTIONS
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.records import decode_record
from artifactfs.repository.repair import repair
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.runs.history import RunLog
from artifactfs.testing.repositories import commit_files, store_files
from tests.core.golden_drafts import make_drafts
from tests.core.golden_whole import make_whole

HEX = "[0-9a-f]"
SEQ = "[0-9]{20}"
DAY = r"\d{4}-\d\d-\d\d"
KINDS = {
    "repository description": r"format/\d+\.json",
    "loose blob": f"blobs/{HEX}{{2}}/{HEX}{{64}}",
    "sums": f"sums/{HEX}{{2}}/{HEX}{{64}}",
    "loose tree": f"trees/{HEX}{{2}}/{HEX}{{64}}",
    "pack": f"packs/{HEX}{{2}}/{HEX}{{64}}",
    "tree pack": f"treepacks/{HEX}{{2}}/{HEX}{{64}}",
    "log record": f"collections/[^/]+/log/{SEQ}",
    "checkpoint": f"collections/[^/]+/checkpoint/{SEQ}",
    "run event": f"runs/{DAY}/[^/]{{36}}/{SEQ}",
    "run note": f"runs/{DAY}/resumed-[^/]+",
    "run environment": f"runs/environment/{HEX}{{64}}",
    "run file list": rf"runs/{DAY}/[^/]{{36}}/files-\d+",
    "draft step": f"drafts/[^/]+/{HEX}{{32}}/{SEQ}",
    "prune condemned": f"prune/{HEX}{{32}}/condemned",
    "prune verdict": f"prune/{HEX}{{32}}/verdict",
    "prune done": f"prune/{HEX}{{32}}/done",
}
"""Kinds of files in which a flipped bit is found. (A pin is a log record; where files lie in packs trees say.)"""
HARMLESS = {
    "lock": ("lock", "it is locked, and holds nothing"),
    "shown": ("shown", "mounts lock parts of it, and it holds nothing"),
    "set aside": ("damaged/.*", "what repair moved away as damaged, kept for people; nothing reads it"),
    "temporary": ("tmp/.*", "what is being written; it has a name, and is looked at, when it is whole"),
}
"""Kinds of files that nothing reads, and why a flipped bit there does no harm."""
LOCKS = ("lock", "shown")
RECORDS = {
    *("commit", "set-aliases", "remove-aliases", "delete-version", "delete-collection"),
    *("edit", "pin", "unpin", "relocate"),
}
FILES_OF_A_KIND = 5
GIVEN = Contribution()
MANY = {b"many/%04d" % number for number in range(10, 1500)}
"""Files of which only check reads the content: what they have others have, too."""
PLACES = 7


def open_it(location: Path, packed_below: int = 1 << 20) -> Repository:
    state = str(location.parent / "state")
    return open_repository(str(location), state=state, author="ada", use_index=False, packed_below=packed_below)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a repository with all that there is."""
    location = make_whole(tmp_path_factory.mktemp("bits"))
    with open_it(location, packed_below=0) as repository:
        commit_files(repository, "loose", {b"a": b"alpha", b"d": {b"b": b"beta"}})
        drafts = Drafts(repository, random=os.urandom)
        for name, state in (("o", "open"), ("c", "committed"), ("d", "dropped")):
            contribute(drafts, "drafted", name, partial(store_files, repository, {state.encode(): b"part"}), GIVEN)
        finish(drafts, "drafted", "c", DEFAULT_OPTIONS)
        drafts.drop("drafted", "d")
        damage_something(repository)
    holds = open_holds(str(location))
    assert holds is not None
    holds.close()
    (location / "tmp").mkdir(exist_ok=True)
    (location / "tmp" / "being-written").write_bytes(b"half of")
    return location


def damage_something(repository: Repository) -> None:
    """Damage a loose object that heals, so that something was set aside."""
    [path] = [path for path in Path(repository.location, "blobs").glob("*/*") if path.read_bytes() == b"beta"]
    write(path, b"BETA")
    assert repair(repository, check_repository(repository, share=1).damage).set_aside
    commit_files(repository, "loose", {b"a": b"alpha", b"d": {b"b": b"beta"}})


def write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def sort_files(location: Path) -> dict[str, list[Path]]:
    """Return all files below a directory by their kinds."""
    found: dict[str, list[Path]] = defaultdict(list)
    patterns = {**KINDS, **{kind: pattern for kind, (pattern, _) in HARMLESS.items()}}
    for top, _, names in os.walk(location):
        for name in names:
            path = Path(top, name)
            key = str(path.relative_to(location))
            kinds = [kind for kind, pattern in patterns.items() if re.fullmatch(pattern, key)]
            assert len(kinds) == 1, f"{key} is of no kind that is named here"
            found[kinds[0]].append(path)
    return {kind: sorted(paths) for kind, paths in found.items()}


def choose(kind: str, paths: list[Path]) -> list[Path]:
    """Return all files of a kind, or some: of records one of each kind of change."""
    if kind != "log record":
        return random.Random(1).sample(paths, min(len(paths), FILES_OF_A_KIND))
    records = {decode_record(path.read_bytes(), key="x")[0].body.__struct_config__.tag: path for path in paths}
    assert set(records) == RECORDS
    return sorted(records.values())


def offsets(size: int) -> set[int]:
    """Return where a bit is flipped: at both ends, and in between."""
    return {0, size - 1, max(size - 2, 0), *random.Random(size).sample(range(size), min(size, PLACES))}


def read_everything(repository: Repository) -> dict[Any, Any]:
    """Return all that can be read without an error."""
    found: dict[Any, Any] = {}
    trees = Trees(repository.blobs)
    for name in ("animals", "drafted", "far", "loose", "often", "plants"):
        try:
            state = repository.load_state(name)
        except ArtifactFSError:
            continue
        found[name] = state
        for version in state.versions.values():
            top = version.root
            try:
                for path, entry, place in trees.iter_placed(top.as_entry(), placement=root_placement(top)):
                    found[name, version.number, path] = entry
                    if isinstance(entry, FileEntry) and path not in MANY:
                        read_file(repository, found, (name, version.number, path, "content"), entry, place)
            except ArtifactFSError:
                continue
    read_runs(repository, found)
    read_drafts(repository, found)
    return found


def read_file(repository: Repository, found: dict[Any, Any], key: object, entry: FileEntry, place: Any) -> None:
    try:
        file = repository.open_file(entry, place)
        found[key] = file.read_at(0, entry.size)
        file.close()
    except ArtifactFSError:
        pass


def read_runs(repository: Repository, found: dict[Any, Any]) -> None:
    runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
    for run in runs.iter_ids():
        try:
            state = runs.get_run(run)
            found[run] = state
            found[run, "files"] = list(runs.iter_files(run))
            for circumstances in [
                event.circumstances for event in runs.iter_events(run) if hasattr(event, "circumstances")
            ]:
                found[run, "environment"] = runs.get_environment(circumstances.environment)
        except ArtifactFSError:
            continue


def read_drafts(repository: Repository, found: dict[Any, Any]) -> None:
    drafts = Drafts(repository)
    for name in ("o", "c", "d"):
        try:
            found["draft", name] = drafts.get("drafted", name)
        except ArtifactFSError:
            continue


def test_every_kind_of_file_is_there(whole: Path) -> None:
    assert set(sort_files(whole)) == {*KINDS, *HARMLESS}
    assert set(sort_files(make_drafts(whole.parent / "drafts"))) <= {*KINDS, *HARMLESS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_and_never_served(whole: Path, kind: str) -> None:
    with open_it(whole) as repository:
        assert check_repository(repository, share=1).damage == ()
        expected = read_everything(repository)
    assert ("animals", 0, b"large.bin", "content") in expected
    for path in choose(kind, sort_files(whole)[kind]):
        key, data = str(path.relative_to(whole)), path.read_bytes()
        try:
            for offset in sorted(offsets(len(data))):
                flipped = bytearray(data)
                flipped[offset] ^= 1 << random.Random(offset).randrange(8)
                write(path, bytes(flipped))
                assert_found(whole, key, expected)
        finally:
            write(path, data)
    with open_it(whole) as repository:
        assert check_repository(repository, share=1).damage == ()


def assert_found(location: Path, key: str, expected: dict[Any, Any]) -> None:
    """Assert that an object is found to be damaged, and that what can be read is what was stored."""
    try:
        repository = open_it(location)
    except ArtifactFSError:
        assert key.startswith("format/")
        return
    with repository:
        assert key in {damage.key for damage in check_repository(repository, share=1).damage}
        served = read_everything(repository)
        assert [name for name in served if served[name] != expected[name]] == []


@pytest.mark.parametrize("kind", [kind for kind in HARMLESS if kind not in LOCKS])
def test_a_flipped_bit_does_no_harm_where_nothing_reads(whole: Path, kind: str) -> None:
    with open_it(whole) as repository:
        expected = read_everything(repository)
    for path in sort_files(whole)[kind]:
        data = path.read_bytes()
        write(path, bytes([data[0] ^ 1]) + data[1:])
        with open_it(whole) as repository:
            assert check_repository(repository, share=1).damage == ()
            assert read_everything(repository) == expected
        write(path, data)


@pytest.mark.parametrize("kind", LOCKS)
def test_files_of_locks_hold_nothing(whole: Path, kind: str) -> None:
    assert [path.stat().st_size for path in sort_files(whole)[kind]] == [0]
