"""References to local files: `file:///data/images/cat.png`.

A file that was recorded with its SHA-256 is hashed before its first byte is handed out, and again when its signature
has changed since. A link is followed only if what it leads to lies under a prefix that is followed, too; those below a
directory are kept as links, as put keeps them.

Used by `references.py`. Threading: a FileSource may be shared by threads.

Source: open(2), fstat(2).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from cachetools import LRUCache

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import AccessDeniedError, SourceChangedError, translate_os_error
from artifactfs.model import Validator
from artifactfs.paths import printable
from artifactfs.reference.base import Described, LocalLink, Special, changed, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.errors import ArtifactFSError
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.base import Listed
    from artifactfs.reference.policy import ReferencePolicy

REMEMBERED: Final = 65_536
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO put in its place must not block


class FileSource:
    """Reads local files. May be shared by threads."""

    def __init__(self, policy: ReferencePolicy) -> None:
        self._policy = policy
        self._guard = threading.Lock()
        self._hashed: LRUCache[tuple[int, ...], bytes] = LRUCache(REMEMBERED)

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Return what is at a URI; with `checksum` the file is read."""
        with self._opened(uri) as descriptor:
            if descriptor is None:
                raise missing(uri)
            status = os.fstat(descriptor)
            validator = Validator("modified", str(status.st_mtime_ns))
            if checksum:
                validator = Validator("sha256", self._hash(uri, descriptor, status).hex())
        return Described(uri, status.st_size, validator, status.st_mtime_ns)

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Listed]:
        """Yield what lies below a directory but directories, in order of names; of a special file itself.

        Raises:
            ArtifactFSError: a directory cannot be listed, or a file not be read.
        """
        top = _path(uri)
        try:
            mode = os.stat(top).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _failed(error, top) from error
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            yield Special(uri, top, mode)
        for folder, folders, names in os.walk(top, onerror=_raise) if stat.S_ISDIR(mode) else ():
            folders.sort()
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in sorted([*names, *links]):
                yield self._describe_below(os.path.join(folder, name), checksum=checksum)

    def _describe_below(self, path: bytes, *, checksum: bool) -> Listed:
        uri = f"file://{quote(path)}"
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                return LocalLink(uri, os.readlink(path), status.st_mtime_ns)
        except OSError as error:
            raise _failed(error, path) from error
        if stat.S_ISREG(status.st_mode):
            return self.describe(uri, checksum=checksum)
        return Special(uri, path, status.st_mode)

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Return exactly these bytes of a file; see `Source`."""
        with self._opened(entry.uri) as descriptor:
            if descriptor is None:
                raise changed(entry, None)
            before = os.fstat(descriptor)
            self._compare(entry, descriptor, before)
            data = os.pread(descriptor, size, offset)
            if len(data) != size or _signature(os.fstat(descriptor)) != _signature(before):
                raise changed(entry, _by_time(entry.uri, os.fstat(descriptor)))
        return data

    def _compare(self, entry: ReferenceEntry, descriptor: int, status: os.stat_result) -> None:
        found = _by_time(entry.uri, status)
        if status.st_size != entry.size or (entry.validator.kind == "modified" and found.validator != entry.validator):
            raise changed(entry, found)
        if entry.validator.kind == "sha256":
            digest = self._hash(entry.uri, descriptor, status)
            if digest.hex() != entry.validator.value:
                raise changed(entry, Described(entry.uri, found.size, Validator("sha256", digest.hex()), 0))

    def _hash(self, uri: str, descriptor: int, status: os.stat_result) -> bytes:
        signature = _signature(status)
        with self._guard:
            known = self._hashed.get(signature)
        if known is not None:
            return known
        hasher = hashlib.sha256()
        offset = 0
        while data := os.pread(descriptor, CHUNK_SIZE, offset):
            hasher.update(data)
            offset += len(data)
        if offset != status.st_size or _signature(os.fstat(descriptor)) != signature:
            raise SourceChangedError(f"{uri} changed while it was read", hint="try again", subject=uri)
        with self._guard:
            self._hashed[signature] = hasher.digest()
        return hasher.digest()

    @contextmanager
    def _opened(self, uri: str) -> Iterator[int | None]:
        """Give a descriptor of a regular file, or None where there is none."""
        self._policy.check(uri)
        path = _path(uri)
        try:
            descriptor = os.open(path, _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                yield None
                return
            raise translate_os_error(error, doing=f"reading {uri}", subject=uri) from error
        try:
            yield descriptor if self._check_place(uri, path, descriptor) else None
        except OSError as error:
            raise translate_os_error(error, doing=f"reading {uri}", subject=uri) from error
        finally:
            os.close(descriptor)

    def _check_place(self, uri: str, path: bytes, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return False
        real = os.path.realpath(path)
        if real != path:
            # A link leads elsewhere, and may have been replaced since: it is the open file that counts.
            self._policy.check(f"file://{quote(real)}")
            if not os.path.samestat(os.lstat(real), status):
                raise AccessDeniedError(f"{uri} was replaced while it was opened", hint="try again", subject=uri)
        return True


def _raise(error: OSError) -> None:
    raise _failed(error, os.fsencode(error.filename or "")) from error


def _failed(error: OSError, path: bytes) -> ArtifactFSError:
    return translate_os_error(error, doing=f"reading {printable(path)}", subject=os.fsdecode(path))


def _path(uri: str) -> bytes:
    return unquote_to_bytes(uri.removeprefix("file://"))


def _by_time(uri: str, status: os.stat_result) -> Described:
    return Described(uri, status.st_size, Validator("modified", str(status.st_mtime_ns)), status.st_mtime_ns)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
