"""Reading from packs: many small files end to end in one object, each found by its offset.

A pack stays open between reads, so that reading a file costs one `pread`. It is looked at again from time to time:
one that was touched since is opened anew, and what was known of it no longer counts.

Used by `verifying.py` and by the repository for tree packs. Threading: PackFiles and parts may be shared by threads; a
pack is closed when nobody refers to it any more, so never under a reader.

Source: docs/format.md section 7.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from cachetools import LRUCache

from artifactfs.blobstore.keys import pack_key
from artifactfs.blobstore.remote import RangeReader
from artifactfs.digest import Digest
from artifactfs.errors import BlobMissingError, DigestMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import ObjectFile, ObjectReader
    from artifactfs.blobstore.blobs import VerifiedLog

KEPT_PACKS: Final = 128
"""Packs that stay open."""
LOOK_AGAIN_SECONDS: Final = 1.0
"""For so long a pack is taken to be what it was."""


WINDOW_SIZE: Final = 2 << 20
"""When a second file is read of so many bytes of a pack, all of them are asked for from the disk."""
WINDOW_SECONDS: Final = 30.0
"""After so long that is done again: they may have left memory."""


class PackPlace(Protocol):
    """Where some bytes lie in a pack; `model.Placement` is one."""

    @property
    def pack(self) -> bytes:
        """Raw digest of the pack."""

    @property
    def offset(self) -> int:
        """Bytes before them."""

    @property
    def size(self) -> int:
        """Bytes."""


class OpenPack:
    """A pack, open. Closed when the last part of it is gone; may be shared by threads.

    Attributes:
        file: its bytes.
        signature: what its file was like when it was opened.
        is_whole: whether these bytes were seen to hash to the pack's name.
        looked_at: when it was last compared with what lies under its name.
    """

    __slots__ = ("_windows", "_windows_since", "extent", "file", "is_whole", "looked_at", "signature")

    def __init__(self, file: ObjectFile, *, is_whole: bool, looked_at: float) -> None:
        self.file = file
        self.extent = file.extent()
        self.signature = file.signature()
        self.is_whole = is_whole
        self.looked_at = looked_at
        self._windows: dict[int, int | None] = {}
        self._windows_since = looked_at

    def read_ahead(self, offset: int, *, now: float) -> None:
        """Have the neighbours of a file brought into memory, if this is the second of them that is read.

        Files are read one by one and in any order, so the kernel sees no sequence. A lone file brings nothing along.
        """
        if self.extent is None or not hasattr(os, "posix_fadvise"):  # macOS
            return
        if now - self._windows_since > WINDOW_SECONDS:
            self._windows, self._windows_since = {}, now
        window = offset // WINDOW_SIZE
        first = self._windows.setdefault(window, offset)
        if first is None or first == offset:
            return
        self._windows[window] = None
        descriptor, start = self.extent
        with suppress(OSError):
            os.posix_fadvise(descriptor, start + window * WINDOW_SIZE, WINDOW_SIZE, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        """Close: counting references costs less than counting readers, and never forgets one."""
        self.file.close()


class PackPart:
    """One file in a pack: an `ObjectFile`. May be shared by threads."""

    __slots__ = ("_pack", "_start", "size")

    def __init__(self, pack: OpenPack, start: int, size: int) -> None:
        self._pack = pack
        self._start = start
        self.size = size

    @property
    def is_in_whole_pack(self) -> bool:
        """Whether the pack was seen to hash to its name, and not touched since."""
        return self._pack.is_whole

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the file."""
        wanted = min(size, self.size - offset)
        return self._pack.file.read_at(self._start + offset, wanted) if wanted > 0 else b""

    def extent(self) -> tuple[int, int] | None:
        """Return descriptor and offset of the bytes in the pack's file."""
        found = self._pack.extent
        return None if found is None else (found[0], found[1] + self._start)

    def signature(self) -> bytes:
        """Return the signature of the pack's file with the place in it; b"" when unknown."""
        found = self._pack.signature
        return b"%s@%x+%x" % (found, self._start, self.size) if found else b""

    def close(self) -> None:
        """Do nothing: the pack stays open for others."""


class RangePart:
    """One file in a pack of an object store, asked for by its range. May be shared by threads."""

    __slots__ = ("_key", "_ranges", "_start", "size")

    is_in_whole_pack: Final = False

    def __init__(self, ranges: RangeReader, key: str, place: PackPlace) -> None:
        self._ranges = ranges
        self._key = key
        self._start = place.offset
        self.size = place.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the file."""
        wanted = min(size, self.size - offset)
        return self._ranges.read_range(self._key, self._start + offset, wanted) if wanted > 0 else b""

    def extent(self) -> tuple[int, int] | None:
        """Return None: there is no local file."""
        return None

    def signature(self) -> bytes:
        """Return b"": what comes over a network is verified each time."""
        return b""

    def close(self) -> None:
        """Do nothing."""


class PackFiles:
    """Open packs, or tree packs. May be shared by threads."""

    def __init__(
        self,
        store: ObjectReader,
        verified: VerifiedLog,
        *,
        key: Callable[[bytes], str] = pack_key,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store where packs lie, what is known of them, how their keys are made, and a clock."""
        self._store = store
        self._ranges = store if isinstance(store, RangeReader) else None
        self._verified = verified
        self._key = key
        self._now = now
        self._guard = threading.Lock()
        self._open: LRUCache[bytes, OpenPack] = LRUCache(KEPT_PACKS)

    def open_part(self, place: PackPlace) -> PackPart | RangePart:
        """Return a file in a pack, not verified. Of an object store nothing is asked before it is read.

        Raises:
            BlobMissingError: there is no such pack.
            DigestMismatchError: the pack is too short.
        """
        if self._ranges is not None:
            return RangePart(self._ranges, self._key(place.pack), place)
        pack = self._get(place.pack)
        if place.offset + place.size > pack.file.size:
            digest = Digest(place.pack)
            msg = f"the pack {digest} has {pack.file.size} bytes, and one of its files ends later"
            raise DigestMismatchError(msg, subject=str(digest))
        pack.read_ahead(place.offset, now=self._now())
        return PackPart(pack, place.offset, place.size)

    def forget(self) -> None:
        """Look at every pack again before it is read."""
        with self._guard:
            self._open.clear()

    def _get(self, pack: bytes) -> OpenPack:
        now = self._now()
        with self._guard:
            found = self._open.get(pack)
        if found is not None and now - found.looked_at < LOOK_AGAIN_SECONDS:
            return found
        try:
            file = self._store.open(self._key(pack))
        except BlobMissingError:
            if found is None:
                raise
            found.looked_at = now  # it was deleted; these bytes are still there
            return found
        if found is not None and file.signature() and file.signature() == found.signature:
            file.close()
            found.looked_at = now
            return found
        new = OpenPack(file, is_whole=self._verified.has_verified(pack, file.signature()), looked_at=now)
        with self._guard:
            self._open[pack] = new
        return new
