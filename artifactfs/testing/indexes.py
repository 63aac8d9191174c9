"""Indexes for tests: one in memory, one that forgets, and the contract of both and of the real one.

A test module subclasses `IndexContract` and gives it a fixture `index`.

Threading: MemoryIndex may be shared by threads; tests belong to one thread.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from artifactfs.blobstore.places import MemoryPlaces
from artifactfs.model import Collection
from artifactfs.repository.indexing import RepositoryIndex
from artifactfs.testing.checks import require_equal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactfs.blobstore.places import PlaceLog
    from artifactfs.index.sourcetable import KnownFolder, KnownSource
    from artifactfs.repository.unchanged import SourceLog

_STATE = Collection("animals", 3, "sha256:" + "2" * 64, 9, exists=True, aliases={"latest": 0})
_DIGEST = bytes(range(32))


class DroppableIndex(RepositoryIndex, Protocol):
    """An index that can be emptied."""

    def drop(self) -> None:
        """Forget everything."""


class MemorySources:
    """A SourceLog that lasts as long as the process. May be shared by threads."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownSource] = {}
        self._folders: dict[bytes, KnownFolder] = {}

    def find_sources(self, paths: Sequence[bytes]) -> list[KnownSource | None]:
        """Return what is known of each of these paths."""
        return [self._known.get(path) for path in paths]

    def add_sources(self, items: Sequence[tuple[bytes, KnownSource]]) -> None:
        """Remember files."""
        self._known.update(items)

    def find_folder(self, path: bytes) -> KnownFolder | None:
        """Return what is known of the directory with this path."""
        return self._folders.get(path)

    def add_folder(self, path: bytes, known: KnownFolder) -> None:
        """Remember a directory."""
        self._folders[path] = known


class MemoryIndex:
    """An index that lasts as long as the process. May be shared by threads."""

    def __init__(self) -> None:
        self._states: dict[str, Collection] = {}
        self._verified: dict[bytes, bytes] = {}
        self.places: PlaceLog = MemoryPlaces()
        self.sources: SourceLog = MemorySources()

    def find_collection(self, name: str) -> Collection | None:
        """Return a state that was put earlier."""
        return self._states.get(name)

    def put_collection(self, collection: Collection) -> None:
        """Remember a state."""
        self._states[collection.name] = collection

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""
        return bool(signature) and self._verified.get(sha256) == signature

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature."""
        self._verified.update(items)

    def drop(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._verified.clear()
        self.places = MemoryPlaces()
        self.sources = MemorySources()

    def close(self) -> None:
        """Do nothing."""


class ForgetfulIndex(MemoryIndex):
    """An index that keeps nothing, as any index may. May be shared by threads."""

    def put_collection(self, collection: Collection) -> None:
        """Forget a state."""

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Forget what was verified."""


class IndexContract:
    """What every index that keeps things holds. Each method is one test; a test gets a fresh index."""

    def test_a_state_is_found_by_its_name(self, index: DroppableIndex) -> None:
        """And no other is."""
        index.put_collection(_STATE)
        require_equal(index.find_collection("animals"), _STATE, "the state")
        require_equal(index.find_collection("plants"), None, "a state that was never put")

    def test_the_last_state_counts(self, index: DroppableIndex) -> None:
        """Also when the one before is newer: the caller knows."""
        index.put_collection(_STATE)
        index.put_collection(Collection("animals", 2))
        require_equal(index.find_collection("animals"), Collection("animals", 2), "the state")

    def test_a_digest_is_verified_for_one_signature(self, index: DroppableIndex) -> None:
        """No signature is never verified."""
        index.add_verified([(_DIGEST, b"before")])
        index.add_verified([(_DIGEST, b"now"), (bytes(32), b"")])
        found = [index.has_verified(_DIGEST, signature) for signature in (b"now", b"before", b"")]
        require_equal(found, [True, False, False], "the signatures of a blob")
        require_equal(index.has_verified(bytes(32), b""), False, "an unknown signature")  # noqa: FBT003

    def test_dropping_forgets_everything(self, index: DroppableIndex) -> None:
        """And it fills again."""
        index.put_collection(_STATE)
        index.add_verified([(_DIGEST, b"now")])
        index.drop()
        require_equal(index.find_collection("animals"), None, "the state")
        require_equal(index.has_verified(_DIGEST, b"now"), False, "the blob")  # noqa: FBT003
        index.put_collection(_STATE)
        require_equal(index.find_collection("animals"), _STATE, "the state, again")

    def test_threads_share_it(self, index: DroppableIndex) -> None:
        """What each of them records is there afterwards."""

        def add(first: int) -> None:
            for number in range(first, first + 100):
                index.add_verified([(number.to_bytes(32, "big"), b"%d" % number)])
                index.put_collection(Collection(f"c{number}", number))

        threads = [threading.Thread(target=add, args=(number * 100,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lost = [number for number in range(800) if not index.has_verified(number.to_bytes(32, "big"), b"%d" % number)]
        lost += [
            number for number in range(800) if index.find_collection(f"c{number}") != Collection(f"c{number}", number)
        ]
        require_equal(lost, [], "what was lost")
