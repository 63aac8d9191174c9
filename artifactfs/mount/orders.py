"""What a server is told when it is started: one JSON argument on its command line.

Used by `launch`, which starts servers, and `daemon`, which is one.

Threading: immutable values.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

import msgspec

from artifactfs.blobstore.connecting import DEFAULT_LIMITS, RemoteLimits
from artifactfs.mount.service.manager import Manager
from artifactfs.repository.locked import Locked

KERNEL: Final = "kernel"
FUSEPY: Final = "fusepy"
"""Transports."""
REPOSITORY: Final = "repository"
VERSION: Final = "version"
STAGING: Final = "staging"
LOCKED: Final = "locked"
"""A part of the repository, as a lock file has it."""
LOWER: Final = "lower"
"""The version below the overlay of a staging directory: a mount that only this overlay uses."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to serve, where, and for whom.

    Attributes:
        kind: `repository`, `locked`, `version`, `staging` or `lower`.
        mountpoint: absolute path of the directory to mount on.
        repository, state, cache, runtime: as in `Places`.
        author: who records are by.
        artifact: REF of the one version to show, with kind `version`; `NAME:vN` with kind `lower`.
        root: top directory of the version with kind `lower`, as JSON: it is pinned, but may have been deleted.
        collection: the staging directory's collection.
        staging: the staging directory's name, without `@`.
        allow_other: let other users in.
        uid, gid: owner of everything; None is who serves.
        foreground: the process was not detached from its terminal.
        ready_descriptor: file descriptor on which the server says that it is ready, or why it cannot be.
        staging_links: show staging directories as symbolic links, because nothing can be bound over them.
        follow_references, poll_seconds, limits: as in `MountOptions`.
        transport, passthrough, freeze_aliases, locked, workers, debug, quick_wakeups, metrics, descriptor: as in
            `MountOptions`.
        keep, manager, kernel_options: as in `MountOptions`.
        minded: its parent keeps the mount, and waits for it.
    """

    kind: str
    mountpoint: str
    repository: str
    state: str
    cache: str
    runtime: str
    author: str = ""
    artifact: str | None = None
    root: str | None = None
    collection: str | None = None
    staging: str | None = None
    allow_other: bool = False
    uid: int | None = None
    gid: int | None = None
    foreground: bool = False
    ready_descriptor: int | None = None
    staging_links: bool = False
    follow_references: tuple[str, ...] = ()
    poll_seconds: float = 5.0
    limits: RemoteLimits = DEFAULT_LIMITS
    transport: str = "fusepy"
    passthrough: bool | None = None
    freeze_aliases: bool = False
    locked: Locked | None = None
    workers: int = 0
    debug: bool = False
    quick_wakeups: bool | None = None
    metrics: str = ""
    descriptor: int | None = None
    keep: bool = False
    manager: Manager | None = None
    kernel_options: tuple[str, ...] = ()
    minded: bool = False

    def with_ready(self, descriptor: int | None) -> Order:
        """Return this order with another descriptor on which the server says that it is ready."""
        return dataclasses.replace(self, ready_descriptor=descriptor)

    def encode(self) -> str:
        """Return the text that `decode` reads."""
        return json.dumps({key: value for key, value in dataclasses.asdict(self).items() if value is not None})

    @staticmethod
    def decode(text: str) -> Order:
        """Return what `encode` wrote."""
        return msgspec.convert(json.loads(text), Order)
