"""The interface between what artifacts look like as files and a transport that shows them.

Node 1 is the root. A transport asks by node, as kernels do. Errors are of the tree in `errors`, each with its errno:
a missing name is ENOENT, missing or damaged content EIO, a node that was never given out ESTALE.

Used by `mount`. Threading: views may be shared by threads.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.errors import InvalidPathError
from artifactfs.index.epoch import ROOT_NODE, UnknownNodeError
from artifactfs.vfs.attributes import Attributes, Kind, StatFs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ROOT_NODE",
    "Attributes",
    "DetailView",
    "IsADirectoryNodeError",
    "Kind",
    "NoAttributeError",
    "NotADirectoryNodeError",
    "StatFs",
    "UnknownNodeError",
    "View",
]

XATTR_PREFIX: Final = b"user.artifactfs."


class NotADirectoryNodeError(InvalidPathError):
    """What was to be listed or looked into is no directory."""

    errno = errno.ENOTDIR


class IsADirectoryNodeError(InvalidPathError):
    """What was to be read is a directory."""

    errno = errno.EISDIR


class NoAttributeError(OSError):
    """A node has no extended attribute of this name: ENODATA."""


class View(Protocol):
    """Files and directories that are read."""

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory.

        Raises:
            NotFoundError: there is no such name.
            NotADirectoryNodeError: `parent` is no directory.
            UnknownNodeError: `parent` was never given out.
            IntegrityError: the directory's content is missing or damaged.
        """

    def getattr(self, node: int) -> Attributes:
        """Return the attributes of a node.

        Raises:
            NotFoundError: it was given out, but what it stood for was deleted since.
            UnknownNodeError: it was never given out.
        """

    def read_directory(self, node: int) -> Sequence[tuple[bytes, Attributes]]:
        """Return names and attributes in name order, without `.` and `..`.

        Raises:
            NotADirectoryNodeError: it is no directory.
            NotFoundError, UnknownNodeError, IntegrityError: as above.
        """

    def readlink(self, node: int) -> bytes:
        """Return the target of a symbolic link.

        Raises:
            InvalidPathError: it is none (EINVAL, as of readlink(2)).
            NotFoundError, UnknownNodeError: as above.
        """

    def read(self, node: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with a file, verified.

        Raises:
            IsADirectoryNodeError: it is a directory.
            InvalidPathError: it is neither a file nor a directory.
            UnknownNodeError: it was never given out.
            IntegrityError: the content is missing or damaged; no byte of it is returned.
        """


class DetailView(Protocol):
    """What is asked rarely."""

    def list_xattrs(self, node: int) -> Sequence[bytes]:
        """Return the names of a node's extended attributes."""

    def get_xattr(self, node: int, name: bytes) -> bytes:
        """Return the value of an extended attribute.

        Raises:
            NoAttributeError: the node has none of this name.
        """

    def statfs(self) -> StatFs:
        """Return the figures of the disk below."""


class WholeView(View, DetailView, Protocol):
    """All that can be asked of a tree."""
