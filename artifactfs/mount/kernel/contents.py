"""Reading file content for READ requests: descriptors of large files stay open, data is not cached twice.

A small file is asked for once, so it is opened, read and closed. A large one is asked for piece by piece, so its
descriptor is kept, few at a time. What was read of a large file is in the kernel's cache of the mount; its copy in
the cache of the backing file is given up 4 MiB behind the read position (on the range just read that does nothing,
because those pages are still on their way to the lists that the kernel can drop from).

Threading: one thread of one worker.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.blobstore.remote import FetchedContent
from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.source import Content, NodeSource

KEPT_FROM_BYTES: Final = 256 << 10
"""Size from which a file's descriptor is kept."""
KEPT_COUNT: Final = 64
_OBJECTS: Final = 1024
"""Objects elsewhere of which the last chunk is known."""
_NEAR: Final = 2
"""Workers share what a program reads in order, and each sees a part of it."""
DROP_FROM_BYTES: Final = 16 << 20
"""Size from which a file is not left in the page cache twice."""
DROP_BEHIND_BYTES: Final = 4 << 20
DROP_STEP_BYTES: Final = 4 << 20
"""How far the position goes from one time to the next, so that not each READ gives up a span."""
DROP_SPAN_BYTES: Final = 16 << 20
"""How much is given up at a time. The kernel keeps a folio that lies only partly in the range, and on file systems with
large folios (ext4 since Linux 6.16) one can be larger than a READ."""


class _OpenContents(LRUCache[int, "Content"]):
    """Open files by node; what falls out is closed."""

    def popitem(self) -> tuple[int, Content]:
        """Close and remove the one used longest ago."""
        node, content = super().popitem()
        content.close()
        return node, content


class Contents:
    """Reads by node.

    Threading: one thread.
    """

    def __init__(
        self, source: NodeSource, *, drops_behind: bool = True, tell: Callable[[], None] | None = None
    ) -> None:
        """Store where content is opened.

        Args:
            source: opens it.
            drops_behind: whether the page cache is spared.
            tell: called when the request that is answered goes on to another chunk of an object elsewhere: whoever
                fetched it fetches what comes next.
        """
        self._source = source
        self._tell = tell
        self._last: dict[object, int] = {}
        self._drops_behind = drops_behind
        self._kept = _OpenContents(KEPT_COUNT)
        self._read: set[int] = set()
        """Nodes of the kept ones that were read since the last look for idle ones."""

    def read(self, node: int, into: memoryview, *, offset: int, flags: int = 0) -> int:
        """Read a file's bytes from `offset` into a buffer.

        Args:
            node: the file.
            into: as many bytes as are wanted.
            offset: bytes from the start.
            flags: open flags of the reader.

        Returns:
            How many bytes there were; fewer than wanted only at the end.

        Raises:
            OSError, ArtifactFSError: the content cannot be opened or read; EIO when it ends too early.
        """
        content = self._kept.get(node)
        if content is not None:
            try:
                return self._read_kept(node, content, into, offset=offset, flags=flags)
            except (OSError, IntegrityError):
                # What took the place of damaged bytes since is found by opening it anew.
                del self._kept[node]
                content.close()
        content = self._source.open_content(node)
        if content.size >= KEPT_FROM_BYTES:
            self._kept[node] = content
            return self._read_kept(node, content, into, offset=offset, flags=flags)
        try:
            count = _read_from(content, into, offset)
            self._note(content, offset)
            return count
        finally:
            content.close()

    def _read_kept(self, node: int, content: Content, into: memoryview, *, offset: int, flags: int) -> int:
        self._read.add(node)
        if len(self._read) > KEPT_COUNT:
            self._read &= self._kept.keys()
        count = _read_from(content, into, offset)
        self._note(content, offset)
        if self._drops_behind and content.size >= DROP_FROM_BYTES and not flags & os.O_DIRECT:
            _drop_behind(content, offset, count)
        return count

    def _note(self, content: Content, offset: int) -> None:
        """Tell when another chunk of an object elsewhere is read; of a pack only when it follows the one before."""
        if self._tell is None or not isinstance(content, FetchedContent):
            return
        name, number = content.find_chunk(offset)
        last = self._last.get(name, -1)
        if number == last:
            return
        if len(self._last) >= _OBJECTS:
            self._last.clear()
        self._last[name] = number
        if content.size > CHUNK_SIZE or 0 < number - last <= _NEAR:
            self._tell()

    def close_idle(self) -> None:
        """Close the files that were not read since the last call: what was pruned since takes no more room then."""
        for node in self._kept.keys() - self._read:
            self._kept.pop(node).close()
        self._read.clear()

    def close(self) -> None:
        """Close all files."""
        while self._kept:
            self._kept.popitem()


def _read_from(content: Content, into: memoryview, offset: int) -> int:
    wanted = min(len(into), content.size - offset)
    if wanted <= 0:
        return 0
    if isinstance(content, FetchedContent):
        count = content.read_into(into[:wanted], offset)
    elif (extent := content.extent()) is None:
        data = content.read_at(offset, wanted)
        into[: len(data)] = data
        count = len(data)
    else:
        descriptor, start = extent
        count = os.preadv(descriptor, [into[:wanted]], start + offset)
        while 0 < count < wanted:
            more = os.preadv(descriptor, [into[count:wanted]], start + offset + count)
            if more == 0:
                break
            count += more
    if count != wanted:
        # A short answer would be taken for the end of the file and filled up with zeros.
        msg = f"content ends after {offset + count} of {content.size} bytes"
        raise OSError(errno.EIO, msg)
    return count


def _drop_behind(content: Content, offset: int, count: int) -> None:
    stop = offset - DROP_BEHIND_BYTES + count
    start = max(stop - DROP_SPAN_BYTES, 0)
    extent = content.extent()
    is_step = stop // DROP_STEP_BYTES != (stop - count) // DROP_STEP_BYTES
    if extent is None or stop <= start or not is_step:
        return
    descriptor, base = extent
    with suppress(OSError):
        os.posix_fadvise(descriptor, base + start, stop - start, os.POSIX_FADV_DONTNEED)
