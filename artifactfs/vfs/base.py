"""The interface between what artifacts look like as files and a transport that shows them.

Node 1 is the root. A transport asks by node, as kernels do. Errors are of the tree in `errors`, each with its errno:
a missing name is ENOENT, missing or damaged content EIO, a node that was never given out ESTALE.

Used by `mount`. Threading: views may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.index.epoch import ROOT_NODE, UnknownNodeError
from artifactfs.vfs.attributes import Attributes, Kind, StatFs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROOT_NODE", "Attributes", "DetailView", "Kind", "NoAttributeError", "StatFs", "UnknownNodeError", "View"]

XATTR_PREFIX: Final = b"user.artifactfs."


class NoAttributeError(OSError):
    """A node has no extended attribute of this name: ENODATA."""


class View(Protocol):
    """Files and directories that are read."""

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return the attributes of a name in a directory.

        Raises:
            NotFoundError: there is no such name.
            UnknownNodeError: `parent` was never given out.
            IntegrityError: the directory's content is missing or damaged.
        """

    def getattr(self, node: int) -> Attributes:
        """Return the attributes of a node."""

    def read_directory(self, node: int) -> Sequence[tuple[bytes, Attributes]]:
        """Return names and attributes in name order, without `.` and `..`."""

    def readlink(self, node: int) -> bytes:
        """Return the target of a symbolic link."""

    def read(self, node: int, *, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with a file, verified."""


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
