"""What a caller says about a mount, what it learns about one, and where things are on this machine.

Used by all of `mount/` and, through `api`, by the command line and the SDK.

Threading: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from artifactfs.blobstore.connecting import DEFAULT_LIMITS, RemoteLimits
from artifactfs.mount.service.manager import Manager
from artifactfs.repository.locked import Locked


class Places(Protocol):
    """The directories of this user; `artifactfs.places.Places` is one. All absolute."""

    @property
    def repository(self) -> str:
        """The repository's location."""

    @property
    def state(self) -> str:
        """What must survive: logs, staging directories, indexes."""

    @property
    def cache(self) -> str:
        """What can be fetched again."""

    @property
    def runtime(self) -> str:
        """What lives as long as the machine is up: sockets, the registry, staging mounts."""


class HasId(Protocol):
    """Something that knows its repository id; `repository.Repository` is one."""

    @property
    def id(self) -> str:
        """The repository id."""


class StagingName(Protocol):
    """Something that names a staging directory; `repository.staging.Staging` is one."""

    @property
    def collection(self) -> str:
        """The collection's name."""

    @property
    def name(self) -> str:
        """The staging directory's name, without `@`."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount.

    Attributes:
        artifact: REF whose version becomes the root, resolved at mount time; None shows the whole repository.
        allow_other: let other users in (for an ordinary user, /etc/fuse.conf must have user_allow_other).
        uid: owner of everything in the mount; None is the mounting user.
        gid: group of everything in the mount; None is the mounting user's.
        foreground: serve in this very process (it is replaced) until it is unmounted or ended by a signal.
        author: who staging directories' records are by.
        follow_references: URI prefixes below which references are read, with the rights of who serves.
        poll_seconds: how long a collection of a remote repository is taken to be as it was seen.
        limits: how much is asked of object stores, and kept.
        transport: `kernel`, `fusepy`, or `auto`: the kernel transport where it works.
        passthrough: whether large files are handed to the kernel; None decides by what is mounted.
        freeze_aliases: whether aliases stay as they are now.
        locked: all that is shown; None for everything.
        workers: processes that answer requests; 0 means one for each core, up to four.
        debug: whether each request gets a line in the log.
        quick_wakeups: whether idle processors are kept from sleeping while requests come fast; None decides by the
            machine.
        metrics: file that Prometheus metrics are written to, or `127.0.0.1:PORT`; empty for neither.
        descriptor: one of `/dev/fuse`, already mounted on the mount point; None mounts.
        keep: whether a small process keeps the mount when its server dies, and starts another.
        manager: the service manager that does so instead, with `foreground`; None when there is none.
        share_parent: whether the directory above the mount point is made a shared mount, if it lies on none.
        make_directory: whether the mount point is made if it is missing.
        kernel_options: what `kernel_options` knows.
    """

    artifact: str | None = None
    allow_other: bool = False
    uid: int | None = None
    gid: int | None = None
    foreground: bool = False
    author: str = ""
    follow_references: tuple[str, ...] = ()
    poll_seconds: float = 5.0
    limits: RemoteLimits = DEFAULT_LIMITS
    transport: str = "auto"
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
    share_parent: bool = False
    make_directory: bool = False
    kernel_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MountInfo:
    """A mount that is up.

    Attributes:
        mountpoint: absolute path.
        repository: the repository's location.
        repository_id: the repository's id.
        kind: `repository`, `locked` (a part of it), `version` (one version is the root) or `staging`.
        pid: of the process that serves it.
        transport: `kernel` or `fusepy`.
        read_only: False for staging directories.
        socket: path of its control socket.
        log: path of its log file.
        started_ns: when it came up, nanoseconds since 1970 UTC.
        collection: of the version or staging directory; None when all are shown.
        version: number of the one version; None otherwise.
        staging: name of the staging directory, without `@`; None otherwise.
        allow_other: whether other users are let in.
        follow_references, poll_seconds, limits: as in `MountOptions`.
    """

    mountpoint: str
    repository: str
    repository_id: str
    kind: str
    pid: int
    transport: str
    read_only: bool
    socket: str
    log: str
    started_ns: int
    collection: str | None = None
    version: int | None = None
    staging: str | None = None
    allow_other: bool = False
    follow_references: tuple[str, ...] = ()
    poll_seconds: float = 5.0
    limits: RemoteLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at.

    Attributes:
        name: a short word such as `device`.
        ok: whether mounts can work as far as this goes.
        message: what was found.
        mend: what to do about it; empty when ok.
    """

    name: str
    ok: bool
    message: str
    mend: str = ""
