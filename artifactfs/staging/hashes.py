"""Digests of files in an upper directory, remembered by path, size, times and inode.

So `status` and the next commit do not read again what has not been written to since. A file that changed within two
seconds before it was read is not remembered, since a later change might leave no trace in its times. Nothing is
remembered from before the machine started: after a power loss a file may have its new times and its old bytes.

Used by status and commit. Threading: Hashes belongs to one thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from artifactfs.errors import ArtifactFSError
from artifactfs.staging.files import write_durably

if TYPE_CHECKING:
    import os

    from artifactfs.staging.layout import Layout

SETTLED_NS: Final = 2_000_000_000
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class KnownFile(NamedTuple):
    """A file that was read: what its status was, and its digests."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: bytes
    sums: bytes | None


class _Stored(msgspec.Struct, frozen=True):
    boot_id: str
    files: dict[bytes, KnownFile]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class Hashes:
    """What is known about the files of one upper directory. Belongs to one thread.

    Args:
        known: by entry path.
        boot_id: this boot of the machine.
        now_ns: time at which reading began.
    """

    def __init__(self, known: dict[bytes, KnownFile], *, boot_id: str, now_ns: int) -> None:
        self._known = known
        self._boot_id = boot_id
        self._now_ns = now_ns
        self._present: dict[bytes, KnownFile] = {}

    def find(self, path: bytes, status: os.stat_result) -> KnownFile | None:
        """Return what is known of a file, if it has not been written to since."""
        found = self._known.get(path)
        if found is None or found[:4] != _status_key(status):
            return None
        self._present[path] = found
        return found

    def add(self, path: bytes, status: os.stat_result, *, sha256: bytes, sums: bytes | None) -> None:
        """Remember a file that was read, if it had settled."""
        if max(status.st_ctime_ns, status.st_mtime_ns) < self._now_ns - SETTLED_NS:
            self._present[path] = KnownFile(*_status_key(status), sha256, sums)

    def save(self, layout: Layout) -> None:
        """Keep what is known of the files that were met; that this fails (a full disk) costs time only."""
        if self._present != self._known:
            with suppress(ArtifactFSError):
                write_durably(layout.hashes, _encoder.encode(_Stored(self._boot_id, self._present)))


def load_hashes(layout: Layout, *, now_ns: int, boot_id: str | None = None) -> Hashes:
    """Return what is known; nothing when the file is missing, damaged or older than the machine's start.

    Args:
        layout: of the staging directory.
        now_ns: the time.
        boot_id: this boot of the machine; None reads it from the kernel.
    """
    boot_id = read_boot_id() if boot_id is None else boot_id
    known: dict[bytes, KnownFile] = {}
    with suppress(OSError, msgspec.MsgspecError), open(layout.hashes, "rb") as file:
        stored = _decoder.decode(file.read())
        known = stored.files if stored.boot_id == boot_id else {}
    return Hashes(known, boot_id=boot_id, now_ns=now_ns)


def read_boot_id() -> str:
    """Return what stands for this boot of the machine; "" where there is no such thing."""
    with suppress(OSError), open(BOOT_ID, "rb") as file:  # Linux only
        return file.read().strip().decode("utf-8", "replace")
    return ""


def _status_key(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
