"""The index of one repository for one user: states of collections, and which blobs were verified.

All of it can be deleted at any time; it fills by use. It belongs to one repository at one place.

Used by `repository`. Threading: an Index may be shared by threads.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final, Self

import msgspec

from artifactfs.errors import ArtifactFSError
from artifactfs.index.environment import Environment, find_local_directory
from artifactfs.model import Collection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.index.environment import Writer

FOLDER: Final = "index"
FORMAT: Final = b"1"
VERIFIED_BUFFER: Final = 512
"""Verifications that readers made are written in groups of so many: losing some costs hashing again."""
_COLLECTIONS, _VERIFIED, _META = "collections", "verified", "meta"
_KEY_LIMIT: Final = 511

_log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Collection)


class Index:
    """Tables that save work. A context manager; may be shared by threads."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._pending: dict[bytes, bytes] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def find_collection(self, name: str) -> Collection | None:
        """Return a state that was put earlier, or None; the caller compares its head with the log."""
        data = self._environment.get(_COLLECTIONS, name.encode())
        if data is None:
            return None
        try:
            return _decoder.decode(data)
        except msgspec.MsgspecError as error:
            _log.warning("the index holds no readable state of %r (%s)", name, error)
            return None

    def put_collection(self, collection: Collection) -> None:
        """Remember a state."""
        data = _encoder.encode(collection)
        self._try_write(lambda writer: writer.put(_COLLECTIONS, collection.name.encode(), data))

    def has_verified(self, sha256: bytes, signature: bytes) -> bool:
        """Return whether the file with this signature was recorded with this digest."""
        if not signature:
            return False
        found = self._pending.get(sha256) or self._environment.get(_VERIFIED, sha256)
        return found == signature

    def add_verified(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record pairs of raw digest and signature. A few are held back, and written later in one go."""
        with self._guard:
            self._pending.update(items)
            full = len(self._pending) >= VERIFIED_BUFFER
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        with self._guard:
            pending = dict(self._pending)
        if pending:
            self._try_write(lambda writer: _put_all(writer, pending))
        with self._guard:
            for key, value in pending.items():
                if self._pending.get(key) == value:
                    del self._pending[key]

    def drop(self) -> None:
        """Empty the index; it fills again by use."""
        with self._guard:
            self._pending.clear()
        self._environment.drop()

    def close(self) -> None:
        """Write what is held back, and release the index."""
        self.flush()
        self._environment.close()

    def bind(self, owner: bytes) -> None:
        """Empty the index if it was filled for another repository, or by another release."""
        if self._environment.get(_META, b"owner") != owner:
            self._environment.drop()
            self._try_write(lambda writer: writer.put(_META, b"owner", owner))

    def _try_write(self, action: _Action) -> None:
        try:
            self._environment.write(action)
        except ArtifactFSError as error:
            # It only saves work: what it was asked to remember is in the repository.
            _log.warning("the index could not be written: %s", error)


def _put_all(writer: Writer, pending: dict[bytes, bytes]) -> None:
    for key, value in sorted(pending.items()):
        writer.put(_VERIFIED, key, value)


if TYPE_CHECKING:
    from collections.abc import Callable

    _Action = Callable[[Writer], None]


def open_index(directory: str, *, repository_id: str) -> Index:
    """Return the index below a state directory; it is made if there is none, and replaced if it is damaged.

    Raises:
        IndexCorruptError: it is damaged and cannot be replaced.
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    path = find_local_directory(os.path.join(directory, FOLDER))
    environment = Environment(path, tables=(_COLLECTIONS, _VERIFIED, _META), durable=True)
    environment.open()
    index = Index(environment)
    index.bind(FORMAT + b" " + repository_id.encode())
    return index
