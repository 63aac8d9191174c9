"""Reading local files into entries, so that what is stored is what was there at one moment.

A file's status is taken before and after it is read; when it changed in between, it is read again. One that changed
just before is read twice and compared, since a further change might not show in its times. Bytes are hashed as they
are stored, so even a change that no status shows cannot give bytes a wrong name.

Used by put and the SDK. Threading: a FileReader may be shared by threads.

Source: open(2), fstat(2), listxattr(2).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Protocol

from artifactfs.blobstore.blobs import SMALL, StoredBlob
from artifactfs.blobstore.hashing import StreamHasher
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import SourceChangedError
from artifactfs.model import FileEntry, SymlinkEntry, limit_time_ns
from artifactfs.paths import printable
from artifactfs.repository.commit import DroppedXattrs
from artifactfs.repository.progress import counting
from artifactfs.repository.scan import source_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.blobstore.blobs import BlobName
    from artifactfs.manifest import Page
    from artifactfs.repository.scan import Found
    from artifactfs.repository.treepacks import AnyPlace

ATTEMPTS: Final = 3
TICK_NS: Final = 20_000_000
"""Before Linux 6.13 two changes in one tick of the kernel's clock, up to 10 ms, may give a file the same times."""
DROPPED_LIMIT: Final = 1000

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO put in its place must not block
_SYSTEM_XATTRS = frozenset({"security.selinux", "security.SMACK64", "security.ima", "security.evm"})


class Sink(Protocol):
    """Where blobs and trees go; `ContentBatch` is one."""

    def look_up(self, digests: Sequence[bytes]) -> None:
        """Look for blobs that will be asked for, or stored, soon."""

    def find_stored(self, blob: BlobName) -> StoredBlob | None:
        """Return a blob that need not be stored, because it is there already; None when it must be."""

    def store_hashed(self, sha256: bytes, data: bytes) -> StoredBlob:
        """Store a blob that is in memory, whose digest is known. Packs keep the order of these calls."""

    def store_blob(self, source: BinaryIO, *, size_hint: int = 0) -> StoredBlob:
        """Store all bytes that `source` still has."""

    def store_clone(self, descriptor: int, *, tell: Callable[[int], None] | None = None) -> StoredBlob | None:
        """Store a whole open file by sharing its blocks; None where that cannot be done."""

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Store one page of a directory, and return where it lies."""

    def find_stored_tree(self, tree: bytes) -> AnyPlace:
        """Return where the top page of a directory of files lies, if all of it is stored; None when unsure."""


class HashingSink:
    """Stores nothing, and tells what would be stored. May be shared by threads."""

    def look_up(self, digests: Sequence[bytes]) -> None:
        """Do nothing."""

    def find_stored(self, blob: BlobName) -> StoredBlob | None:
        """Return the blob: nothing needs to be stored."""
        return StoredBlob(blob.sha256, blob.size, blob.sums)

    def store_hashed(self, sha256: bytes, data: bytes) -> StoredBlob:
        """Return what the blob would be."""
        return StoredBlob(sha256, len(data))

    def store_blob(self, source: BinaryIO, *, size_hint: int = 0) -> StoredBlob:
        """Return what the blob would be."""
        del size_hint
        with StreamHasher(source) as hasher:
            for _ in hasher.iter_blocks():
                pass
            sha256, sums = hasher.finish()
        return StoredBlob(sha256, hasher.size, hashlib.sha256(sums).digest() if hasher.size > CHUNK_SIZE else None)

    def store_clone(self, descriptor: int, *, tell: Callable[[int], None] | None = None) -> StoredBlob | None:
        """Return None: nothing is stored."""

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Do nothing."""
        del page, places
        return None

    def find_stored_tree(self, tree: bytes) -> AnyPlace:
        """Return None: nothing is stored."""
        del tree
        return None


class Dropped:
    """Collects extended attributes that are not kept. May be shared by threads.

    Attributes:
        count: paths that have some.
        examples: the first of them.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.count = 0
        self.examples: list[DroppedXattrs] = []
        self._folders: set[bytes] = set()

    def note(self, path: bytes, file: int | bytes) -> None:
        """Look at a file or directory, by descriptor or by path, that stands at an entry path."""
        names = self.list_names(file)
        if names:
            with self._guard:
                self.count += 1
                self._folders.add(path.rpartition(b"/")[0])
                if len(self.examples) < DROPPED_LIMIT:
                    self.examples.append(DroppedXattrs(path, names))

    def pop_folder(self, path: bytes) -> bool:
        """Return whether something directly in a directory had some; asked once, when all in it was looked at."""
        with self._guard:
            has_some = path in self._folders
            self._folders.discard(path)
        return has_some

    def list_names(self, file: int | bytes) -> tuple[str, ...]:
        """Return the names of a file's extended attributes, without those that the system sets by itself."""
        listxattr = getattr(os, "listxattr", None)  # Linux only
        if listxattr is None:
            return ()
        try:
            names = listxattr(file) if isinstance(file, int) else listxattr(file, follow_symlinks=False)
        except OSError:
            return ()  # no such thing on this file system
        return tuple(name for name in names if name not in _SYSTEM_XATTRS) if names else ()


class ReadFile(NamedTuple):
    """A file that was read.

    Attributes:
        file: its entry.
        place: where its content lies; None when that is an object of its own, or not stored yet.
        data: its content, when that is still to be stored; see `FileReader.store`.
        status: what it was before and after it was read; None when it was not read.
    """

    file: FileEntry
    place: AnyPlace = None
    data: bytes | None = None
    status: os.stat_result | None = None


class FileReader:
    """Reads files and links. May be shared by threads.

    Args:
        sink: where content goes.
        dropped: learns of extended attributes.
        tell: called with the number of bytes read from large files, as they are read.
    """

    def __init__(self, sink: Sink, dropped: Dropped, *, tell: Callable[[int], None] | None = None) -> None:
        self._sink = sink
        self._dropped = dropped
        self._tell = tell

    def read_file(self, found: Found) -> ReadFile:
        """Read a file. A small one is in memory afterwards, to be given to `store`; a large one is stored.

        Raises:
            SourceChangedError: it changed each time it was read, or is gone.
            AccessDeniedError: it may not be read.
            StorageFullError: there is no room.
        """
        for _ in range(ATTEMPTS):
            read = self._read_once(found)
            if read is not None:
                return read
        msg = f"{printable(found.local)} changed while it was read, {ATTEMPTS} times"
        raise SourceChangedError(msg, hint="try again when nothing writes to it", subject=os.fsdecode(found.local))

    def store(self, read: ReadFile) -> ReadFile:
        """Store the content of a file that was read, unless that is done, and return it with its place.

        Raises:
            StorageFullError: there is no room.
        """
        if read.data is None:
            return read
        return ReadFile(read.file, self._sink.store_hashed(read.file.sha256, read.data).place, None, read.status)

    def read_link(self, found: Found) -> SymlinkEntry:
        """Return the entry of a symbolic link.

        Raises:
            SourceChangedError: it is gone or no link any more.
        """
        assert found.status is not None
        try:
            target = os.readlink(found.local)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise _replaced(found) from error
            raise source_failed(error, found.local) from error
        return SymlinkEntry(found.name, 0o777, limit_time_ns(found.status.st_mtime_ns), target)

    def _read_once(self, found: Found) -> ReadFile | None:
        """Return the file, or None when it changed meanwhile."""
        try:
            descriptor = os.open(found.local, _FLAGS)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise _replaced(found) from error
            raise source_failed(error, found.local) from error
        try:
            begun_ns = time.time_ns()
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise _replaced(found)
            blob, data = self._read(descriptor, before.st_size)
            if blob.size != before.st_size or _changed(before, os.fstat(descriptor)):
                return None
            if before.st_ctime_ns > begun_ns - TICK_NS and _hash(descriptor) != blob.sha256:
                return None
            self._dropped.note(found.path, descriptor)
        except OSError as error:
            raise source_failed(error, found.local) from error
        finally:
            os.close(descriptor)
        mode = before.st_mode & 0o777
        mtime_ns = limit_time_ns(before.st_mtime_ns)
        entry = FileEntry(found.name, mode, mtime_ns, blob.size, blob.sha256, blob.sums)
        return ReadFile(entry, blob.place, data, before)

    def _read(self, descriptor: int, size: int) -> tuple[StoredBlob, bytes | None]:
        if size <= SMALL:
            data = os.read(descriptor, size + 1)
            if len(data) == size:
                return StoredBlob(hashlib.sha256(data).digest(), size), data
            os.lseek(descriptor, 0, os.SEEK_SET)
        elif (cloned := self._sink.store_clone(descriptor, tell=self._tell)) is not None:
            return cloned, None
        with io.FileIO(descriptor, closefd=False) as file:
            return self._sink.store_blob(counting(file, self._tell), size_hint=size), None


def _hash(descriptor: int) -> bytes:
    """Return the SHA-256 of an open file, read again: what is the same twice was whole in between."""
    hasher, offset = hashlib.sha256(), 0
    while data := os.pread(descriptor, SMALL, offset):
        hasher.update(data)
        offset += len(data)
    return hasher.digest()


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _replaced(found: Found) -> SourceChangedError:
    msg = f"{printable(found.local)} was replaced by something else while it was read"
    return SourceChangedError(msg, hint="try again when nothing writes to it", subject=os.fsdecode(found.local))
