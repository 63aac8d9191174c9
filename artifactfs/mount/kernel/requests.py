"""Answers to requests: one method for each operation, writing straight into the reply buffer.

A handler takes the node and the size of the request's body, which lies in the request buffer after the header.
It returns the size of the payload that it left in the reply buffer, or raises. `NO_ANSWER` is for FORGET.

Threading: one thread; nothing is kept between requests but open descriptors of large files.
Source: linux/fuse.h; errors as the kernel expects them from fs/fuse/{dir,file,readdir,xattr}.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from artifactfs.mount.kernel.codes import CHANGES, Opcode
from artifactfs.mount.kernel.pages import strip_attributes
from artifactfs.mount.kernel.structures import (
    GETXATTR_IN,
    GETXATTR_OUT,
    IN_HEADER,
    INTERRUPT_IN,
    READ_IN,
    STATFS_OUT,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.buffers import Buffers
    from artifactfs.mount.kernel.contents import Contents
    from artifactfs.mount.kernel.errands import ErrandPipe
    from artifactfs.mount.kernel.source import Source

    Handler = Callable[[int, int], int]

NO_ANSWER: Final = -1
BODY: Final = IN_HEADER.size
NAME_MAX: Final = 255
OUR_XATTRS: Final = b"user.artifactfs."
_read_in = READ_IN.packer.unpack_from

NOT_ASKED_AGAIN: Final = (
    Opcode.OPEN, Opcode.OPENDIR, Opcode.FLUSH, Opcode.FSYNC, Opcode.FSYNCDIR, Opcode.ACCESS, Opcode.INTERRUPT,
    Opcode.BMAP, Opcode.POLL, Opcode.LSEEK, Opcode.STATX, Opcode.GETLK, Opcode.SETLK, Opcode.SETLKW,
    Opcode.SYNCFS, Opcode.IOCTL,
)  # fmt: skip
"""Answered ENOSYS: the kernel then does these by itself and asks most of them once in the life of a mount. INTERRUPT
only where there is no fetcher."""


class RefusedError(OSError):
    """An answer that is an errno and nothing else; made once, so that refusing costs little."""


def _refusal(number: int) -> RefusedError:
    return RefusedError(number, os.strerror(number))


class Requests:
    """The handlers, for one worker.

    Threading: one thread.
    """

    def __init__(
        self, source: Source, *, buffers: Buffers, contents: Contents, errands: ErrandPipe | None = None
    ) -> None:
        """Store what the handlers use; `errands` leads to the fetcher, where there is one."""
        self._source = source
        self._errands = errands
        self._request = buffers.request
        self._payload = buffers.payload
        self._contents = contents

    def handlers(self) -> dict[int, Handler]:
        """Return the handler of each operation that has one; any other is answered ENOSYS."""
        table: dict[int, Handler] = {
            Opcode.LOOKUP: self.lookup,
            Opcode.GETATTR: self.getattr,
            Opcode.READLINK: self.readlink,
            Opcode.READ: self.read,
            Opcode.READDIRPLUS: self.readdirplus,
            Opcode.READDIR: self.readdir,
            Opcode.STATFS: self.statfs,
            Opcode.GETXATTR: self.getxattr,
            Opcode.LISTXATTR: self.listxattr,
            Opcode.RELEASE: self.nothing,
            Opcode.RELEASEDIR: self.nothing,
            Opcode.DESTROY: self.nothing,
            Opcode.FORGET: self.forget,
            Opcode.BATCH_FORGET: self.forget,
        }
        table.update(dict.fromkeys(CHANGES, self.refuse_change))
        if self._errands is not None:
            table[Opcode.INTERRUPT] = self.interrupt
        if not self._source.has_xattrs:
            del table[Opcode.GETXATTR], table[Opcode.LISTXATTR]
        return table

    # Names and attributes

    def lookup(self, node: int, size: int) -> int:
        """Answer with the `fuse_entry_out` of a name, node 0 for one that does not exist."""
        name = self._name(BODY, size)
        if len(name) > NAME_MAX:
            raise _refusal(errno.ENAMETOOLONG)
        return self._copy(self._source.find_entry(node, name))

    def getattr(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer with the `fuse_attr_out` of a node."""
        return self._copy(self._source.find_attributes(node))

    def readlink(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer with the target of a link."""
        return self._copy(self._source.read_link(node))

    # Content

    def read(self, node: int, size: int) -> int:
        """Answer with bytes of a file, read into the buffer by pread(2)."""
        if size < READ_IN.size:
            raise _refusal(errno.EINVAL)
        _, offset, wanted, _, _, flags = _read_in(self._request, BODY)
        if wanted > len(self._payload):
            raise _refusal(errno.EINVAL)
        return self._contents.read(node, self._payload[:wanted], offset=offset, flags=flags)

    def readdirplus(self, node: int, size: int) -> int:
        """Answer with records of a directory, attributes included."""
        if size < READ_IN.size:
            raise _refusal(errno.EINVAL)
        _, offset, wanted, _, _, _ = _read_in(self._request, BODY)
        return self._source.fill_directory(node, offset=offset, into=self._payload[:wanted])

    def readdir(self, node: int, size: int) -> int:
        """Answer with records of a directory without attributes, for kernels that ask so."""
        if size < READ_IN.size:
            raise _refusal(errno.EINVAL)
        _, offset, wanted, _, _, _ = _read_in(self._request, BODY)
        filled = self._source.fill_directory(node, offset=offset, into=self._payload)
        return self._copy(strip_attributes(bytes(self._payload[:filled]), room=wanted))

    # The rest

    def statfs(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer with the space of the file system below."""
        space = self._source.statfs()
        return self._copy(
            STATFS_OUT.packer.pack(
                space.blocks, space.free, space.available, space.files, space.files_free,
                space.block_size, NAME_MAX, space.block_size,
            )
        )  # fmt: skip

    def getxattr(self, node: int, size: int) -> int:
        """Answer with the value of an attribute, or with its size when the caller has no room yet."""
        room = self._xattr_room(size)
        name = self._name(BODY + GETXATTR_IN.size, size - GETXATTR_IN.size)
        # Programs ask for ACLs and labels of every file: that must not cost a look into the index.
        value = self._source.find_xattr(node, name) if name.startswith(OUR_XATTRS) else None
        if value is None:
            raise _refusal(errno.ENODATA)
        return self._answer_sized(value, room)

    def listxattr(self, node: int, size: int) -> int:
        """Answer with the names of the attributes, or with the size of that."""
        room = self._xattr_room(size)
        return self._answer_sized(b"".join(name + b"\0" for name in self._source.list_xattrs(node)), room)

    def nothing(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Answer that it is done."""
        return 0

    def forget(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Do nothing: nodes are kept by the index, not in memory, and FORGET has no answer."""
        return NO_ANSWER

    def interrupt(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Tell the fetcher that nobody waits for a request any more. Workers answer before anybody could give up.

        Source: fuse documentation, "Interrupting filesystem operations"; an answer is neither needed nor wanted.
        """
        if self._errands is not None and size >= INTERRUPT_IN.size:
            self._errands.send(self._request[: BODY + INTERRUPT_IN.size])
        return NO_ANSWER

    def refuse_change(self, node: int, size: int) -> int:  # noqa: ARG002 - a handler
        """Refuse: versions never change."""
        raise _refusal(errno.EROFS)

    def _xattr_room(self, size: int) -> int:
        if size < GETXATTR_IN.size:
            raise _refusal(errno.EINVAL)
        room: int = GETXATTR_IN.packer.unpack_from(self._request, BODY)[0]
        return room

    def _answer_sized(self, value: bytes, room: int) -> int:
        if room == 0:
            return self._copy(GETXATTR_OUT.packer.pack(len(value)))
        if len(value) > room:
            raise _refusal(errno.ERANGE)
        return self._copy(value)

    def _name(self, start: int, size: int) -> bytes:
        """Return the NUL-terminated name at `start`, of a body part of `size` bytes."""
        name, nul, _ = bytes(self._request[start : start + max(size, 0)]).partition(b"\0")
        if not nul or not name:
            raise _refusal(errno.EINVAL)
        return name

    def _copy(self, data: bytes | memoryview) -> int:
        size = len(data)
        self._payload[:size] = data
        return size
