"""The index of one repository for one user: states of collections, which blobs were verified, and where they lie.

All of it can be deleted at any time; it fills by use. It belongs to one repository at one place. It only saves work,
so nothing fails because of it once it is open: when it is found to be damaged it is set aside and fills again.

What is remembered is held back and written in groups, because each write waits for the disk. What a killed process
held back costs folding a log, or hashing some blobs, again.

Used by `repository`. Threading: an Index may be shared by threads.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from artifactfs.errors import ArtifactFSError, IndexCorruptError
from artifactfs.index.environment import Environment
from artifactfs.index.places import find_local_directory
from artifactfs.index.placetable import PACKS, PLACES, PlaceTable
from artifactfs.index.rows import open_row, seal_row
from artifactfs.index.sourcetable import SOURCES, SourceTable
from artifactfs.model import Collection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.index.environment import Reader, Writer

FOLDER: Final = "index"
FORMAT: Final = b"2"
VERIFIED_BUFFER: Final = 512
"""Verifications that readers made are written in groups of so many."""
STATES_BUFFER: Final = 64
_COLLECTIONS, _VERIFIED, _META = "collections", "verified", "meta"
_OWNER: Final = b"owner"

Key = TypeVar("Key")
Value = TypeVar("Value")
_log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Collection)


class Index:
    """Tables that save work. A context manager; may be shared by threads.

    Attributes:
        places: where content lies in packs.
        sources: local files that were put.
    """

    def __init__(self, environment: Environment, *, owner: bytes) -> None:
        self._environment = environment
        self._owner = owner
        self._states: dict[str, Collection] = {}
        self._pending: dict[bytes, bytes] = {}
        self._guard = threading.Lock()
        self.places = PlaceTable(self._try_read, self._try_write)
        self.sources = SourceTable(self._try_read, self._try_write)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def find_collection(self, name: str) -> Collection | None:
        """Return a state that was put earlier, or None; the caller compares its head with the log."""
        held = self._states.get(name)
        if held is not None:
            return held
        key = name.encode()
        data = open_row(key, self._find(_COLLECTIONS, key))
        if data is None:
            return None
        try:
            return _decoder.decode(data)
        except (msgspec.MsgspecError, ArtifactFSError) as error:
            _log.warning("the index holds no readable state of %r (%s)", name, error)
            return None

    def put_collection(self, collection: Collection) -> None:
        """Remember a state. A few are held back, and written later in one go."""
        with self._guard:
            self._states[collection.name] = collection
            is_full = len(self._states) >= STATES_BUFFER
        if is_full:
            self.flush()

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""
        if not signature:
            return False
        found = self._pending.get(sha256) or self._find(_VERIFIED, sha256)
        return found == signature

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature. A few are held back, and written later in one go."""
        with self._guard:
            self._pending.update(items)
            is_full = len(self._pending) >= VERIFIED_BUFFER
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        with self._guard:
            states, pending = dict(self._states), dict(self._pending)
        if states or pending:
            encoded = {key: seal_row(key, _encoder.encode(states[name])) for name in states if (key := name.encode())}
            self._try_write(lambda writer: _put_all(writer, encoded, pending))
        with self._guard:
            _forget(self._states, states)
            _forget(self._pending, pending)
        self.places.flush()
        self.sources.flush()

    def drop(self) -> None:
        """Empty the index; it fills again by use."""
        with self._guard:
            self._states.clear()
            self._pending.clear()
        self.places.clear()
        self.sources.clear()
        try:
            self._environment.write(self._begin)
        except ArtifactFSError:
            self._replace()  # damaged, or no room even for deleting

    def close(self) -> None:
        """Write what is held back, and release the index."""
        self.flush()
        self._environment.close()

    def bind(self) -> None:
        """Empty the index if it was filled for another repository, or by another release."""
        if self._find(_META, _OWNER) != self._owner:
            self._try_write(self._begin)

    def _begin(self, writer: Writer) -> None:
        writer.clear()
        writer.put(_META, _OWNER, self._owner)

    def _find(self, table: str, key: bytes) -> bytes | None:
        try:
            return self._environment.get(table, key)
        except ArtifactFSError as error:
            self._recover(error)
            return None

    def _try_read(self, action: Callable[[Reader], object]) -> object:
        try:
            return self._environment.read(action)
        except ArtifactFSError as error:
            self._recover(error)
            return None

    def _try_write(self, action: Callable[[Writer], None]) -> None:
        try:
            self._environment.write(action)
        except ArtifactFSError as error:
            self._recover(error)

    def _recover(self, error: ArtifactFSError) -> None:
        if isinstance(error, IndexCorruptError):
            _log.warning("%s; it is set aside and fills again", error.message)
            self._replace()
        else:
            _log.warning("the index could not be used: %s", error)

    def _replace(self) -> None:
        try:
            self._environment.replace()
            self._environment.write(self._begin)
        except ArtifactFSError as error:
            _log.warning("the index could not be replaced: %s", error)


def _put_all(writer: Writer, states: dict[bytes, bytes], verified: dict[bytes, bytes]) -> None:
    writer.put_many(_COLLECTIONS, sorted(states.items()))
    writer.put_many(_VERIFIED, sorted(verified.items()))


def _forget(held: dict[Key, Value], written: dict[Key, Value]) -> None:
    for key, value in written.items():
        if held.get(key) is value:
            del held[key]


def open_index(directory: str, *, repository_id: str) -> Index:
    """Return the index below a state directory; it is made if there is none, and replaced if it is damaged.

    Raises:
        IndexCorruptError: it is damaged and cannot be replaced.
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    path = find_local_directory(os.path.join(directory, FOLDER))
    environment = Environment(path, tables=(_COLLECTIONS, _VERIFIED, _META, PLACES, PACKS, SOURCES), durable=True)
    environment.open()
    index = Index(environment, owner=FORMAT + b" " + repository_id.encode())
    index.bind()
    return index
