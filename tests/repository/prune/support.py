"""Repositories on stores without locks, on which prunes write lists, and what the tests of prune share."""

from __future__ import annotations

import itertools

from artifactfs.blobstore.base import Store
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.clock import Clock
from artifactfs.model import FileEntry
from artifactfs.repository import changes
from artifactfs.repository.format import open_format
from artifactfs.repository.prune import Amount, delete_garbage, find_garbage
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import TIME_NS


class StoppedClock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self, now_ns: int = TIME_NS) -> None:
        self.time_ns = now_ns
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.time_ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_ns += int(seconds * 1e9)


class Numbers:
    """Random bytes that count."""

    def __init__(self, start: int = 1) -> None:
        self._numbers = itertools.count(start)

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")


def open_listed(
    store: Store | None = None, *, clock: Clock | None = None, start: int = 1, packed_below: int = 0
) -> Repository:
    """Return a repository on a store without locks; without packs, so that each blob and page can go by itself."""
    store = MemoryStore() if store is None else store
    clock = clock or StoppedClock()
    random = Numbers(start)
    found = open_format(store, create=True, now_ns=clock.now_ns(), random=random)
    return Repository(
        store,
        repository_format=found,
        location="/nowhere",
        state_directory="/dev/null",
        author="tester",
        clock=clock,
        random=random,
        index=None,
        packed_below=packed_below,
    )


def delete_version(repository: Repository, number: int, name: str = "animals") -> None:
    repository.append(name, lambda state: changes.delete_version(state, number=number, force=True))


def prune(repository: Repository) -> Amount:
    return delete_garbage(repository, find_garbage(repository))


def read_all(repository: Repository) -> dict[str, dict[bytes, bytes]]:
    """Return every file of every live version, read through verification."""
    found: dict[str, dict[bytes, bytes]] = {}
    trees = Trees(repository.blobs)
    for name in repository.collection_names():
        for version in repository.get_collection(name).versions.values():
            found[f"{name}:{version.name}"] = {
                path: repository.open_file(entry).read_at(0, 1 << 20)
                for path, entry in trees.iter_tree(version.root)
                if isinstance(entry, FileEntry)
            }
    return found


def object_keys(repository: Repository) -> set[str]:
    return {key for key in repository.store.iter_keys("") if not key.startswith(("collections/", "format/", "prune/"))}
