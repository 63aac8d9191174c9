"""How much a cache keeps: room is taken before a chunk is fetched, and what was used longest ago goes first.

The bytes in use are a number in the file `size`, which is counted again whenever something is deleted, so that a killed
process makes it wrong for a short while only.

Used by `diskcache`. Threading: a CacheQuota may be shared by threads, and by forked processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.cachekeeps import CacheKeeps
from artifactfs.blobstore.chunkfiles import TRAILER_SIZE, use_chunk
from artifactfs.errors import ArtifactFSError, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = ".part"
"""Ends the name of a chunk that is being fetched."""
USED: Final = ".used"
"""Ends the name of an empty file that says when users who do not own a chunk used it."""
_CHUNKS: Final = "chunks"
_SIZE_FILE: Final = "size"
_KEPT_SHARE: Final = 0.9
"""Making room goes down to this share of the quota, so that it is not done for each chunk."""


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much may be kept.

    Attributes:
        size: bytes in all files of the cache.
        free: bytes that stay free on its disk.
    """

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Cached:
    """A chunk that is there.

    Attributes:
        key: of the object.
        number: of the chunk.
        size: bytes.
        used_ns: when it was used last, within a minute.
        path: of its file.
    """

    key: str
    number: int
    size: int
    used_ns: int
    path: str

    @property
    def name(self) -> str:
        """`<key>.<number>`."""
        return f"{self.key}.{self.number}"


class CacheQuota:
    """The room of a cache. May be shared by threads and by forked processes.

    Attributes:
        directory: of the cache.
        limits: how much may be kept.
        chunks: directory of the chunks.
        keeps: what is never deleted to make room.
    """

    def __init__(self, directory: str, limits: CacheLimits) -> None:
        self.directory = directory
        self.limits = limits
        self.chunks = os.path.join(directory, _CHUNKS)
        self.keeps = CacheKeeps(directory, self.open_file)

    def used(self) -> int:
        """Return the bytes that are kept or about to be.

        Raises:
            ArtifactFSError: the cache's directory cannot be used.
        """
        with self._sized() as sized:
            return sized.get()

    def count(self) -> int:
        """Return the same, counted again: the room that killed processes had taken is free.

        Raises:
            ArtifactFSError: the cache's directory cannot be used.
        """
        with self._sized() as sized:
            used = self._scan()[1]
            sized.set(used)
            return used

    def clean(self, *, keep: int = 0) -> int:
        """Delete what was used longest ago, and is not kept, until `keep` bytes are left; return the bytes deleted.

        Raises:
            ArtifactFSError: the cache's directory cannot be used.
        """
        with self._sized() as sized:
            before = self._scan()[1]
            after = self._evict(keep)
            sized.set(after)
        return before - after

    def iter_chunks(self) -> Iterator[Cached]:
        """Yield the chunks that are there, in no order."""
        for folder, _, names in os.walk(self.chunks):
            present = set(names)
            for name in names:
                stem, _, number = name.rpartition(".")
                if not number.isdecimal():
                    continue
                path = os.path.join(folder, name)
                with suppress(OSError):
                    status = os.stat(path)
                    used_ns = status.st_atime_ns
                    if name + USED in present:
                        used_ns = max(used_ns, os.stat(path + USED).st_mtime_ns)
                    key = os.path.relpath(os.path.join(folder, stem), self.chunks)
                    yield Cached(key, int(number), max(status.st_size - TRAILER_SIZE, 0), used_ns, path)

    def touch(self, path: str, descriptor: int) -> None:
        """Note that a chunk is used now. Who does not own its file says so beside it."""
        try:
            use_chunk(descriptor)
        except OSError:
            with suppress(OSError):
                beside = self.open_file(path + USED)
                try:
                    os.utime(beside)
                finally:
                    os.close(beside)

    def open_file(self, path: str) -> int:
        """Return a descriptor of a file of the cache, made if need be; where the cache is shared its group may write.

        Raises:
            OSError: it cannot be opened.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # who shares the directory may have put a link there
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        self._make_folder(os.path.dirname(path))
        descriptor = os.open(path, flags | os.O_CREAT, 0o600)
        if self._is_shared():
            with suppress(OSError):  # somebody else has made it meanwhile
                os.fchmod(descriptor, 0o660)  # whatever the umask says
        return descriptor

    def make_own_file(self, path: str) -> tuple[str, int]:
        """Return path and descriptor of a new file for a chunk, locked, that nobody but this user may write to.

        Whoever calls holds the lock of the chunk.

        Raises:
            OSError: it cannot be made.
        """
        path = f"{path}.new{PART}"
        self._make_folder(os.path.dirname(path))
        while True:
            with suppress(FileNotFoundError):
                os.unlink(path)  # of a process that was killed
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._is_shared():
                    os.fchmod(descriptor, 0o640)
                if os.fstat(descriptor).st_nlink:
                    return path, descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # who counts took it for one that was left

    def _is_shared(self) -> bool:
        """Return whether the cache belongs to a group: its directory is set-group-ID."""
        try:
            return bool(os.stat(self.directory).st_mode & 0o2000)
        except OSError:
            return False

    def _make_folder(self, path: str) -> None:
        if os.path.isdir(path):
            return
        self._make_folder(os.path.dirname(path))
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
            if self._is_shared():
                os.chmod(path, 0o2770)  # noqa: S103 (its owner made the cache one of a group)

    def reserve(self, size: int, descriptor: int | None = None) -> bool:
        """Take room for so many bytes, and return whether there is.

        Args:
            size: bytes.
            descriptor: of the file that will have them; it gets its size now, so that whoever counts finds it.

        Raises:
            ArtifactFSError, OSError: the cache's directory cannot be used.
        """
        with self._sized() as sized:
            used = sized.get()
            if used + size > self.limits.size or self._free() - size < self.limits.free:
                goal = min(int(self.limits.size * _KEPT_SHARE), self.limits.size - size)
                missing = self.limits.free + size - self._free()
                used = self._evict(min(goal, used - missing) if missing > 0 else goal)
            fits = used + size <= self.limits.size and self._free() - size >= self.limits.free
            if fits and descriptor is not None:
                os.ftruncate(descriptor, size)
            sized.set(used + size if fits else used)
            return fits

    def has_room(self, size: int) -> bool:
        """Return whether so many bytes can be kept without anything being deleted."""
        try:
            return self.used() + size <= self.limits.size and self._free() - size >= self.limits.free
        except (ArtifactFSError, OSError):
            return False

    def give_back(self, size: int) -> None:
        """Say that so many bytes are not used after all."""
        with suppress(ArtifactFSError), self._sized() as sized:
            sized.set(max(sized.get() - size, 0))

    def _free(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def _evict(self, goal: int) -> int:
        """Delete what was used longest ago, and is not kept, until `goal` bytes are left; return how many are."""
        chunks, used = self._scan()
        kept = self.keeps.find_names() if used > goal else frozenset()
        for chunk in sorted(chunks, key=lambda chunk: chunk.used_ns):
            if used <= goal:
                break
            if chunk.name in kept:
                continue
            with suppress(OSError):
                os.unlink(chunk.path)
                used -= chunk.size + TRAILER_SIZE
            with suppress(OSError):
                os.unlink(chunk.path + USED)
        return used

    def _scan(self) -> tuple[list[Cached], int]:
        """Return all chunks, and their bytes with those that are being fetched; what killed processes left goes."""
        used = 0
        for folder, _, names in os.walk(self.chunks):
            for name in names:
                if name.endswith(PART):
                    used += _find_live_size(os.path.join(folder, name))
                elif name.endswith(USED) and name.removesuffix(USED) not in names:
                    with suppress(OSError):
                        os.unlink(os.path.join(folder, name))
        chunks = list(self.iter_chunks())
        return chunks, used + sum(chunk.size + TRAILER_SIZE for chunk in chunks)

    @contextmanager
    def _sized(self) -> Iterator[_SizeFile]:
        """Hold the number of bytes in use; it is counted where there is none.

        Raises:
            ArtifactFSError: the cache's directory cannot be used.
        """
        path = os.path.join(self.directory, _SIZE_FILE)
        try:
            descriptor = self.open_file(path)
        except OSError as error:
            raise translate_os_error(error, doing=f"using the cache {self.directory}", subject=path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            sized = _SizeFile(descriptor)
            if sized.find() is None:
                sized.set(self._scan()[1])
            yield sized
        finally:
            os.close(descriptor)


class _SizeFile:
    """A number in a file that is locked. Belongs to one thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def find(self) -> int | None:
        text = os.pread(self._descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None

    def get(self) -> int:
        return self.find() or 0

    def set(self, size: int) -> None:
        os.pwrite(self._descriptor, b"%20d\n" % size, 0)


def _find_live_size(path: str) -> int:
    """Return the bytes of a temporary file that somebody fills; one that nobody holds is deleted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return os.fstat(descriptor).st_size if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else 0
    else:
        with suppress(OSError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                os.unlink(path)
        return 0
    finally:
        os.close(descriptor)
