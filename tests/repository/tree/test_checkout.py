"""What comes out is what went in, however often it was interrupted."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from artifactfs.errors import (
    AlreadyExistsError,
    BusyError,
    DigestMismatchError,
    EntryNotFoundError,
    StorageFullError,
    UsageError,
)
from artifactfs.model import DirectoryEntry, Root
from artifactfs.repository import copyworkers
from artifactfs.repository.checkout import checkout
from artifactfs.repository.landing import WORK_NAME, Landing
from artifactfs.repository.replacing import remove_tree
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.trees import Trees
from tests.repository.tree.conftest import Killed, Killer, Recorder, damage, put
from tests.repository.tree.support import TREES, Tree, snapshot, write


@pytest.fixture(autouse=True, params=["threads", "processes"])
def copied_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be copied by threads, and by processes as in a large version."""
    if request.param == "processes":
        monkeypatch.setattr(copyworkers, "FROM_FILES", 1)


# What comes out is what went in.


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tree=TREES)
def test_checkout_after_put_is_identity(repository: Repository, work: Path, tree: Tree) -> None:
    source, target = work / "source", work / "target"
    source.mkdir()
    try:
        write(tree, os.fsencode(source))
        os.utime(source, ns=(1, 1_234_567_890_123_456_789))
        result = put(repository, f"{source}/")
        checkout(repository, result.version.root, os.fsencode(target))
        assert snapshot(target) == snapshot(source)
    finally:
        shutil.rmtree(source)
        shutil.rmtree(target, ignore_errors=True)


def test_modes_and_times_of_read_only_directories(repository: Repository, work: Path) -> None:
    source = work / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "f").write_text("x")
    (source / "a" / "f").write_text("y")
    os.chmod(source / "a" / "f", 0o4711)
    os.symlink("/etc/passwd", source / "a" / "link")
    os.utime(source / "a" / "link", ns=(1, 5_000_000_007), follow_symlinks=False)
    for number, path in enumerate([source / "a" / "b", source / "a", source]):
        os.chmod(path, 0o555)
        os.utime(path, ns=(1, 10**18 + number))
    result = put(repository, f"{source}/")
    checkout(repository, result.version.root, os.fsencode(work / "target"))
    assert snapshot(work / "target") == snapshot(source)
    assert stat.S_IMODE((work / "target" / "a" / "f").stat().st_mode) == 0o711


def test_progress_adds_up(repository: Repository, work: Path) -> None:
    (work / "s" / "d").mkdir(parents=True)
    for number in range(70):
        (work / "s" / "d" / str(number)).write_bytes(b"x" * number)
    (work / "s" / "middle").write_bytes(os.urandom(3 << 20))
    (work / "s" / "big").write_bytes(os.urandom(9 << 20))
    told = Recorder()
    result = put(repository, work / "s", progress=told)
    root = result.version.root
    assert told.totals == (told.files, told.size) == (root.count, root.size) == (72, root.size)
    told = Recorder()
    checkout(repository, root, os.fsencode(work / "t"), progress=told)
    assert told.totals == (told.files, told.size) == (root.count, root.size)


# Checkout.


@pytest.fixture
def version(repository: Repository, work: Path) -> Root:
    (work / "s" / "images" / "deep").mkdir(parents=True)
    for name in ("images/cat.png", "images/dog.jpg", "images/deep/owl.png", "readme"):
        (work / "s" / name).write_text(name)
    os.symlink("readme", work / "s" / "link")
    return put(repository, f"{work}/s/").version.root


def test_a_path_gives_its_contents_and_a_file_itself(repository: Repository, work: Path, version: Root) -> None:
    result = checkout(repository, version, os.fsencode(work / "t"), path=b"images")
    assert sorted(os.listdir(work / "t")) == ["cat.png", "deep", "dog.jpg"]
    assert result.files == result.cloned + result.copied == 3
    checkout(repository, version, os.fsencode(work / "one"), path=b"images/cat.png")
    assert (work / "one").read_text() == "images/cat.png"
    assert (work / "one").stat().st_mtime_ns == (work / "s" / "images" / "cat.png").stat().st_mtime_ns
    checkout(repository, version, os.fsencode(work / "l"), path=b"link")
    assert os.readlink(work / "l") == "readme"
    assert sorted(os.listdir(work)) == ["l", "one", "s", "t"]
    with pytest.raises(EntryNotFoundError):
        checkout(repository, version, os.fsencode(work / "x"), path=b"images/bird.png")


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        (["*.png"], {b"images", b"images/cat.png", b"images/deep", b"images/deep/owl.png"}),
        (["images/*.png"], {b"images", b"images/cat.png"}),
        (["deep/"], {b"images", b"images/deep", b"images/deep/owl.png"}),
        (["*.png", "!cat.png", "link"], {b"images", b"images/deep", b"images/deep/owl.png", b"link"}),
    ],
)
def test_a_glob_chooses_paths(
    repository: Repository, work: Path, version: Root, glob: list[str], expected: set[bytes]
) -> None:
    result = checkout(repository, version, os.fsencode(work / "t"), glob=glob)
    found = {os.path.normpath(path) for path in snapshot(work / "t")} - {b"."}
    assert found == expected
    assert result.files == sum(1 for path in found if path not in (b"images", b"images/deep"))


def test_a_glob_that_matches_nothing(repository: Repository, work: Path, version: Root) -> None:
    with pytest.raises(EntryNotFoundError):
        checkout(repository, version, os.fsencode(work / "t"), glob=["*.bmp"])
    assert not (work / "t").exists()


def test_a_destination_with_something_in_it_is_left_alone(repository: Repository, work: Path, version: Root) -> None:
    (work / "t").mkdir()
    (work / "t" / "mine").write_text("precious")
    before = snapshot(work / "t")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        checkout(repository, version, os.fsencode(work / "t"))
    assert snapshot(work / "t") == before
    with pytest.raises(AlreadyExistsError):
        checkout(repository, version, os.fsencode(work / "t" / "mine"))
    with pytest.raises(AlreadyExistsError):
        checkout(repository, version, os.fsencode(work / "t" / "mine"), path=b"readme")
    assert snapshot(work / "t") == before


def test_an_empty_destination_keeps_its_permission_bits(repository: Repository, work: Path, version: Root) -> None:
    (work / "t").mkdir(mode=0o700)
    os.chmod(work / "t", 0o2770)
    checkout(repository, version, os.fsencode(work / "t"))
    assert stat.S_IMODE((work / "t").stat().st_mode) == 0o2770
    assert (work / "t" / "readme").read_text() == "readme"


def test_replace_swaps_and_removes_what_was_there(repository: Repository, work: Path, version: Root) -> None:
    (work / "t" / "old").mkdir(parents=True)
    (work / "t" / "old" / "f").write_text("x")
    os.chmod(work / "t" / "old", 0o555)
    checkout(repository, version, os.fsencode(work / "t"), replace=True)
    assert snapshot(work / "t") == snapshot(work / "s")
    assert sorted(os.listdir(work)) == ["s", "t"]
    checkout(repository, version, os.fsencode(work / "t"), replace=True, path=b"readme")
    assert (work / "t").read_text() == "readme"
    checkout(repository, version, os.fsencode(work / "t"), replace=True)
    assert snapshot(work / "t") == snapshot(work / "s")
    assert sorted(os.listdir(work)) == ["s", "t"]


def test_what_is_needed_is_not_replaced(
    repository: Repository, work: Path, version: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "here" / "below").mkdir(parents=True)
    (work / "here" / "kept").write_text("kept")
    monkeypatch.chdir(work / "here" / "below")
    (work / "link").symlink_to(work / "here")
    above_repository = Path(repository.location).parent
    for target in ("..", ".", work / "link", above_repository, repository.location, repository.state_directory):
        for path in (b"", b"readme"):
            if target == "." and not path:
                continue  # it is empty, so nothing is replaced
            with pytest.raises(UsageError, match="is not replaced"):
                checkout(repository, version, os.fsencode(target), replace=True, path=path)
    assert (work / "here" / "kept").read_text() == "kept"
    checkout(repository, version, b".", replace=True)
    assert (work / "here" / "below" / "readme").is_file()


def test_a_replacement_that_fails_leaves_what_was_there(repository: Repository, work: Path, version: Root) -> None:
    (work / "t").mkdir()
    (work / "t" / "old").write_text("x")
    before = snapshot(work / "t")
    damage(repository, version, b"readme")
    with pytest.raises(DigestMismatchError):
        checkout(repository, version, os.fsencode(work / "t"), replace=True)
    assert snapshot(work / "t") == before


def test_damaged_content_never_gets_its_final_name(repository: Repository, work: Path, version: Root) -> None:
    (work / "s" / "big").write_bytes(os.urandom(9 << 20))
    root = put(repository, f"{work}/s/").version.root
    for path in (b"readme", b"big"):
        damage(repository, root, path)
        target = work / f"t-{path.decode()}"
        with pytest.raises(DigestMismatchError):
            checkout(repository, root, os.fsencode(target), glob=[path])
        assert not (target / path.decode()).exists()


@pytest.mark.parametrize("replace", [False, True])
def test_the_same_call_goes_on_where_it_stopped(repository: Repository, work: Path, replace: bool) -> None:
    source = work / "s"
    for number in range(100):
        (source / str(number // 10)).mkdir(parents=True, exist_ok=True)
        (source / str(number // 10) / str(number)).write_text(f"content {number}")
    for folder in source.iterdir():
        os.chmod(folder, 0o555)
    root = put(repository, f"{source}/").version.root
    target = work / "t"
    if replace:
        target.mkdir()
        (target / "old").write_text("x")
    with pytest.raises(Killed):
        checkout(repository, root, os.fsencode(target), replace=replace, progress=Killer(40))
    if not replace:
        with pytest.raises(AlreadyExistsError, match="unfinished"):
            checkout(repository, root, os.fsencode(target), glob=["1*"])
    done = [path for path in target.rglob("*") if path.is_file() and path.parent.name != WORK_NAME.decode()]
    assert all(path.read_text() == f"content {path.name}" for path in done if path.name != "old")
    result = checkout(repository, root, os.fsencode(target), replace=replace)
    assert result.kept >= 39
    assert result.files == 100
    assert snapshot(target) == snapshot(source)
    assert sorted(os.listdir(work)) == ["s", "t"]


def test_what_is_damaged_when_it_goes_on_is_written_again(repository: Repository, work: Path, version: Root) -> None:
    target = work / "t"
    with pytest.raises(Killed):
        checkout(repository, version, os.fsencode(target), glob=["readme"], progress=Killer(1))
    (target / "readme").write_bytes(b"\0" * len("readme"))  # as a loss of power may leave it
    assert checkout(repository, version, os.fsencode(target), glob=["readme"]).kept == 0
    assert (target / "readme").read_text() == "readme"


def test_two_at_once_on_one_destination(repository: Repository, work: Path, version: Root) -> None:
    target = work / "t"
    with pytest.raises(Killed):
        checkout(repository, version, os.fsencode(target), progress=Killer(1))
    request = (target / WORK_NAME.decode() / "request").read_text().rpartition(" ")[0]
    with Landing(os.fsencode(target), request=request, taken=()) as landing:
        assert landing.resumed
        with pytest.raises(BusyError):
            checkout(repository, version, os.fsencode(target))


def test_a_link_in_the_way_is_never_followed(repository: Repository, work: Path, version: Root) -> None:
    """An attacker who can write to an unfinished destination puts links where directories will be."""
    target, outside = work / "t", work / "outside"
    outside.mkdir()
    with pytest.raises(Killed):
        checkout(repository, version, os.fsencode(target), progress=Killer(1))
    shutil.rmtree(target / "images", ignore_errors=True)
    os.symlink(outside, target / "images")
    with pytest.raises(AlreadyExistsError, match="something else"):
        checkout(repository, version, os.fsencode(target))
    assert os.listdir(outside) == []


def test_every_step_to_a_directory_refuses_links(work: Path) -> None:
    (work / "outside" / "b").mkdir(parents=True)
    with Landing(os.fsencode(work / "t"), request="r", taken=()) as landing:
        os.symlink(work / "outside", work / "t" / "a")
        for path in (b"a", b"a/b"):
            with pytest.raises(OSError, match=r"symbolic|directory"), landing.directory(path):
                pass
        with pytest.raises(OSError, match="directory"), landing.directory(b"") as top:
            landing.make_directory(top, b"a")


def test_read_only_directories_of_an_ordinary_user(as_ordinary_user: Path) -> None:
    source, target = as_ordinary_user / "s", as_ordinary_user / "t"
    (source / "a" / "b" / "c").mkdir(parents=True)
    (source / "a" / "b" / "f").write_text("x")
    for path, mode in ((source / "a" / "b" / "c", 0o555), (source / "a" / "b", 0o555), (source / "a", 0o500)):
        os.chmod(path, mode)
    location, state = str(as_ordinary_user / "repository"), str(as_ordinary_user / "state")
    with open_repository(location, state=state, author="a@h", use_index=False) as repository:
        root = put(repository, f"{source}/").version.root
        checkout(repository, root, os.fsencode(target))
        assert snapshot(target) == snapshot(source)
        checkout(repository, root, os.fsencode(target), replace=True)
        assert snapshot(target) == snapshot(source)
        remove_tree(os.fsencode(target))
        # Directories that are sealed already, as a call leaves them that was killed near its end.
        with pytest.raises(Killed):
            checkout(repository, root, os.fsencode(target), progress=Killer(1))
        os.chmod(target / "a" / "b", 0o000)
        checkout(repository, root, os.fsencode(target))
        assert snapshot(target) == snapshot(source)
    remove_tree(os.fsencode(target))
    remove_tree(os.fsencode(source))
    assert not target.exists()


def test_directories_that_nobody_may_enter(as_ordinary_user: Path) -> None:
    location, state = str(as_ordinary_user / "repository"), str(as_ordinary_user / "state")
    with open_repository(location, state=state, author="a@h", use_index=False) as repository:
        with repository.blobs.begin() as batch:
            builder = TreeBuilder(batch)
            inner = builder.store_directory(b"inner", mode=0o755, mtime_ns=7, entries=[])
            sealed = builder.store_directory(
                b"sealed", mode=0, mtime_ns=8, entries=[inner.entry], places={b"inner": inner.place}
            )
            top = builder.store_directory(
                b"/", mode=0o755, mtime_ns=9, entries=[sealed.entry], places={b"sealed": sealed.place}
            )
            batch.flush()
        root = make_root(top)
        target = as_ordinary_user / "t"
        checkout(repository, root, os.fsencode(target))
    assert stat.S_IMODE((target / "sealed").stat().st_mode) == 0
    os.chmod(target / "sealed", 0o700)
    assert (target / "sealed" / "inner").stat().st_mtime_ns == 7


def test_a_version_with_a_directory_behind_a_link_name(repository: Repository, work: Path) -> None:
    """A stored link is made as a link, and nothing is written through it."""
    (work / "s").mkdir()
    (work / "outside").mkdir()
    os.symlink(work / "outside", work / "s" / "escape")
    (work / "s" / "zz").write_text("x")
    root = put(repository, f"{work}/s/").version.root
    checkout(repository, root, os.fsencode(work / "t"))
    assert os.readlink(work / "t" / "escape") == str(work / "outside")
    assert os.listdir(work / "outside") == []


def test_the_work_directory_gives_way_to_an_entry_of_its_name(repository: Repository, work: Path) -> None:
    (work / "s" / WORK_NAME.decode()).mkdir(parents=True)
    (work / "s" / WORK_NAME.decode() / "f").write_text("x")
    root = put(repository, f"{work}/s/").version.root
    checkout(repository, root, os.fsencode(work / "t"))
    assert snapshot(work / "t") == snapshot(work / "s")


def test_a_full_disk_is_said_and_gone_on_with(
    repository: Repository, work: Path, version: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artifactfs.repository import copying

    monkeypatch.setattr(copyworkers, "FROM_FILES", 1 << 30)  # what follows is done to this process

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(copying.os, "copy_file_range", full)
        patched.setattr(copying.fcntl, "ioctl", lambda *_: (_ for _ in ()).throw(OSError(95, "no")))
        with pytest.raises(StorageFullError, match=r"readme|images"):
            checkout(repository, version, os.fsencode(work / "t"))
    checkout(repository, version, os.fsencode(work / "t"))
    assert snapshot(work / "t") == snapshot(work / "s")


@pytest.mark.parametrize("missing", [("ioctl",), ("ioctl", "copy_file_range")])
def test_file_systems_that_cannot_share_or_copy(
    repository: Repository, work: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    from artifactfs.repository import copying

    (work / "s").mkdir()
    (work / "s" / "big").write_bytes(os.urandom((9 << 20) + 17))
    (work / "s" / "empty").write_bytes(b"")
    root = put(repository, f"{work}/s/").version.root

    def refuse(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    for name in missing:
        monkeypatch.setattr(copying.fcntl if name == "ioctl" else copying.os, name, refuse)
    # Another process has not verified the blobs yet: chunks are verified on the way.
    with open_repository(repository.location, state=str(work / "state2"), author="b@h", use_index=False) as other:
        result = checkout(other, root, os.fsencode(work / "t"))
    assert (result.cloned, result.copied) == (0, 2)
    assert snapshot(work / "t") == snapshot(work / "s")


def test_a_directory_deeper_than_paths_can_be(repository: Repository, work: Path) -> None:
    """Paths of over 4,096 bytes cannot be put; those near it come out as they went in."""
    deep = work / "s"
    deep.mkdir()
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 90, dir_fd=descriptor)
        below = os.open("d" * 90, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    result = put(repository, f"{deep}/")
    assert result.version.root.count == 1
    checkout(repository, result.version.root, os.fsencode(work / "t"))
    trees = Trees(repository.blobs)
    assert sum(1 for _, found in trees.iter_tree(result.version.root) if isinstance(found, DirectoryEntry)) == 40
    shutil.rmtree(work / "t")
