"""Passthrough: large files are handed to the kernel, which then reads their blobs by itself.

OPEN is answered with the id of a backing file, which was registered by an ioctl. All opens of one node must have the
same id while any of them is open, and the id is closed on the last RELEASE (closed after the answer to OPEN, it is
gone before the kernel has looked it up). Workers share a table for that (`backing_table`), under a lock that dies with
its holder; a worker killed between registering and noting leaves an id open until the mount ends, nothing worse.

An id is never given together with KEEP_CACHE, which the kernel answers with EIO. Small files are opened without an
id, and are read as always.

Threading: one thread; processes are kept apart by the table's lock.
Source: linux/fuse.h, `fuse_open_out`; fs/fuse/iomode.c, passthrough.c.
"""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.remote import FetchedContent
from artifactfs.digest import CHUNK_SIZE
from artifactfs.mount.kernel.codes import UNIQUE_RESEND, Opcode, OpenFlag
from artifactfs.mount.kernel.device import close_backing, open_backing
from artifactfs.mount.kernel.requests import RefusedError
from artifactfs.mount.kernel.structures import IN_HEADER, OPEN_IN, OPEN_OUT, RELEASE_IN

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.backing_table import BackingTable
    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.requests import Handler
    from artifactfs.mount.kernel.source import Content, Source

FROM_BYTES: Final = 1 << 20
"""Size from which a file is handed to the kernel."""


def _find_verified(content: Content, get_on: Callable[[], None]) -> int | None:
    """Return a descriptor of content that is verified to the end: its reads are never seen again.

    None when the content has no file of its own: it lies in a pack, or elsewhere. `get_on` is called for each
    piece that is verified, because all of them can take minutes.

    Raises:
        ArtifactFSError: it is damaged.
    """
    if isinstance(content, FetchedContent):
        return None
    if content.extent() is None:
        for offset in range(0, content.size, CHUNK_SIZE):
            content.read_at(offset, 1)
            get_on()
    extent = content.extent()
    if extent is None or extent[1] or os.fstat(extent[0]).st_size != content.size:
        return None
    return extent[0]


class Passthrough:
    """The handlers of OPEN and RELEASE for a mount with passthrough.

    Threading: one thread of one worker.
    """

    def __init__(
        self,
        device: int,
        source: Source,
        *,
        buffers: Buffers,
        table: BackingTable,
        get_on: Callable[[], None] = lambda: None,
    ) -> None:
        """Store the device, where content is opened, the shared table, and who is told that this is not stuck."""
        self._device = device
        self._source = source
        self._buffers = buffers
        self._table = table
        self._get_on = get_on

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
            descriptor = _find_verified(content, self._get_on) if content.size >= FROM_BYTES else None
            if descriptor is None:
                return self._answer(0, OpenFlag.KEEP_CACHE, 0)
            handle = IN_HEADER.packer.unpack_from(self._buffers.request)[2] & ~UNIQUE_RESEND
            with self._table.locked():
                backing = self._table.open(handle, node, register=lambda: open_backing(self._device, descriptor))
        if backing is None:
            raise RefusedError(errno.EBADF, "another worker has answered this, and the file is closed again")
        return self._answer(handle, OpenFlag.PASSTHROUGH, backing)

    def _answer(self, handle: int, flags: OpenFlag, backing: int) -> int:
        OPEN_OUT.packer.pack_into(self._buffers.payload, 0, handle, flags, backing)
        return OPEN_OUT.size

    def release(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer RELEASE: the last one of a node closes its id."""
        if size < RELEASE_IN.size:
            raise OSError(errno.EINVAL, "short request")
        handle = RELEASE_IN.packer.unpack_from(self._buffers.request, IN_HEADER.size)[0]
        if handle:
            with self._table.locked():
                unused = self._table.release(handle)
                if unused is not None:
                    close_backing(self._device, unused)
        return 0
