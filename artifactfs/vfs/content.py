"""Reading file content by node: large files stay open, small ones are opened for each read.

A kernel that caches asks for a small file once, so keeping it open would only use up descriptors.

Used by the views. Threading: Contents may be shared by threads; a file is never closed under a reader.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

from artifactfs.digest import Digest
from artifactfs.errors import DigestMismatchError, IntegrityError
from artifactfs.vfs.node_records import ReferenceNode

if TYPE_CHECKING:
    from artifactfs.repository.repository import ReadableFile, Repository
    from artifactfs.vfs.node_records import FileNode

KEPT_FROM_BYTES: Final = 128 << 10
"""Size from which a file is asked for in several requests, and is kept open."""
KEPT_COUNT: Final = 256


class _Kept:
    """An open file and how many threads are reading it. Guarded by the lock of `Contents`."""

    def __init__(self, file: ReadableFile) -> None:
        self.file = file
        self.readers = 0
        self.is_evicted = False


class Contents:
    """Open files of a repository. A context manager; may be shared by threads."""

    def __init__(self, repository: Repository, *, limit: int = KEPT_COUNT) -> None:
        self._repository = repository
        self._limit = limit
        self._guard = threading.Lock()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def read(self, blob: FileNode | ReferenceNode, *, offset: int, size: int) -> bytes:
        """Return the overlap of a range with a file, verified.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: its content is missing or damaged.
        """
        if blob.size <= KEPT_FROM_BYTES:
            file = self._open(blob)
            try:
                return _read_whole(file, blob, offset=offset, size=size)
            finally:
                file.close()
        return self._read_kept(blob, offset=offset, size=size)

    def close(self) -> None:
        """Close every file that nobody reads; the others when their readers are done."""
        with self._guard:
            evicted = [self._evict() for _ in range(len(self._kept))]
        _close(evicted)

    def _open(self, blob: FileNode | ReferenceNode) -> ReadableFile:
        if isinstance(blob, ReferenceNode):
            return self._repository.references.open(blob.as_entry())
        return self._repository.open_file(blob, blob.placement)

    def _read_kept(self, blob: FileNode | ReferenceNode, *, offset: int, size: int) -> bytes:
        while True:
            kept, is_new = self._acquire(blob)
            try:
                return _read_whole(kept.file, blob, offset=offset, size=size)
            except IntegrityError:
                self._forget(kept)  # what took the place of damaged bytes since is found by opening it anew
                if is_new:
                    raise
            finally:
                self._release(kept)

    def _forget(self, kept: _Kept) -> None:
        with self._guard:
            for key in [key for key, other in self._kept.items() if other is kept]:
                del self._kept[key]
            kept.is_evicted = True

    def _acquire(self, blob: FileNode | ReferenceNode) -> tuple[_Kept, bool]:
        """Return an open file, and whether it was opened just now."""
        # A reference has a node of its own for each URI and validator, and files of equal content share theirs.
        key = blob.attributes.node.to_bytes(8, "big") if isinstance(blob, ReferenceNode) else blob.sha256
        with self._guard:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                kept.readers += 1
                return kept, False
        file = self._open(blob)
        with self._guard:
            kept = self._kept.get(key)
            spare: list[ReadableFile | None] = []
            if kept is None:
                kept = self._kept[key] = _Kept(file)
            else:
                spare.append(file)  # another thread was faster
            kept.readers += 1
            while len(self._kept) > self._limit:
                spare.append(self._evict())
        _close(spare)
        return kept, True

    def _release(self, kept: _Kept) -> None:
        with self._guard:
            kept.readers -= 1
            unused = kept.is_evicted and kept.readers == 0
        if unused:
            kept.file.close()

    def _evict(self) -> ReadableFile | None:
        _, kept = self._kept.popitem(last=False)
        kept.is_evicted = True
        return kept.file if kept.readers == 0 else None


def _read_whole(file: ReadableFile, blob: FileNode | ReferenceNode, *, offset: int, size: int) -> bytes:
    data = file.read_at(offset, size)
    if len(data) != max(min(size, blob.size - offset), 0):
        # The kernel takes a short read for the end of the file, and would show zeros after it.
        digest = Digest(blob.content if isinstance(blob, ReferenceNode) else blob.sha256)
        msg = f"the blob {digest} was cut short while it was open"
        raise DigestMismatchError(msg, hint="restore it from a copy of the repository", subject=str(digest))
    return data


def _close(files: list[ReadableFile | None]) -> None:
    for file in files:
        if file is not None:
            file.close()
