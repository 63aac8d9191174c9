"""Hashing while copying: the digest of a whole blob, and those of its 4 MiB chunks.

hashlib lets go of Python's lock, so reading, hashing whole, hashing chunks and writing run at once for a big
file. Memory is a ring of buffers of 1 MiB, whatever the size of the file.

Used by `blobbatch.py`. Threading: a value of these classes belongs to the thread that made it.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from artifactfs.digest import CHUNK_SIZE, DIGEST_SIZE, Digest, hash_bytes
from artifactfs.errors import DigestMismatchError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from artifactfs.blobstore.base import ObjectFile

BLOCK_SIZE: Final = 1 << 20
RING_SIZE: Final = 6


class ChunkHasher:
    """SHA-256 of each 4 MiB chunk of what goes through."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._hash = hashlib.sha256()
        self._filled = 0

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        while len(data):
            part = data[: CHUNK_SIZE - self._filled]
            self._hash.update(part)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == CHUNK_SIZE:
                self._digests.append(self._hash.digest())
                self._hash, self._filled = hashlib.sha256(), 0

    def finish(self) -> bytes:
        """Return the sums object: 32 bytes for each chunk, the last of which may be short."""
        if self._filled:
            self._digests.append(self._hash.digest())
            self._filled = 0
        return b"".join(self._digests)


def split_sums(data: bytes, *, expected: bytes, size: int) -> tuple[bytes, ...]:
    """Return the SHA-256 of each 4 MiB chunk of a blob of `size` bytes.

    Raises:
        DigestMismatchError: `data` does not hash to `expected`.
        MalformedError: it has not one digest for each chunk.
    """
    if hash_bytes(data).raw != expected:
        msg = f"the sums {Digest(expected)} are damaged: their bytes hash to {hash_bytes(data)}"
        raise DigestMismatchError(msg, subject=str(Digest(expected)))
    if len(data) != -(-size // CHUNK_SIZE) * DIGEST_SIZE:
        msg = f"the sums {Digest(expected)} are not those of a blob of {size} bytes"
        raise MalformedError(msg, subject=str(Digest(expected)))
    return tuple(data[start : start + DIGEST_SIZE] for start in range(0, len(data), DIGEST_SIZE))


def hash_file(file: ObjectFile, start: int = 0, end: int | None = None) -> bytes:
    """Return the raw SHA-256 of a stored object, or of the part of it from `start` to before `end`."""
    hasher = hashlib.sha256()
    stop = file.size if end is None else end
    while start < stop:
        data = file.read_at(start, min(BLOCK_SIZE, stop - start))
        if not data:
            break  # the file became shorter: the digest tells
        hasher.update(data)
        start += len(data)
    return hasher.digest()


class StreamHasher:
    """Reads a file to its end, hashing in two threads what it hands on. A context manager.

    Attributes (valid after the last chunk):
        size: bytes read.
    """

    def __init__(self, source: BinaryIO | io.RawIOBase) -> None:
        # Most commands hash no large file, and this import costs them 8 ms.
        from concurrent.futures import ThreadPoolExecutor, wait  # noqa: PLC0415

        self._wait = wait
        self._source = source
        self._whole = hashlib.sha256()
        self._chunks = ChunkHasher()
        self._threads = (ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(1, "sums"))
        self._busy: deque[tuple[bytearray, list[Future[None]]]] = deque()
        self.size = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.shutdown(wait=True)

    def iter_blocks(self, head: bytes = b"") -> Iterator[memoryview]:
        """Yield the bytes of the file after `head`, which was read from it before.

        Each block is valid until the next but RING_SIZE - 1 is asked for.
        """
        if head:
            yield self._submit(bytearray(head), len(head))
        while True:
            buffer = self._free_buffer()
            count = _read_into(self._source, buffer)
            if not count:
                break
            yield self._submit(buffer, count)
        for _, tasks in self._busy:
            self._wait(tasks)

    def finish(self) -> tuple[bytes, bytes]:
        """Return the raw digest of everything, and the sums object."""
        return self._whole.digest(), self._chunks.finish()

    def _free_buffer(self) -> bytearray:
        if len(self._busy) < RING_SIZE:
            return bytearray(BLOCK_SIZE)
        buffer, tasks = self._busy.popleft()
        self._wait(tasks)
        return buffer if len(buffer) == BLOCK_SIZE else bytearray(BLOCK_SIZE)

    def _submit(self, buffer: bytearray, count: int) -> memoryview:
        block = memoryview(buffer)[:count]
        whole, chunks = self._threads
        self._busy.append(
            (buffer, [whole.submit(self._whole.update, block), chunks.submit(self._chunks.update, block)])
        )
        self.size += count
        return block


class ObjectStream(io.RawIOBase):
    """A stored object as a file that is read from start to end. Belongs to one thread."""

    def __init__(self, file: ObjectFile) -> None:
        super().__init__()
        self._file = file
        self._offset = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into `buffer` and return the number of bytes; 0 at the end."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read_at(self._offset, len(view))
        view[: len(data)] = data
        self._offset += len(data)
        return len(data)


def _read_into(source: BinaryIO | io.RawIOBase, buffer: bytearray) -> int:
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        return int(readinto(buffer) or 0)
    data = source.read(len(buffer)) or b""
    buffer[: len(data)] = data
    return len(data)
