"""Which LMDB environments this process has open: handles are shared and counted, and forgotten in a forked child.

Used by `environment`. Threading: everything here may be shared by threads.

Source: https://lmdb.readthedocs.io, "a process may open an environment once".
"""

from __future__ import annotations

import os
import threading

from artifactfs.index.handles import Handle, Settings, find_inode


class _Registry:
    """The handles of one process. Shared by threads."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.handles: dict[str, Handle] = {}


# LMDB allows one open per process and file, so what is open is a fact of the process. One registry for each process
# id: a forked child gets its own, whatever state the locks of its parent were in.
_REGISTRIES: dict[int, _Registry] = {}


def acquire(directory: str, settings: Settings) -> Handle:
    """Return this process's handle of the environment in a directory, opened if need be; `release` gives it back.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: see `Handle.open`.
    """
    registry = _registry()
    with registry.guard:
        handle = registry.handles.get(directory)
        if handle is not None and handle.inode != find_inode(directory):
            # The directory was deleted below an open environment, and perhaps made anew; or the file alone, and LMDB
            # opens no directory twice.
            handle.leave()
            handle = None
        if handle is None:
            handle = Handle(directory, settings)
            handle.open()
            registry.handles[directory] = handle
        handle.users += 1
        return handle


def release(handle: Handle) -> None:
    """Give a handle back; the last one closes it. What was inherited through a fork is the parent's."""
    if handle.pid != os.getpid():
        return
    registry = _registry()
    with registry.guard:
        handle.users -= 1
        if handle.users:
            return
        if registry.handles.get(handle.directory) is handle:
            del registry.handles[handle.directory]
        handle.close()


def replace(handle: Handle, inode: int) -> None:
    """Set aside a damaged environment, for all who use the handle, unless that has been done since.

    Args:
        handle: what is open.
        inode: of the file that was found to be damaged.

    Raises:
        IndexCorruptError, AccessDeniedError, StorageFullError: see `Handle.open`.
    """
    with _registry().guard:
        if handle.inode == inode:
            handle.replace()


def _registry() -> _Registry:
    pid = os.getpid()
    registry = _REGISTRIES.get(pid)
    if registry is None:
        registry = _REGISTRIES.setdefault(pid, _Registry())
        _forget_inherited(pid)
    return registry


def _forget_inherited(pid: int) -> None:
    # LMDB refuses to open again what a parent had open. Closing frees this process's copy and leaves the parent's.
    for owner in [owner for owner in _REGISTRIES if owner != pid]:
        for handle in _REGISTRIES.pop(owner, _Registry()).handles.values():
            handle.shut()
