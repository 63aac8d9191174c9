"""Views: what a repository and a version look like by node."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import BlobMissingError, DigestMismatchError, IntegrityError, NotFoundError
from artifactfs.index.epoch import Epoch
from artifactfs.index.epochs import begin_epoch, open_epoch
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import TIME_NS, commit_files, find_stored, make_repository
from artifactfs.vfs import content as content_module
from artifactfs.vfs.base import ROOT_NODE, Kind, NoAttributeError, UnknownNodeError
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.version_view import VersionView

FILES = {
    b"a": b"alpha",
    b"dir": {b"b": b"beta" * 50_000, b"same": b"alpha"},
    b"link": "a",
    b"\xff": b"odd",
    b"none": {},
}


class Places:
    """Staging directories as the test wants them."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.link: str | None = None

    def staging_collections(self) -> list[str]:
        return list(self.names)

    def staging_names(self, collection: str) -> list[str]:
        return self.names.get(collection, [])

    def find_link(self, collection: str, name: str) -> str | None:
        return self.link


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with make_repository(tmp_path) as repository:
        commit_files(repository, "animals", FILES)
        yield repository


@pytest.fixture
def epoch(repository: Repository) -> Iterator[Epoch]:
    with open_epoch(repository.state_directory, random=os.urandom) as epoch:
        yield epoch


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def view(repository: Repository, epoch: Epoch, places: Places) -> Iterator[CatalogueView]:
    with CatalogueView(repository, epoch, staging=places) as view:
        yield view


def walk(view: CatalogueView | VersionView, path: str) -> int:
    node = ROOT_NODE
    for name in path.split("/"):
        node = view.lookup(node, os.fsencode(name)).node
    return node


def listing(view: CatalogueView | VersionView, node: int) -> list[bytes]:
    return [name for name, _ in view.read_directory(node)]


def test_the_catalogue_shows_collections_aliases_and_versions(view: CatalogueView) -> None:
    assert listing(view, ROOT_NODE) == [b"animals"]
    assert listing(view, walk(view, "animals")) == [b"latest", b"v0"]
    latest = view.lookup(walk(view, "animals"), b"latest")
    assert (latest.kind, latest.size, view.readlink(latest.node)) == (Kind.SYMLINK, 2, b"v0")


def test_a_version_shows_what_was_committed(view: CatalogueView) -> None:
    top = walk(view, "animals/v0")
    assert listing(view, top) == [b"a", b"dir", b"link", b"none", b"\xff"]
    found = view.lookup(top, b"a")
    assert (found.kind, found.mode, found.size, found.mtime_ns, found.nlink) == (Kind.FILE, 0o644, 5, TIME_NS, 1)
    assert view.getattr(found.node) == found
    assert view.read(found.node, offset=1, size=3) == b"lph"
    assert view.read(found.node, offset=5, size=3) == b""
    assert view.readlink(walk(view, "animals/v0/link")) == b"a"
    assert view.read(walk(view, "animals/v0/dir/b"), offset=199_999, size=10) == b"a"
    assert listing(view, walk(view, "animals/v0/none")) == []


def test_equal_files_share_a_node_and_directories_do_not(view: CatalogueView, repository: Repository) -> None:
    commit_files(repository, "animals", {**FILES, b"more": b"more"})
    assert walk(view, "animals/v0/a") == walk(view, "animals/v1/a") == walk(view, "animals/v1/dir/same")
    assert walk(view, "animals/v0/dir") != walk(view, "animals/v1/dir")


def test_nodes_stay_for_later_mounts_until_the_index_is_rebuilt(
    view: CatalogueView, repository: Repository, epoch: Epoch, places: Places
) -> None:
    before = walk(view, "animals/v0/dir/b")
    with CatalogueView(repository, epoch, staging=places) as again:
        assert again.getattr(before).size == 200_000
        assert walk(again, "animals/v0/dir/b") == before
    begin_epoch(repository.state_directory, random=os.urandom)
    with (
        open_epoch(repository.state_directory, random=os.urandom) as fresh,
        CatalogueView(repository, fresh, staging=places) as later,
    ):
        with pytest.raises(UnknownNodeError):
            later.getattr(before)
        assert walk(later, "animals/v0/dir/b") != before
    assert view.getattr(before).size == 200_000, "the mount that has the old epoch goes on"


def test_new_versions_and_moved_aliases_show_at_once(view: CatalogueView, tmp_path: Path) -> None:
    animals = walk(view, "animals")
    latest = view.lookup(animals, b"latest").node
    with pytest.raises(NotFoundError):
        view.lookup(animals, b"v1")
    with make_repository(tmp_path) as other:  # as another process would
        commit_files(other, "animals", {b"new": b"new"})
        commit_files(other, "plants", {b"rose": b"red"})
    assert view.readlink(latest) == b"v1"
    assert listing(view, animals) == [b"latest", b"v0", b"v1"]
    assert listing(view, ROOT_NODE) == [b"animals", b"plants"]
    assert listing(view, walk(view, "animals/v1")) == [b"new"]


def test_deleted_names_are_gone_and_who_is_inside_stays(view: CatalogueView, repository: Repository) -> None:
    commit_files(repository, "animals", {b"new": b"new"})
    inside, file = walk(view, "animals/v0"), walk(view, "animals/v0/a")
    repository.append("animals", lambda state: changes.delete_version(state, number=0))
    assert listing(view, walk(view, "animals")) == [b"latest", b"v1"]
    with pytest.raises(NotFoundError):
        walk(view, "animals/v0")
    assert view.read(file, offset=0, size=9) == b"alpha"
    assert b"a" in listing(view, inside)
    repository.append("animals", changes.delete_collection)
    assert listing(view, ROOT_NODE) == []


def test_the_place_of_the_socket_is_an_empty_directory_that_is_not_listed(view: CatalogueView) -> None:
    node = view.lookup(ROOT_NODE, b".artifactfs").node
    assert view.getattr(node).kind is Kind.DIRECTORY
    assert view.read_directory(node) == []
    assert b".artifactfs" not in [name for name, _ in view.read_directory(ROOT_NODE)]
    with pytest.raises(NotFoundError):
        view.lookup(walk(view, "animals"), b".artifactfs")


@pytest.mark.parametrize("name", ["nothing", "v9", "v01", ".hidden", "@staging", "a:b", "\udcfe"])
def test_names_that_are_not_there_are_enoent(view: CatalogueView, name: str) -> None:
    for parent in (ROOT_NODE, walk(view, "animals"), walk(view, "animals/v0")):
        with pytest.raises(NotFoundError) as caught:
            view.lookup(parent, os.fsencode(name))
        assert caught.value.errno == 2


def test_staging_directories_are_empty_directories_or_links(view: CatalogueView, places: Places) -> None:
    places.names = {"animals": ["staging"], "unborn": ["first"]}
    assert listing(view, ROOT_NODE) == [b"animals", b"unborn"]
    assert listing(view, walk(view, "unborn")) == [b"@first"]
    place = view.lookup(walk(view, "animals"), b"@staging")
    assert (place.kind, listing(view, place.node)) == (Kind.DIRECTORY, [])
    places.link = "/run/somewhere"
    place = view.lookup(walk(view, "animals"), b"@staging")
    assert (place.kind, view.readlink(place.node)) == (Kind.SYMLINK, b"/run/somewhere")


def test_a_single_version_is_the_root(repository: Repository, epoch: Epoch) -> None:
    collection = repository.get_collection("animals")
    with VersionView(repository, epoch, collection=collection, version=collection.versions[0]) as view:
        assert listing(view, ROOT_NODE) == [b"a", b"dir", b"link", b"none", b"\xff"]
        assert view.getattr(ROOT_NODE).kind is Kind.DIRECTORY
        assert view.read(walk(view, "dir/same"), offset=0, size=9) == b"alpha"
        assert view.get_xattr(ROOT_NODE, b"user.artifactfs.version") == b"animals:v0"


def test_extended_attributes_say_what_it_is(view: CatalogueView, repository: Repository) -> None:
    top = walk(view, "animals/v0")
    found = {name: view.get_xattr(top, name) for name in view.list_xattrs(top)}
    assert found[b"user.artifactfs.version"] == b"animals:v0"
    assert found[b"user.artifactfs.type"] == b"dataset"
    assert found[b"user.artifactfs.aliases"] == b"latest"
    assert found[b"user.artifactfs.source"] == repository.location.encode()
    version = repository.get_collection("animals").versions[0]
    assert found[b"user.artifactfs.digest"] == version.root.content.encode()
    file = walk(view, "animals/v0/a")
    assert view.get_xattr(file, b"user.artifactfs.digest").startswith(b"sha256:8ed3f6ad685b959e")
    assert view.get_xattr(file, b"user.artifactfs.state") == b"local"
    with pytest.raises(NoAttributeError):
        view.get_xattr(file, b"user.artifactfs.version")


def get_file(repository: Repository, path: bytes) -> FileEntry:
    root = repository.get_collection("animals").versions[0].root
    entry = Trees(repository.blobs).find_entry(root, path)
    assert isinstance(entry, FileEntry)
    return entry


def test_a_missing_blob_is_eio_and_named(view: CatalogueView, repository: Repository) -> None:
    stored = find_stored(repository, repository.get_collection("animals").versions[0].root, b"a")
    stored.file.unlink()
    with pytest.raises(BlobMissingError, match=stored.file.name) as caught:
        view.read(walk(view, "animals/v0/a"), offset=0, size=9)
    assert caught.value.errno == 5


def test_a_damaged_blob_is_never_served(view: CatalogueView, repository: Repository) -> None:
    find_stored(repository, repository.get_collection("animals").versions[0].root, b"a").damage(b"alphA")
    with pytest.raises(DigestMismatchError) as caught:
        view.read(walk(view, "animals/v0/a"), offset=0, size=9)
    assert caught.value.errno == 5


def test_a_damaged_tree_is_named_with_its_version(view: CatalogueView, repository: Repository) -> None:
    find_stored(repository, repository.get_collection("animals").versions[0].root, b"").damage()
    repository.blobs.forget()
    with pytest.raises(IntegrityError, match=r"animals:v0.*damaged") as caught:
        listing(view, walk(view, "animals/v0"))
    assert caught.value.errno == 5


def test_files_are_not_closed_under_their_readers(
    view: CatalogueView, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "KEPT_FROM_BYTES", 0)
    many = {b"%03d" % number: b"%03d" % number * 1000 for number in range(40)}
    commit_files(repository, "many", many)
    with open_epoch(repository.state_directory, random=os.urandom) as epoch:
        collection = repository.get_collection("many")
        with VersionView(repository, epoch, collection=collection, version=collection.versions[0]) as small:
            small._tree._contents._limit = 2
            failed: list[object] = []

            def read() -> None:
                for name, found in small.read_directory(ROOT_NODE):
                    if small.read(found.node, offset=0, size=5000) != many[name]:
                        failed.append(name)

            threads = [threading.Thread(target=read) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert failed == []


def test_a_large_directory_is_prepared_in_pages(repository: Repository, epoch: Epoch, places: Places) -> None:
    commit_files(repository, "large", {b"%06d" % number: b"%d" % (number % 7) for number in range(5000)})
    with CatalogueView(repository, epoch, staging=places) as view:
        top = walk(view, "large/v0")
        assert listing(view, top) == [b"%06d" % number for number in range(5000)]
        assert len({found.node for _, found in view.read_directory(top)}) == 7
    with CatalogueView(repository, epoch, staging=places) as again:
        assert again.lookup(walk(again, "large/v0"), b"004321").size == 1


def test_the_run_that_made_a_version_is_among_its_attributes(repository: Repository, epoch: Epoch) -> None:
    run = "01a20a51-331d-7f0e-b627-4f61c62f1334"
    commit_files(repository, "animals", FILES, CommitOptions(run=run, inputs=("b:v0", "c:v3"), message="why"))
    view = CatalogueView(repository, epoch, staging=Places())
    collection = view.lookup(ROOT_NODE, b"animals").node
    made, plain = (view.lookup(collection, name).node for name in (b"v1", b"v0"))
    assert view.get_xattr(made, b"user.artifactfs.run") == run.encode()
    assert view.get_xattr(made, b"user.artifactfs.inputs") == b"b:v0 c:v3"
    assert view.get_xattr(made, b"user.artifactfs.message") == b"why"
    assert view.get_xattr(plain, b"user.artifactfs.author") == b"tester@host"
    assert b"user.artifactfs.run" not in view.list_xattrs(plain)
