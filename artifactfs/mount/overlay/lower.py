"""The version below an overlay, as a read-only mount that only this overlay uses.

It is not the version in the mount that people see: that one can be unmounted, or lose its server, while somebody works
in the staging directory. It shows no extended attributes, because overlayfs would copy them up with each file. Each
start has a directory of its own: an overlay that somebody still stands in keeps its lower mount after it was unmounted.

Used by the overlay's server.

Threading: belongs to one thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.mount.launch import start_server
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import detach
from artifactfs.mount.orders import LOWER, Order
from artifactfs.mount.pinned import encode_root
from artifactfs.mount.registry import find_live

if TYPE_CHECKING:
    from artifactfs.mount.spare import Spare
    from artifactfs.staging.layout import StagingInfo


@dataclass(frozen=True, slots=True)
class Lower:
    """A lower directory: where it is, and a descriptor that becomes readable when its server ends.

    Attributes:
        path: of the directory.
        watch: descriptor of the server (pidfd_open(2)); None for the empty directory, which needs none.
    """

    path: str
    watch: int | None

    def end(self) -> None:
        """Unmount it; it goes on for an overlay that is still in use somewhere."""
        if find_mount(self.path) is not None:
            detach(self.path, lazy=True)
        with suppress(OSError):
            os.rmdir(self.path)

    def close(self) -> None:
        """Close the descriptor."""
        if self.watch is not None:
            os.close(self.watch)


def start_lower(order: Order, info: StagingInfo, *, spare: Spare | None) -> Lower:
    """Mount what a staging directory is based on, by a spare server if there is one.

    Raises:
        ArtifactFSError: its server could not be started.
    """
    path = f"{order.mountpoint}-{os.getpid()}"
    os.makedirs(path, mode=0o700, exist_ok=True)
    if info.root is None:
        return Lower(path, None)
    found = start_server(
        order,
        Order(
            kind=LOWER,
            mountpoint=path,
            repository=order.repository,
            state=order.state,
            cache=order.cache,
            runtime=order.runtime,
            author=order.author,
            follow_references=order.follow_references,
            poll_seconds=order.poll_seconds,
            limits=order.limits,
            artifact=f"{info.collection}:v{info.base}",
            root=encode_root(info.root),
            transport="auto",
            passthrough=False,
        ),
        spare=spare,
    )
    return Lower(path, os.pidfd_open(found.pid))


def find_lower(order: Order, path: str, *, is_empty: bool) -> Lower | None:
    """Return a lower directory that an earlier server has mounted, if it still answers."""
    if is_empty:
        return Lower(path, None) if os.path.isdir(path) else None
    found = find_live(order, path)
    if found is None or find_mount(path) is None:
        return None
    try:
        return Lower(path, os.pidfd_open(found.pid))
    except ProcessLookupError:
        return None
