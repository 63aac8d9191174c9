"""Staging directories from beginning to end: made, compared, committed, renewed, ended; and what is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from artifactfs.errors import (
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidNameError,
    MalformedError,
    StagingNotFoundError,
    StorageFullError,
    UsageError,
)
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.repository.trees import Trees
from artifactfs.staging.files import write_durably
from artifactfs.staging.layout import serving
from artifactfs.testing.repositories import commit_files
from artifactfs.vfs.union.union import Caller, Union
from tests.staging.union_support import FILES, serve

ME = Caller(os.getpid(), os.geteuid(), os.getegid())


def write(union: Union, path: bytes, data: bytes) -> None:
    handle = union.create(path, 0o644, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, ME)
    union.write(handle, data, offset=0)
    union.release(handle)


def kinds(area: StagingArea, staging: Staging) -> dict[bytes, str]:
    return {change.path: change.kind for change in area.changes(staging)}


def test_a_new_staging_directory_shows_its_base_and_pins_it(
    repository: Repository, area: StagingArea, staging: Staging, union: Union
) -> None:
    assert [name for name, *_ in union.read_directory(b"")] == [b"a.txt", b"empty", b"images", b"link"]
    assert [pin.version for pin in repository.load_state("animals").pins.values()] == [0]
    assert area.changes(staging) == []


def test_each_kind_of_change_is_named(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serve(repository, staging) as union:
        write(union, b"images/new", b"new")
        write(union, b"a.txt", b"other")
        union.unlink(b"empty")
        union.rename(b"images/cat", b"images/tom")
        union.chmod(b"images/dog", 0o755)
        union.unlink(b"link")
        union.make_directory(b"link", 0o755, ME)
    assert kinds(area, staging) == {
        b"images/new": "added",
        b"a.txt": "modified",
        b"empty": "deleted",
        b"images/tom": "renamed",
        b"images/dog": "mode-changed",
        b"link": "type-changed",
    }


def test_renaming_a_directory_of_the_base_copies_nothing(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        union.rename(b"images", b"pictures")
        assert union.getattr(b"pictures/deep/er/x").size == 1
    files = [name for _, _, names in os.walk(staging.upper) for name in names]
    assert files == [b"images"], "only the whiteout"
    [change] = area.changes(staging)
    assert (change.kind, change.old_path, change.path) == ("renamed", b"images", b"pictures")


def test_a_commit_reads_only_what_changed_since_the_last(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, staging) as union:
        write(union, b"one", b"1")
    for path in (staging.upper + b"/one",):
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.setattr("artifactfs.staging.hashes.SETTLED_NS", -(10**12))  # as if the write were long ago
    first = area.commit(staging)
    with serve(repository, first.staging) as union:
        write(union, b"two", b"2")
    opened: list[bytes] = []
    real = os.open

    def counting(path: object, *args: object, **kwargs: object) -> int:
        opened.append(os.fsencode(path))  # type: ignore[call-overload]
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    second = area.commit(first.staging)
    read = [os.path.basename(path) for path in opened if path.startswith(staging.upper)]
    assert read == [b"two"]
    assert second.result.version.base == first.result.version.number


def test_a_commit_makes_the_next_version_and_goes_on(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        write(union, b"images/new", b"new")
    done = area.commit(staging, CommitOptions(message="a cat", aliases=("best",)))
    assert (done.result.version.name, done.result.created, done.moved) == ("v1", True, None)
    state = repository.get_collection("animals")
    assert state.aliases == {"latest": 1, "best": 1}
    assert kinds(area, done.staging) == {}
    with serve(repository, done.staging) as union:
        write(union, b"images/more", b"more")
    assert kinds(area, done.staging) == {b"images/more": "added"}
    entry = Trees(repository.blobs).find_entry(done.result.version.root, b"images/new")
    assert isinstance(entry, FileEntry)
    assert repository.open_file(entry).read_at(0, 10) == b"new"


def test_if_changed_returns_the_base_when_nothing_did(area: StagingArea, staging: Staging) -> None:
    done = area.commit(staging, CommitOptions(if_changed=True))
    assert (done.result.version.name, done.result.created) == ("v0", False)
    assert area.commit(staging).result.version.name == "v1", "without it, a commit always makes a version"


def test_an_alias_that_moved_is_told_or_refused(repository: Repository, area: StagingArea, staging: Staging) -> None:
    commit_files(repository, "animals", {b"other": b"other"})
    expecting = CommitOptions(expect_base=("latest", 0))
    with pytest.raises(ConflictError):
        area.commit(staging, expecting)
    assert repository.get_collection("animals").next_version == 2, "nothing was committed"
    done = area.commit(staging)
    assert done.moved == ("latest", 1)
    assert done.result.version.name == "v2"


def test_an_alias_that_a_commit_does_not_move_has_not_moved(repository: Repository, area: StagingArea) -> None:
    version = commit_files(repository, "animals", FILES, CommitOptions(aliases=("best",)))
    staging = area.create("animals", version=version, followed="best")
    first = area.commit(staging)
    assert (first.moved, first.staging.info.followed_version) == (None, 0)
    assert area.commit(first.staging, CommitOptions(expect_base=("best", 0))).moved is None
    repository.append("animals", lambda state: changes.set_aliases(state, version=1, aliases=["best"]))
    told = area.commit(area.get("animals"))
    assert told.moved == ("best", 1)
    assert area.commit(told.staging).moved is None, "told once"


def test_a_deleted_version_is_not_what_it_is_compared_with(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")
    done = area.commit(staging)
    assert kinds(area, done.staging) == {}
    repository.append("animals", lambda state: changes.delete_version(state, number=1, force=True))
    assert kinds(area, done.staging) == {b"new": "added"}, "again over its base, which is pinned"
    with serving(done.staging.layout):
        assert area.renew(done.staging) == done.staging
    again = area.commit(done.staging, CommitOptions(if_changed=True))
    assert (again.result.version.name, again.result.version.base, again.result.created) == ("v2", 0, True)


class Freezing:
    """A server that has been asked to freeze, or none."""

    def __init__(self, *, served: bool) -> None:
        self.served = served
        self.asked = 0

    @contextmanager
    def freeze(self, staging: Staging) -> Iterator[Callable[[], None] | None]:
        self.asked += 1
        yield self.verify if self.served else None

    def verify(self) -> None:
        """Tell of a freeze that has held."""


def test_a_commit_freezes_a_server_and_excludes_everybody_else(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    idle = Freezing(served=False)
    assert area.commit(staging, freezer=idle).result.version.name == "v1"
    assert idle.asked == 1, "an overlay goes on without a server, so the lock says nothing"
    with serving(staging.layout):
        assert area.commit(staging, freezer=Freezing(served=True)).result.version.name == "v2"
        with pytest.raises(BusyError, match="in use"):
            area.commit(staging, freezer=Freezing(served=False))
        with pytest.raises(BusyError, match="in use"):
            area.commit(staging)
    assert repository.get_collection("animals").next_version == 3


def test_what_changes_while_it_is_compared_is_looked_at_again(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, staging) as union:
        for name in (b"one", b"two"):
            write(union, name, name)
    real = os.open
    vanished: list[object] = []

    def vanishing(path, *args, **kwargs):
        if path == staging.upper + b"/two" and not vanished:
            vanished.append(path)
            os.unlink(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", vanishing)
    assert kinds(area, staging) == {b"one": "added"}
    assert vanished


def test_a_full_disk_costs_a_comparison_nothing(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")
    monkeypatch.setattr("artifactfs.staging.hashes.SETTLED_NS", -(10**12))

    def full(*_: object) -> None:
        raise StorageFullError("full")

    monkeypatch.setattr("artifactfs.staging.hashes.write_durably", full)
    assert kinds(area, staging) == {b"new": "added"}


def test_a_disk_that_fills_when_the_version_is_made_is_told_and_costs_no_version(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")

    def full(*_: object) -> None:
        raise StorageFullError("no room is left")

    with monkeypatch.context() as patched:
        patched.setattr("artifactfs.repository.staging.write_info", full)
        done = area.commit(staging)
    assert (done.result.version.number, done.unnoted) == (1, "no room is left")
    assert kinds(area, area.get("animals")) == {b"new": "added"}
    again = area.commit(staging)
    assert (again.result.version.root.content, again.unnoted) == (done.result.version.root.content, "")
    assert area.changes(area.get("animals")) == []


def test_what_is_discarded_makes_room_for_that(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")
    real = write_durably

    def write_if_there_is_room(path: bytes, data: bytes) -> None:
        if os.listdir(staging.upper):
            raise StorageFullError("no room is left")
        real(path, data)

    monkeypatch.setattr("artifactfs.staging.lifecycle.write_durably", write_if_there_is_room)
    area.remove(staging)
    assert not os.path.exists(staging.layout.directory)
    assert repository.load_state("animals").pins == {}


def test_changed_files_without_a_description_are_not_removed(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")
    os.unlink(staging.layout.info)
    with pytest.raises(MalformedError, match=r"no staging\.json"):
        area.create("animals", version=None)
    area.create("animals", name="other", version=None)
    assert os.path.exists(staging.upper + b"/new")


def test_marks_are_not_told_as_dropped_attributes(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serve(repository, staging) as union:
        union.set_xattr(b"images/dog", b"user.note", b"good", 0)
        union.rename(b"images/deep", b"deep")
        union.set_times(b"images/none", 1, 1)
    done = area.commit(staging)
    assert [(item.path, item.names) for item in done.result.dropped_xattrs] == [(b"images/dog", ("user.note",))]


def test_attributes_of_files_that_status_has_read_are_told_as_dropped(
    repository: Repository, area: StagingArea, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifactfs.staging.hashes.SETTLED_NS", -(10**12))
    with serve(repository, staging) as union:
        union.set_xattr(b"images/dog", b"user.note", b"good", 0)
    for _ in range(2):
        area.changes(staging)
        done = area.commit(staging)
        assert [(item.path, item.names) for item in done.result.dropped_xattrs] == [(b"images/dog", ("user.note",))]


def test_a_new_collection_starts_empty(repository: Repository, area: StagingArea) -> None:
    staging = area.create("plants", version=None)
    with serve(repository, staging) as union:
        assert union.read_directory(b"") == []
        write(union, b"rose", b"red")
    assert kinds(area, staging) == {b"rose": "added"}
    assert area.commit(staging).result.version.name == "v0"


def test_two_staging_directories_do_not_disturb_each_other(repository: Repository, area: StagingArea) -> None:
    version = commit_files(repository, "animals", FILES)
    mine, yours = (area.create("animals", name=name, version=version) for name in ("mine", "yours"))
    with serve(repository, mine) as one, serve(repository, yours) as two:
        write(one, b"mine", b"1")
        write(two, b"yours", b"2")
        one.unlink(b"a.txt")
    assert kinds(area, mine) == {b"mine": "added", b"a.txt": "deleted"}
    assert kinds(area, yours) == {b"yours": "added"}
    assert area.commit(mine).result.version.name == "v1"
    assert area.commit(yours).moved is None, "it followed no alias"
    assert [str(staging) for staging in area.iter_all()] == ["animals:@mine", "animals:@yours"]


def test_open_writers_stop_a_commit_and_are_named(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serve(repository, staging) as union:
        handle = union.open(b"images/cat", os.O_WRONLY, ME)
        with pytest.raises(BusyError, match=rf"images/cat by process {os.getpid()}"):
            union.gate.freeze(wait_seconds=0)
        union.release(handle)
        union.gate.freeze(wait_seconds=0)
        with pytest.raises(BusyError, match="committed already"):
            union.gate.freeze(wait_seconds=0)


def test_a_frozen_union_lets_changes_wait_and_loses_none(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        union.gate.freeze(wait_seconds=0)
        threads = [threading.Thread(target=write, args=(union, b"file%d" % number, b"x")) for number in range(8)]
        for thread in threads:
            thread.start()
        assert union.read_directory(b"images"), "reading goes on"
        assert [name for name, *_ in union.read_directory(b"") if name.startswith(b"file")] == []
        union.gate.thaw()
        for thread in threads:
            thread.join(10)
    assert kinds(area, staging) == {b"file%d" % number: "added" for number in range(8)}


def test_what_cannot_be_stored_is_refused_by_name(area: StagingArea, staging: Staging) -> None:
    os.mkfifo(staging.upper + b"/pipe")
    with pytest.raises(UsageError, match="pipe"):
        area.commit(staging)


def test_user_attributes_that_are_dropped_are_told(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serve(repository, staging) as union:
        union.set_xattr(b"images/dog", b"user.note", b"good", 0)
        assert union.list_xattrs(b"images/dog") == [b"user.note"]
    done = area.commit(staging)
    assert [dropped.path for dropped in done.result.dropped_xattrs] == [b"images/dog"]


def test_a_committed_directory_is_renewed_over_the_new_version(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    with serve(repository, staging) as union:
        write(union, b"new", b"new")
    done = area.commit(staging)
    fresh = area.renew(done.staging)
    assert (fresh.info.base, fresh.info.committed) == (1, None)
    assert os.listdir(fresh.upper) == []
    assert not os.path.exists(staging.upper)
    assert [pin.version for pin in repository.load_state("animals").pins.values()] == [1]
    with serve(repository, fresh) as union:
        assert union.getattr(b"new").size == 3
    assert area.renew(fresh) == fresh, "not committed since"


def test_uncommitted_changes_keep_it_from_being_renewed(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    done = area.commit(staging)
    with serve(repository, done.staging) as union:
        write(union, b"later", b"x")
    assert area.renew(done.staging) == done.staging


def test_removing_unpins_and_leaves_nothing(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with serving(staging.layout), pytest.raises(BusyError):
        area.remove(staging)
    area.remove(staging)
    assert list(area.iter_all()) == []
    assert repository.load_state("animals").pins == {}
    with pytest.raises(StagingNotFoundError):
        area.get("animals")


def test_a_base_that_was_deleted_meanwhile_goes_on_serving(
    repository: Repository, area: StagingArea, staging: Staging
) -> None:
    commit_files(repository, "animals", {b"other": b"other"})
    repository.append("animals", lambda state: changes.delete_version(state, number=0, force=True))
    with serve(repository, staging) as union:
        assert union.getattr(b"a.txt").size == 6
        write(union, b"b.txt", b"b")
    assert area.commit(staging).result.version.name == "v2"


def test_bad_names_and_doubles_are_refused(repository: Repository, area: StagingArea, staging: Staging) -> None:
    with pytest.raises(AlreadyExistsError):
        area.create("animals", version=None)
    for bad in ("", "a/b", ".hidden", "x" * 129):
        with pytest.raises(InvalidNameError):
            area.create("animals", name=bad, version=None)
    with pytest.raises(StagingNotFoundError):
        area.get("animals", "other")


def test_a_damaged_description_is_named_and_the_files_stay(area: StagingArea, staging: Staging) -> None:
    with open(staging.layout.info, "wb") as file:
        file.write(b"{")
    with pytest.raises(MalformedError, match="staging"):
        area.get("animals")
    assert os.path.isdir(staging.upper)


def test_what_a_killed_server_was_making_is_cleared(repository: Repository, staging: Staging) -> None:
    with open(staging.layout.work + b"/half", "wb") as file:
        file.write(b"half")
    with serve(repository, staging) as union:
        assert os.listdir(staging.layout.work) == []
        assert union.getattr(b"a.txt").size == 6
