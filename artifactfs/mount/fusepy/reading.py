"""A read-only view as a fusepy file system.

The kernel does most of the work: names and attributes keep for a day (what is inside a version never changes, and an
alias is a symbolic link whose target is read each time), pages stay, and OPEN is answered ENOSYS once, after which
files are opened and closed without asking. So reads come without a handle and are found by path; the nodes of
directories are remembered here.

What was deleted in the catalogue may still be known to the kernel. Where the kernel asks about it and can ask again by
name (opening a directory, following an alias), the answer is ESTALE, not ENOENT: it then looks the name up afresh,
gets ENOENT, and forgets it.

Used by `daemon` through `transport`.

Threading: called from libfuse's threads; the only shared state is a dict, whose single operations are atomic.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Any, Final

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import ArtifactFSError, IndexCorruptError, NotFoundError
from artifactfs.mount.failures import Failures
from artifactfs.mount.fusepy.bridge import fill_stat
from artifactfs.mount.fusepy.operations import Operations
from artifactfs.vfs.base import ROOT_NODE, Attributes, DetailView, Kind, UnknownNodeError, View, WholeView

_log = logging.getLogger(__name__)
_TYPE_BITS: Final = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}
_XATTR_PREFIX: Final = b"user.artifactfs."
_REMEMBERED_DIRECTORIES: Final = 65536


class ReadOperations(Operations):
    """Serves a `View`. Every file belongs to `uid` and `gid`; `on_ready` is called when the kernel may ask.

    `renew` opens the view afresh, in another epoch, when that of the present one is damaged.

    Threading: called from libfuse's threads.
    """

    def __init__(
        self,
        view: View,
        *,
        details: DetailView,
        uid: int,
        gid: int,
        on_ready: Callable[[], None],
        renew: Callable[[], WholeView] | None = None,
    ) -> None:
        self._renew = renew
        self._view = view
        self._details = details
        self._uid = uid
        self._gid = gid
        self._on_ready = on_ready
        self._directories: dict[bytes, int] = {b"": ROOT_NODE}
        self._failures = Failures()

    def init(self) -> None:
        """Say that the mount answers."""
        self._on_ready()

    def recover(self, error: IndexCorruptError) -> bool:
        """Go on with another epoch, if there is one to be had."""
        if self._renew is None:
            return False
        try:
            self._view = self._details = self._renew()
        except ArtifactFSError as failure:
            _log.error("%s; and nothing can be served instead: %s", error, failure)
            return False
        self._directories = {b"": ROOT_NODE}
        _log.warning("%s; the mount goes on in another epoch", error.message)
        return True

    def getattr(self, path: bytes, handle: int | None, target: Any) -> None:  # noqa: ARG002
        """Fill a `struct stat`."""
        found = self._find(path)
        mode = found.mode | _TYPE_BITS[found.kind]
        fill_stat(target, found, mode=mode, uid=self._uid, gid=self._gid)

    def open(self, path: bytes, flags: int) -> int:  # noqa: ARG002
        """Answer ENOSYS, once for the whole mount: the kernel then opens without asking.

        Source: fuse_file_open in fs/fuse/file.c; the kernel has checked permissions and the read-only flag.
        """
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def read(self, path: bytes, size: int, offset: int, handle: int) -> bytes:  # noqa: ARG002
        """Return the overlap of the range with the file."""
        node, begun = self._find(path).node, time.monotonic()
        key = (node, offset // CHUNK_SIZE)
        if number := self._failures.find(key):
            raise OSError(number, os.strerror(number))
        try:
            return self._view.read(node, offset=offset, size=size)
        except ArtifactFSError as error:
            self._failures.note(key, error.errno, begun=begun)
            raise

    def opendir(self, path: bytes) -> int:
        """Return the directory's node as the handle."""
        try:
            return self._find(path).node
        except NotFoundError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def readdir(self, path: bytes | None, handle: int) -> list[tuple[bytes, int, int]]:
        """Return names with node numbers and types, `.` and `..` first. A list: an error must come from here."""
        listing = [(b".", handle, stat.S_IFDIR), (b"..", handle, stat.S_IFDIR)]
        try:
            children = list(self._view.read_directory(handle))
        except UnknownNodeError:
            if path is None:
                raise
            children = list(self._view.read_directory(self._find(path).node))  # opened in an earlier epoch
        return listing + [(name, found.node, _TYPE_BITS[found.kind]) for name, found in children]

    def readlink(self, path: bytes) -> bytes:
        """Return the target."""
        try:
            return self._view.readlink(self._find(path).node)
        except NotFoundError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        """Return a value; the kernel asks for security.* and system.* often, which never exist."""
        if not name.startswith(_XATTR_PREFIX):
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return self._details.get_xattr(self._find(path).node, name)

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names."""
        return list(self._details.list_xattrs(self._find(path).node))

    def statfs(self, path: bytes) -> dict[str, int]:  # noqa: ARG002
        """Return the figures of the disk below the repository."""
        figures = self._details.statfs()
        return {
            "f_bsize": figures.block_size,
            "f_frsize": figures.block_size,
            "f_blocks": figures.blocks,
            "f_bfree": figures.blocks_free,
            "f_bavail": figures.blocks_available,
            "f_files": figures.files,
            "f_ffree": figures.files_free,
            "f_favail": figures.files_free,
            "f_namemax": 255,
        }

    def _find(self, path: bytes) -> Attributes:
        parent, _, name = path.rpartition(b"/")
        if not name:
            return self._view.getattr(ROOT_NODE)
        directory = self._directories.get(parent)
        if directory is None:
            directory = self._find_directory(parent)
        return self._view.lookup(directory, name)

    def _find_directory(self, path: bytes) -> int:
        if len(self._directories) > _REMEMBERED_DIRECTORIES:
            self._directories = {b"": ROOT_NODE}
        node, walked = ROOT_NODE, b""
        for name in path[1:].split(b"/"):
            walked += b"/" + name
            known = self._directories.get(walked)
            if known is None:
                known = self._view.lookup(node, name).node
                self._directories[walked] = known
            node = known
        return node


class LowerOperations(ReadOperations):
    """Serves the version below an overlay: without extended attributes, which would be copied up with a file.

    Threading: called from libfuse's threads.
    """

    def getxattr(self, path: bytes, name: bytes) -> bytes:  # noqa: ARG002
        """Answer ENOSYS, once for the whole mount: the kernel does not ask again."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def listxattr(self, path: bytes) -> list[bytes]:  # noqa: ARG002
        """Answer ENOSYS, once for the whole mount."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
