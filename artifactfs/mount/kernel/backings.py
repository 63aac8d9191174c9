"""Passthrough: large files are handed to the kernel, which then reads their blobs by itself.

OPEN is answered with the id of a backing file, which was registered by an ioctl. All opens of one node must have the
same id while any of them is open, and the id is closed on the last RELEASE (closed after the answer to OPEN, it is
gone before the kernel has looked it up). Workers share a table for that, in a memfd under a lock that dies with
its holder; a worker killed between registering and noting leaves an id open until the mount ends, nothing worse.

An id is never given together with KEEP_CACHE, which the kernel answers with EIO. Small files are opened without an
id, and are read as always.

Threading: one thread; processes are kept apart by the lock.
Source: linux/fuse.h, `fuse_open_out`; fs/fuse/iomode.c, passthrough.c.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from artifactfs.digest import CHUNK_SIZE
from artifactfs.mount.kernel.codes import Opcode, OpenFlag
from artifactfs.mount.kernel.device import close_backing, open_backing
from artifactfs.mount.kernel.structures import IN_HEADER, OPEN_IN, OPEN_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.requests import Handler
    from artifactfs.mount.kernel.source import Content, Source

SLOTS: Final = 4096
FROM_BYTES: Final = 1 << 20
"""Size from which a file is handed to the kernel."""
_WORD: Final = 8


class BackingTable:
    """Backing id and number of opens by node, shared by all workers.

    Threading: `locked` keeps processes apart.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memfd `descriptor`, which stays open as long as this lives."""
        self.descriptor = descriptor
        words = memoryview(mmap.mmap(descriptor, 3 * SLOTS * _WORD)).cast("Q")
        self._nodes, self._ids, self._opens = (words[SLOTS * part : SLOTS * (part + 1)] for part in range(3))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Source: fcntl(2), F_SETLKW: the kernel frees it when the process dies."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def find(self, node: int) -> tuple[int, int] | None:
        """Return (id, opens) of a node."""
        slot = self._find_slot(node)
        return None if slot is None else (self._ids[slot], self._opens[slot])

    def store(self, node: int, *, backing: int, opens: int) -> None:
        """Note a node's id and how often it is open; 0 removes it.

        Raises:
            OSError: ENFILE when too many nodes are open.
        """
        slot = self._find_slot(node)
        if slot is None:
            slot = self._find_slot(0)
        if slot is None:
            raise OSError(errno.ENFILE, f"more than {SLOTS} large files are open")
        # A reader of a half-written slot would need the lock, which a killed writer leaves; the node comes last.
        self._nodes[slot] = 0
        self._ids[slot], self._opens[slot] = backing, opens
        self._nodes[slot] = node if opens else 0

    def _find_slot(self, node: int) -> int | None:
        try:
            return self._nodes.tolist().index(node)
        except ValueError:
            return None


def create_backings() -> BackingTable:
    """Return an empty table. Source: memfd_create(2)."""
    descriptor = os.memfd_create("artifactfs-backings", os.MFD_CLOEXEC)
    os.truncate(descriptor, 3 * SLOTS * _WORD)
    return BackingTable(descriptor)


def _find_verified(content: Content) -> int | None:
    """Return a descriptor of content that is verified to the end: its reads are never seen again.

    None when the content has no file of its own: it lies in a pack, or elsewhere.

    Raises:
        ArtifactFSError: it is damaged.
    """
    if content.extent() is None:
        for offset in range(0, content.size, CHUNK_SIZE):
            content.read_at(offset, 1)
    extent = content.extent()
    if extent is None or extent[1] or os.fstat(extent[0]).st_size != content.size:
        return None
    return extent[0]


class Passthrough:
    """The handlers of OPEN and RELEASE for a mount with passthrough.

    Threading: one thread of one worker.
    """

    def __init__(self, device: int, source: Source, *, buffers: Buffers, table: BackingTable) -> None:
        """Store the device, where content is opened, and the shared table."""
        self._device = device
        self._source = source
        self._buffers = buffers
        self._table = table

    def handlers(self) -> dict[int, Handler]:
        """Return the handlers that replace those of `Requests`."""
        return {Opcode.OPEN: self.open, Opcode.RELEASE: self.release}

    def open(self, node: int, size: int) -> int:
        """Answer OPEN: with a backing id for a large file, else as the kernel would do unasked."""
        if size < OPEN_IN.size:
            raise OSError(errno.EINVAL, "short request")
        flags, _ = OPEN_IN.packer.unpack_from(self._buffers.request, IN_HEADER.size)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        with closing(self._source.open_content(node)) as content:
            backing = self._acquire(node, content) if content.size >= FROM_BYTES else None
        if backing is None:
            return self._answer(0, OpenFlag.KEEP_CACHE, 0)
        return self._answer(backing, OpenFlag.PASSTHROUGH, backing)

    def _answer(self, handle: int, flags: OpenFlag, backing: int) -> int:
        OPEN_OUT.packer.pack_into(self._buffers.payload, 0, handle, flags, backing)
        return OPEN_OUT.size

    def _acquire(self, node: int, content: Content) -> int | None:
        descriptor = _find_verified(content)
        if descriptor is None:
            return None
        with self._table.locked():
            known = self._table.find(node)
            backing, opens = known if known is not None else (open_backing(self._device, descriptor), 0)
            self._table.store(node, backing=backing, opens=opens + 1)
            return backing

    def release(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer RELEASE: the last one closes the id."""
        with self._table.locked():
            known = self._table.find(node)
            if known is None:
                return 0
            backing, opens = known
            self._table.store(node, backing=backing, opens=opens - 1)
            if opens == 1:
                close_backing(self._device, backing)
        return 0
