"""Disk space for the lock file of an LMDB environment, taken before LMDB maps it.

LMDB makes `lock.mdb` with ftruncate(2) and writes to it through shared memory. On a full disk there is no block behind
that memory, and the process ends with SIGBUS instead of an error.

Used by `handles`. Threading: a pure function on the file system.

Source: mdb_env_setup_locks in mdb.c; mmap(2), SIGBUS; fallocate(2).
"""

from __future__ import annotations

import os
from typing import Final

LOCK_FILE: Final = "lock.mdb"
_HEADER: Final = 4096  # MDB_txninfo takes 192 bytes on 64-bit Linux; more is taken for more readers
_READER: Final = 64
_BLOCK: Final = 512  # the unit of st_blocks: stat(2)


def allocate_lock(directory: str, readers: int) -> None:
    """See that the lock file in a directory has its blocks on the disk; one that is in use keeps its size.

    Args:
        directory: of the environment.
        readers: what LMDB is told as `max_readers`.

    Raises:
        OSError: ENOSPC, or the file cannot be opened.
    """
    descriptor = os.open(os.path.join(directory, LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        size = status.st_size or _HEADER + readers * _READER
        if status.st_blocks * _BLOCK < size and hasattr(os, "posix_fallocate"):  # macOS has no such call
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
