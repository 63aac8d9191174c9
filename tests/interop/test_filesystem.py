"""The fsspec file system: names, links, ranges, what is refused, other processes, runs."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.generic import rsync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.errors import ArtifactFSError
from artifactfs.repository.runviews import begin_view, iter_looked
from tests.cli.support import Cli

LARGE = hashlib.shake_128(b"large").digest(9 << 20)


@pytest.fixture
def fs(cli: Cli, work: Path) -> Any:
    """Return the file system over `animals`: small files, a large one, links of each kind, an empty directory."""
    (work / "images" / "empty").mkdir()
    (work / "images" / "large.bin").write_bytes(LARGE)
    (work / "images" / "sub" / "up").symlink_to("../cat.txt")
    (work / "images" / "folder").symlink_to("sub")
    (work / "images" / "round").symlink_to("round")
    (work / "images" / "out").symlink_to("../../etc")
    (work / "images" / "etc").symlink_to("/etc")
    cli("put", "animals", "images/", "--alias", "best")

    return fsspec.filesystem("artifact", skip_instance_cache=True)


def test_url_is_opened_by_fsspec_itself(fs: Any) -> None:
    with fsspec.open("artifact://animals:latest/sub/dog.txt", "rt") as file:
        assert file.read() == "dog\n"
    with fsspec.open("artifact://animals/sub/dog.txt", "rb") as file:
        assert file.read() == b"dog\n"


def test_listing_has_the_names_of_the_directory(fs: Any) -> None:
    assert fs.ls("", detail=False) == ["animals"]
    names = [name.removeprefix("animals:v0/") for name in fs.ls("artifact://animals:v0/", detail=False)]
    assert names == ["cat.txt", "empty", "etc", "folder", "large.bin", "link", "out", "round", "sub"]
    assert fs.ls("animals:v0/cat.txt", detail=False) == ["animals:v0/cat.txt"]
    assert fs.ls("animals:v0/empty") == []


def test_info_has_size_type_time_and_digest(fs: Any, work: Path) -> None:
    info = fs.info("animals:best/cat.txt")
    assert (info["type"], info["size"]) == ("file", 4)
    assert info["digest"] == "sha256:" + hashlib.sha256(b"cat\n").hexdigest() == fs.ukey("animals:v0/cat.txt")
    assert info["mtime"] == pytest.approx((work / "images" / "cat.txt").stat().st_mtime)
    assert fs.modified("animals/cat.txt").timestamp() == pytest.approx(info["mtime"], abs=1e-5)
    assert fs.created("animals/cat.txt") >= fs.modified("animals/cat.txt")
    assert fs.info("animals")["type"] == fs.info("")["type"] == fs.info("animals:v0/sub")["type"] == "directory"
    assert fs.size("animals/large.bin") == len(LARGE)
    assert fs.checksum("animals/cat.txt") == int(info["digest"][7:], 16)


def test_links_inside_the_version_are_followed(fs: Any) -> None:
    assert fs.cat("animals/link") == fs.cat("animals/sub/up") == fs.cat("animals/folder/up") == b"cat\n"
    link = fs.info("animals/link")
    assert (link["type"], link["size"], link["islink"], link["destination"]) == ("file", 4, True, "cat.txt")
    assert fs.isdir("animals/folder")
    assert fs.ls("animals/folder", detail=False) == ["animals/folder/dog.txt", "animals/folder/up"]
    assert {each["name"]: each["type"] for each in fs.ls("animals")}["animals/folder"] == "link"


@pytest.mark.parametrize("name", ["round", "out", "etc", "etc/passwd", "missing", "cat.txt/below", "../cat.txt"])
def test_what_leads_nowhere_is_not_there(fs: Any, name: str) -> None:
    assert not fs.exists(f"animals/{name}")
    with pytest.raises(OSError, match="animals") as caught:
        fs.open(f"animals/{name}")
    assert caught.value.errno in (errno.ENOENT, errno.EINVAL)
    if not name.startswith(".."):
        assert isinstance(caught.value, FileNotFoundError)


def test_walks_end_and_see_each_file_once(fs: Any) -> None:
    expected = [f"animals/{name}" for name in ("cat.txt", "large.bin", "link", "sub/dog.txt", "sub/up")]
    assert fs.find("animals") == expected
    assert fs.find("animals", maxdepth=1) == [name for name in expected if "sub/" not in name]
    assert sorted(set(fs.find("animals", withdirs=True)) - set(expected)) == ["animals", "animals/empty", "animals/sub"]
    assert fs.find("animals/nothing") == []
    assert fs.find("animals/cat.txt") == ["animals/cat.txt"]
    assert {path for path, _, _ in fs.walk("animals")} == {"animals", "animals/empty", "animals/sub"}
    assert fs.glob("animals:v0/**/*.txt") == ["animals:v0/cat.txt", "animals:v0/sub/dog.txt"]
    assert fs.glob("*/cat.*") == ["animals/cat.txt"]
    assert fs.du("animals") == sum(fs.size(path) for path in expected)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(data=st.data())
def test_ranges_equal_slices(fs: Any, data: st.DataObject) -> None:
    bound = st.none() | st.integers(-len(LARGE) - 5, len(LARGE) + 5)
    start, end = data.draw(bound), data.draw(bound)
    assert fs.cat_file("animals/large.bin", start, end) == LARGE[start:end]


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(steps=st.lists(st.tuples(st.integers(0, len(LARGE) + 9), st.integers(0, 6 << 20)), max_size=6))
def test_reads_after_seeks_equal_slices(fs: Any, steps: list[tuple[int, int]]) -> None:
    with fs.open("animals/large.bin") as file:
        for offset, size in steps:
            file.seek(offset)
            assert file.read(size) == LARGE[offset : offset + size]
        file.seek(-3, os.SEEK_END)
        assert (file.tell(), file.read()) == (len(LARGE) - 3, LARGE[-3:])


def test_many_ranges_keep_their_order(fs: Any) -> None:
    paths = ["animals/cat.txt", "animals/large.bin", "animals/cat.txt", "animals/nothing", "artifact://animals/cat.txt"]
    found = fs.cat_ranges(paths, [0, 5, 1, 0, None], [2, 9, None, 1, -1])
    assert found[:3] == [b"ca", LARGE[5:9], b"at\n"]
    assert isinstance(found[3], FileNotFoundError)
    assert found[4] == b"cat"
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, 0, 1, on_error="raise")
    assert fs.cat_ranges(paths[:2], 0, 1, max_gap=100) == [b"c", LARGE[:1]]


def test_nothing_can_be_written(fs: Any, work: Path) -> None:
    (work / "local").write_text("x")
    attempts = [
        lambda: fs.open("animals/new", "wb"),
        lambda: fs.open("animals/cat.txt", "ab"),
        lambda: fs.open("animals/cat.txt", "r+b"),
        lambda: fs.open("animals/new", "xb"),
        lambda: fs.pipe("animals/new", b"x"),
        lambda: fs.put(str(work / "local"), "animals/new"),
        lambda: fs.copy("animals/cat.txt", "animals/new"),
        lambda: fs.mv("animals/cat.txt", "animals/new"),
        lambda: fs.rm("animals/cat.txt"),
        lambda: fs.rm("animals", recursive=True),
        lambda: fs.rm_file("animals/cat.txt"),
        lambda: fs.rmdir("animals/empty"),
        lambda: fs.mkdir("animals/new"),
        lambda: fs.makedirs("animals/new"),
        lambda: fs.makedirs("animals/sub"),
        lambda: fs.touch("animals/cat.txt", truncate=False),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="versions never change") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    fs.makedirs("animals/sub", exist_ok=True)
    assert fs.cat("animals/cat.txt") == b"cat\n"


def test_reading_what_is_no_file_says_so(fs: Any) -> None:
    with pytest.raises(IsADirectoryError):
        fs.open("animals/sub")
    with pytest.raises(IsADirectoryError):
        fs.cat_file("animals")
    with pytest.raises(FileNotFoundError, match="nothing"):
        fs.ls("nothing")
    with pytest.raises(OSError, match="staging"):
        fs.ls("animals:@staging")


def test_damage_is_an_error_and_not_absence(fs: Any, tmp_path: Path) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    blob = tmp_path / "repository" / "blobs" / digest[:2] / digest
    blob.chmod(0o600)
    blob.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(OSError, match="animals") as caught, fs.open("animals/large.bin") as file:
        file.read()
    assert caught.value.errno == errno.EIO
    assert isinstance(caught.value.__cause__, ArtifactFSError)


def test_alias_is_followed_when_it_moves(fs: Any, cli: Cli, work: Path) -> None:
    assert fs.cat("animals/cat.txt") == b"cat\n"
    (work / "images" / "cat.txt").write_text("longer\n")
    cli("put", "animals", "images/")
    assert fs.cat("animals/cat.txt") == b"longer\n"
    assert fs.cat("animals:v0/cat.txt") == fs.cat("animals:best/cat.txt") == b"cat\n"


def test_names_that_are_no_text_can_be_read(cli: Cli, work: Path) -> None:
    name = b"images/\xff\n*.txt"
    Path(os.fsdecode(name)).write_text("odd")
    cli("put", "odd", "images/")
    fs = fsspec.filesystem("artifact", skip_instance_cache=True)
    found = [path for path in fs.find("odd") if os.fsencode(path).endswith(name[7:])]
    assert len(found) == 1
    assert fs.cat_file(found[0]) == b"odd"


def test_copies_go_out(fs: Any, work: Path) -> None:
    fs.get("animals:v0", str(work / "copy"), recursive=True)
    assert (work / "copy" / "sub" / "dog.txt").read_text() == "dog\n"
    assert (work / "copy" / "large.bin").read_bytes() == LARGE
    rsync("artifact://animals:v0/sub", f"file://{work}/synced")
    assert (work / "synced" / "dog.txt").read_text() == "dog\n"


def _read_in_child(fs: Any, file: Any) -> tuple[bytes, bytes]:
    return fs.cat("animals/sub/dog.txt"), file.read()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_on(fs: Any, method: str) -> None:
    with fs.open("animals/cat.txt") as file:
        file.seek(1)
        copy = pickle.loads(pickle.dumps(file))
        assert copy.read() == b"at\n"
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(_read_in_child, (fs, file)) == (b"dog\n", b"at\n")


def test_threads_read_at_once(fs: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: fs.cat_file("animals/large.bin", n * 1000, n * 1000 + 99), range(200)))
    assert found == [LARGE[n * 1000 : n * 1000 + 99] for n in range(200)]


def test_program_of_a_run_is_recorded_and_its_aliases_stay(
    fs: Any, cli: Cli, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "01890a5d-ac96-774b-bcce-b302099a8057"
    repository = fs.entries.repository
    begin_view(repository, run)
    (work / "images" / "cat.txt").write_text("longer\n")
    cli("put", "animals", "images/")
    monkeypatch.setenv("ARTIFACTFS_RUN", run)
    inside = fsspec.filesystem("artifact", skip_instance_cache=True)
    assert inside.cat("animals/cat.txt") == inside.cat("animals/cat.txt") == b"cat\n"
    assert inside.cat("animals:v1/cat.txt") == b"longer\n"
    looked = [(found.artifact, found.path, found.size) for found in iter_looked(repository.state_directory, run)]
    assert looked == [("animals:v0", b"cat.txt", 4), ("animals:v1", b"cat.txt", 7)]


def test_another_repository_is_chosen(fs: Any, cli: Cli, work: Path, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    cli("--repo", other, "put", "plants", "images/sub/")
    with fsspec.open("artifact://plants/dog.txt", repository=other) as file:
        assert file.read() == b"dog\n"
    assert fsspec.filesystem("artifact", repository=other) is fsspec.filesystem("artifact", repository=other)
    assert fsspec.filesystem("artifact", repository=other).fsid != fs.fsid
