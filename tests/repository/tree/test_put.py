"""What goes in, where it is laid out, and what cannot go in."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from artifactfs.blobstore.blobs import StoredBlob
from artifactfs.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidNameError,
    SourceChangedError,
    SourceNotFoundError,
    UsageError,
)
from artifactfs.model import FileEntry
from artifactfs.repository import reading
from artifactfs.repository.checkout import checkout
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.ingest import Ingest, IngestOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.sources import make_plan
from tests.repository.tree.conftest import entry, names, put


def test_hard_links_and_sparse_files_are_ordinary_files(repository: Repository, work: Path) -> None:
    (work / "a").write_text("same")
    os.link(work / "a", work / "b")
    with open(work / "sparse", "wb") as file:
        file.seek(20 << 20)
        file.write(b"end")
    result = put(repository, work)
    base = os.fsencode(work.name)
    assert entry(repository, result, base + b"/a").sha256 == entry(repository, result, base + b"/b").sha256
    sparse = entry(repository, result, base + b"/sparse")
    assert sparse.size == (20 << 20) + 3
    assert sparse.sums is not None
    checkout(repository, result.version.root, os.fsencode(work / "target"))
    copied = work / "target" / work.name / "sparse"
    assert copied.read_bytes() == (work / "sparse").read_bytes()


def test_equal_data_has_one_content_digest_and_its_times_another_tree(repository: Repository, work: Path) -> None:
    (work / "d").mkdir()
    (work / "d" / "f").write_text("x")
    first = put(repository, work / "d")
    os.utime(work / "d" / "f", ns=(0, 0))
    second = put(repository, work / "d")
    assert second.created
    assert first.version.root.content == second.version.root.content
    assert first.version.root.tree != second.version.root.tree
    os.chmod(work / "d" / "f", 0o755)
    assert put(repository, work / "d").version.root.content != first.version.root.content


# Layout.


def test_a_directory_keeps_its_name_and_a_slash_drops_it(repository: Repository, work: Path) -> None:
    (work / "images").mkdir()
    (work / "images" / "cat").write_text("x")
    (work / "f").write_text("y")
    kept = put(repository, work / "images", work / "f")
    assert names(repository, kept.version.root) == [b"f", b"images", b"images/cat"]
    assert len(kept.layout) == 2
    assert "as images/" in kept.layout[0]
    dropped = put(repository, f"{work}/images/", work / "f")
    assert names(repository, dropped.version.root) == [b"cat", b"f"]
    assert "at the root" in dropped.layout[0]


def test_a_dot_puts_contents_at_the_root(repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "cat").write_text("x")
    monkeypatch.chdir(work)
    assert names(repository, put(repository, ".").version.root) == [b"cat"]
    (work / "sub").mkdir()
    monkeypatch.chdir(work / "sub")
    assert names(repository, put(repository, "..").version.root) == [b"cat", b"sub"]


def test_the_same_name_twice_is_an_error(repository: Repository, work: Path) -> None:
    for side in ("a", "b"):
        (work / side / "images").mkdir(parents=True)
        (work / side / "f").write_text(side)
    with pytest.raises(AlreadyExistsError, match="images"):
        put(repository, work / "a" / "images", work / "b" / "images")
    with pytest.raises(AlreadyExistsError, match="'f'"):
        put(repository, f"{work}/a/", work / "b" / "f")
    with pytest.raises(AlreadyExistsError):
        put(repository, f"{work}/a/", f"{work}/b/")
    assert repository.find_collection("data") is None


def test_sources_can_share_directories_that_only_lead_to_them(repository: Repository, work: Path) -> None:
    (work / "d").mkdir()
    for name in ("x", "y", "d/z"):
        (work / name).write_text(name)
    sources = [
        Source(os.fsencode(work / "x"), b"deep/er/x"),
        Source(os.fsencode(work / "y"), b"deep/y"),
        Source(os.fsencode(work / "d"), b"deep/er/d"),
        Source(os.fsencode(work / "y"), b"deep/er/d/more"),
    ]
    root = put_paths(repository, "data", sources).version.root
    leaves = [b"deep/er/d/more", b"deep/er/d/z", b"deep/er/x", b"deep/y"]
    assert [path for path in names(repository, root) if path in leaves] == leaves
    with pytest.raises(AlreadyExistsError):
        put_paths(repository, "data", [*sources, Source(os.fsencode(work / "x"), b"deep/er/d/z")])
    with pytest.raises(AlreadyExistsError):
        put_paths(repository, "data", [*sources, Source(os.fsencode(work / "x"), b"deep/y/below")])


def test_a_link_is_a_link_unless_a_slash_follows(repository: Repository, work: Path) -> None:
    (work / "real").mkdir()
    (work / "real" / "f").write_text("x")
    os.symlink("real", work / "link")
    assert names(repository, put(repository, work / "link").version.root) == [b"link"]
    assert names(repository, put(repository, f"{work}/link/").version.root) == [b"f"]


def test_names_are_any_bytes(repository: Repository, work: Path) -> None:
    name = b"\xff\n \x01" + b"n" * 251
    (work / os.fsdecode(name)).write_bytes(b"x")
    result = put(repository, f"{work}/")
    assert names(repository, result.version.root) == [name]
    checkout(repository, result.version.root, os.fsencode(work / "t"))
    assert os.listdir(os.fsencode(work / "t")) == [name]


def test_ignore_files_and_excludes_leave_paths_out(repository: Repository, work: Path) -> None:
    for path in ("d/a.tmp", "d/b", "d/sub/c.tmp", "d/sub/keep.tmp", "d/skip/x", "d/log"):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text("x")
    (work / "d" / ".artifactignore").write_text("*.tmp\nskip/\n")
    (work / "d" / "sub" / ".artifactignore").write_text("!keep.tmp\n")
    result = put(repository, work / "d", exclude=["/d/log"])
    assert names(repository, result.version.root) == [
        b"d",
        b"d/.artifactignore",
        b"d/b",
        b"d/sub",
        b"d/sub/.artifactignore",
        b"d/sub/keep.tmp",
    ]


def test_an_empty_version(repository: Repository, work: Path) -> None:
    result = put(repository, f"{work}/")
    assert (result.version.root.count, result.version.root.size) == (0, 0)
    checkout(repository, result.version.root, os.fsencode(work / "t"))
    assert os.listdir(work / "t") == []


# What cannot go in.


def test_special_files_are_all_named(repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "s" / "sub").mkdir(parents=True)
    (work / "s" / "f").write_text("x")
    os.mkfifo(work / "s" / "pipe")
    monkeypatch.chdir(work / "s" / "sub")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
    with pytest.raises(UsageError, match=r"s/pipe \(FIFO\), s/sub/sock \(socket\).*skip-special"):
        put(repository, work / "s")
    assert repository.find_collection("data") is None
    result = put(repository, work / "s", skip_special=True)
    assert result.skipped == (b"s/pipe", b"s/sub/sock")
    assert names(repository, result.version.root) == [b"s", b"s/f", b"s/sub"]


def test_a_missing_path(repository: Repository, work: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="missing"):
        put(repository, work / "missing")
    assert repository.find_collection("data") is None


@pytest.mark.parametrize("what", ["file", "directory"])
def test_an_unreadable_path(as_ordinary_user: Path, what: str) -> None:
    source = as_ordinary_user / "d"
    source.mkdir()
    (source / "f").write_text("x")
    os.chmod(source / "f" if what == "file" else source, 0)
    location, state = str(as_ordinary_user / "repository"), str(as_ordinary_user / "state")
    with open_repository(location, state=state, author="a@h", use_index=False) as repository:
        with pytest.raises(AccessDeniedError, match="d"):
            put(repository, source)
        assert repository.find_collection("data") is None
    os.chmod(source, 0o700)


class CountingSink(reading.HashingSink):
    def __init__(self) -> None:
        self.count = 0

    def store_hashed(self, sha256: bytes, data: bytes) -> StoredBlob:
        self.count += 1
        return super().store_hashed(sha256, data)


def test_nothing_more_is_read_once_something_cannot_be_stored(work: Path) -> None:
    os.mkfifo(work / "a")
    for number in range(100):
        (work / f"f{number}").write_text("x")
    plan = make_plan([Source(os.fsencode(work))])
    for skip_special, expected in ((False, 0), (True, 100)):
        sink = CountingSink()
        ingest = Ingest(sink, IngestOptions(skip_special=skip_special), now_ns=0)
        if skip_special:
            ingest.store(plan)
        else:
            with pytest.raises(UsageError, match="FIFO"):
                ingest.store(plan)
        assert sink.count == expected


def test_a_denied_file_is_named(repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "secret").write_text("x")
    real = os.open

    def refuse(path: object, *arguments: int, **more: int) -> int:
        if isinstance(path, bytes) and path.endswith(b"/secret"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reading.os, "open", refuse)
    with pytest.raises(AccessDeniedError, match="secret"):
        put(repository, f"{work}/")
    assert repository.find_collection("data") is None


def read_with_meddler(monkeypatch: pytest.MonkeyPatch, repository: Repository, path: Path, times: int) -> FileEntry:
    """Read a file that somebody writes to each time it was read, so many times."""
    real, left = os.read, [times]

    def meddle(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if left[0]:
            left[0] -= 1
            with path.open("ab") as file:
                file.write(b"more")
        return data

    with repository.blobs.begin() as batch, monkeypatch.context() as patch:
        patch.setattr(reading.os, "read", meddle)
        return reading.FileReader(batch, reading.Dropped()).read_file(reading_found(path)).file  # type: ignore[arg-type]


def reading_found(path: Path) -> object:
    from artifactfs.repository.scan import Found

    return Found(b"f", b"f", os.fsencode(path), os.lstat(path))


def test_a_file_that_changes_once_is_read_again(
    repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "f").write_bytes(b"x")
    found = read_with_meddler(monkeypatch, repository, work / "f", 2)
    assert found.size == len((work / "f").read_bytes()) == 9


def test_a_file_that_goes_on_changing_is_an_error(
    repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "f").write_bytes(b"x")
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        read_with_meddler(monkeypatch, repository, work / "f", 100)


def test_a_change_that_no_time_shows_is_noticed_in_a_file_that_is_just_being_written(
    repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on kernels whose clock for files goes in ticks."""
    path, real, left = work / "f", os.read, [1]
    path.write_bytes(b"old " * 4)
    now_ns = path.stat().st_ctime_ns

    def write_half(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if left[0]:
            left[0] -= 1
            path.write_bytes(b"new " * 4)
            return data[:8] + b"new " * 2
        return data

    monkeypatch.setattr(reading, "_changed", lambda _before, _after: False)
    monkeypatch.setattr(reading.time, "time_ns", lambda: now_ns)
    monkeypatch.setattr(reading.os, "read", write_half)
    with repository.blobs.begin() as batch:
        found = reading.FileReader(batch, reading.Dropped()).read_file(reading_found(path))  # type: ignore[arg-type]
    assert found.data == b"new " * 4


@pytest.mark.parametrize("replacement", ["nothing", "fifo", "link", "directory"])
def test_a_file_that_vanishes_or_is_replaced_after_it_was_listed(
    repository: Repository, work: Path, replacement: str
) -> None:
    (work / "f").write_bytes(b"x")
    found = reading_found(work / "f")
    (work / "f").unlink()
    if replacement == "fifo":
        os.mkfifo(work / "f")
    elif replacement == "link":
        os.symlink("/etc/passwd", work / "f")
    elif replacement == "directory":
        (work / "f").mkdir()
    with repository.blobs.begin() as batch, pytest.raises(SourceChangedError, match=r"vanished|replaced"):
        reading.FileReader(batch, reading.Dropped()).read_file(found)  # type: ignore[arg-type]


def test_a_repository_does_not_store_itself(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UsageError, match="repository itself"):
        put(repository, f"{tmp_path}/")
    result = put(repository, f"{tmp_path}/", exclude=["/repository", "/state"])
    assert names(repository, result.version.root) == [b"f"]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Linux only")
def test_extended_attributes_are_reported(repository: Repository, work: Path) -> None:
    (work / "d").mkdir()
    (work / "d" / "f").write_text("x")
    (work / "d" / "plain").write_text("x")
    try:
        os.setxattr(work / "d" / "f", "user.note", b"1")
        os.setxattr(work / "d", "user.more", b"2")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    result = put(repository, work / "d")
    assert result.dropped_count == 2
    assert [(item.path, item.names) for item in result.dropped_xattrs] == [
        (b"d", ("user.more",)),
        (b"d/f", ("user.note",)),
    ]


def test_nothing_is_stored_for_a_commit_that_would_be_refused(repository: Repository, work: Path) -> None:
    put(repository, work)
    (work / "new").write_text("never stored")
    before = set(repository.store.iter_keys("blobs/"))
    with pytest.raises(UsageError, match="type"):
        put(repository, work, options=CommitOptions(type="model"))
    with pytest.raises(InvalidNameError):
        put(repository, work, options=CommitOptions(aliases=("v7",)))
    with pytest.raises(InvalidNameError):
        put(repository, work, name="../x")
    assert set(repository.store.iter_keys("blobs/")) == before
