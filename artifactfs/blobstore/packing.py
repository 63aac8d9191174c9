"""Writing packs: small objects end to end, in the order in which they are added.

The name of a pack is known when it is complete, so a place in it is a value that learns the name later. A small pack is
written in one go; a larger one by a thread, which hashes and writes while the next files are read.

Used by `blobbatch.py` for files and by the repository for trees. Threading: a Packer belongs to one thread at a time.

Source: docs/format.md section 7.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectBatch

PACK_SIZE: Final = 64 << 20
"""A pack is complete when it has so many bytes."""
PACK_COUNT: Final = 1 << 16
"""Or so many files: what waits for its name is held in memory."""
BLOCK_SIZE: Final = 1 << 20
"""So many bytes are handed to the thread, and written, at once."""
STREAM_FROM: Final = 4 << 20
"""A pack up to this size is written without a thread."""
WAITING_BLOCKS: Final = 8


class PackName:
    """The name of a pack, once it is complete."""

    __slots__ = ("digest", "size")

    def __init__(self, digest: bytes | None = None, size: int = 0) -> None:
        self.digest = digest
        self.size = size


class Place:
    """Where some bytes lie in a pack that may not be complete yet; a `PackPlace` when it is."""

    __slots__ = ("name", "offset", "size")

    def __init__(self, name: PackName, offset: int, size: int) -> None:
        self.name = name
        self.offset = offset
        self.size = size

    @property
    def pack(self) -> bytes:
        """Raw digest of the pack, which must be complete."""
        assert self.name.digest is not None
        return self.name.digest


class Packer:
    """Writes packs. Belongs to one thread at a time.

    Attributes:
        name: of the pack that is being filled.
    """

    def __init__(
        self, batch: ObjectBatch, *, key: Callable[[bytes], str], size: int | None = None, count: int | None = None
    ) -> None:
        """Store where packs go, how their keys are made, and when one is complete."""
        self._batch = batch
        self._key = key
        self._limits = size or PACK_SIZE, count or PACK_COUNT
        self.name = PackName()
        self._count = 0
        self._block: list[bytes] = []
        self._block_size = 0
        self._stream: _Stream | None = None

    def add(self, data: bytes) -> Place:
        """Put bytes behind those that were added before, and return where they lie.

        Raises:
            StorageFullError: there is no room; nothing of this pack is stored.
        """
        place = Place(self.name, self.name.size, len(data))
        self._block.append(data)
        self._block_size += len(data)
        self._count += 1
        self.name.size += len(data)
        if self._block_size >= (BLOCK_SIZE if self._stream is not None else STREAM_FROM):
            self._hand_over()
        return place

    @property
    def is_full(self) -> bool:
        """Whether the pack should be completed."""
        return self.name.size >= self._limits[0] or self._count >= self._limits[1]

    def seal(self) -> PackName | None:
        """Complete the pack that is being filled and name it in the batch; None when there is nothing in it.

        Raises:
            StorageFullError: there is no room; nothing of this pack is stored.
        """
        if not self._count:
            return None
        name, rest, stream = self.name, self._block, self._stream
        self._reset()
        if stream is None:
            data = b"".join(rest)
            digest, handle = hashlib.sha256(data).digest(), self._batch.write((data,))
        else:
            if rest:
                stream.put(b"".join(rest))
            digest, handle = stream.finish()
        name.digest = digest
        self._batch.name(handle, self._key(digest))
        return name

    def abort(self) -> None:
        """Drop the pack that is being filled."""
        stream = self._stream
        self._reset()
        if stream is not None:
            stream.abort()

    def _reset(self) -> None:
        self.name = PackName()
        self._count, self._block, self._block_size, self._stream = 0, [], 0, None

    def _hand_over(self) -> None:
        if self._stream is None:
            self._stream = _Stream(self._batch)
        block, self._block, self._block_size = b"".join(self._block), [], 0
        self._stream.put(block)


class _Stream:
    """An object that is hashed and written by a thread of its own."""

    def __init__(self, batch: ObjectBatch) -> None:
        self._batch = batch
        self._blocks: queue.Queue[bytes | None] = queue.Queue(WAITING_BLOCKS)
        self._hash = hashlib.sha256()
        self._handle: object = None
        self._error: BaseException | None = None
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="pack", daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        """Give the next bytes; fails when an earlier block could not be written."""
        if self._error is not None:
            raise self._error
        self._blocks.put(block)

    def finish(self) -> tuple[bytes, object]:
        """Return the digest of all bytes and the handle of the object."""
        self._end()
        if self._error is not None:
            raise self._error
        return self._hash.digest(), self._handle

    def abort(self) -> None:
        """Remove what was written."""
        self._end()
        if self._handle is not None:
            self._batch.discard(self._handle)

    def _end(self) -> None:
        self._blocks.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._handle = self._batch.write(self._iter_blocks())
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that fills the pack)
            self._error = error
            while not self._has_ended:
                self._has_ended = self._blocks.get() is None

    def _iter_blocks(self) -> Iterator[bytes]:
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)
            yield block
        self._has_ended = True
