"""What a staging directory is to the repository, who holds it during a commit, and what a commit of it did.

Used by `staging`, mount and the command line. Threading: immutable values.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from artifactfs.errors import UsageError
from artifactfs.staging.layout import OVERLAY, Layout, StagingInfo, read_driver
from artifactfs.staging.marks import TRUSTED, USER
from artifactfs.staging.quota import find_enforcer, find_used

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from artifactfs.repository.commit import CommitOptions, CommitResult


@dataclass(frozen=True, slots=True)
class Limits:
    """How a new staging directory is to be served: by which driver, and up to how many bytes."""

    driver: str
    quota: int | None


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging directory, as it was when it was looked at.

    Attributes:
        info: what it is.
        layout: where it lies.
    """

    info: StagingInfo
    layout: Layout

    @property
    def collection(self) -> str:
        """The collection that a commit goes to."""
        return self.info.collection

    @property
    def name(self) -> str:
        """Its name, without `@`."""
        return self.info.name

    @property
    def upper(self) -> bytes:
        """Path of its upper directory."""
        return self.layout.upper(self.info)

    @property
    def prefix(self) -> bytes:
        """Prefix of the marks in its upper directory."""
        return TRUSTED if read_driver(self.layout) == OVERLAY else USER

    def __str__(self) -> str:
        """Return its REF."""
        return str(self.info)


def expecting_base(options: CommitOptions, staging: Staging) -> CommitOptions:
    """Return options with which a commit fails if the alias that a staging directory began with has moved.

    Raises:
        UsageError: it began with a version's number.
    """
    followed = staging.info.followed
    if followed is None:
        msg = f"{staging} was made from a version number, which never moves"
        raise UsageError(msg, hint="leave --expect-base out, or stage an alias such as latest")
    return replace(options, expect_base=(followed, staging.info.followed_version))


def describe(staging: Staging) -> dict[str, str | int | None]:
    """Return what a staging directory is, as members of a JSON object."""
    info = staging.info
    return {
        "staging": str(staging),
        "base": None if info.base is None else f"{info.collection}:v{info.base}",
        "committed": None if info.committed is None else f"{info.collection}:v{info.committed}",
        "followed": info.followed,
        "driver": info.driver,
        "marks": read_driver(staging.layout),
        **_describe_quota(staging),
    }


def _describe_quota(staging: Staging) -> dict[str, str | int | None]:
    info = staging.info
    if info.quota is None:
        return {"quota": None}
    enforcer = find_enforcer(staging.layout, info)
    used = find_used(staging.layout, info, enforcer)
    return {"quota": info.quota, "quota_used": used, "quota_enforced_by": enforcer}


Verify = Callable[[], None]
"""Returns if a freeze has held without a break until now, else raises BusyError."""


class Freezer(Protocol):
    """Keeps a staging directory that is served as it is while it is committed; `mount.api.MountFreezer` is one."""

    def freeze(self, staging: Staging) -> AbstractContextManager[Verify | None]:
        """Hold all changes for as long as the context lasts; give None when nothing serves the staging directory.

        Raises:
            BusyError: files are open for writing; the message names processes and files.
        """


class NoFreezer:
    """For staging directories that nothing serves."""

    @contextmanager
    def freeze(self, staging: Staging) -> Iterator[Verify | None]:
        """Hold nothing."""
        del staging
        yield None


@dataclass(frozen=True, slots=True)
class StagingCommit:
    """What a commit of a staging directory did.

    Attributes:
        result: the commit.
        staging: the staging directory as it is now.
        moved: the alias it started from and the version this pointed to just before, when somebody else moved it.
        scratch: entry paths of what restores have left: `sweeping.sweep_scratch` removes it where it is mounted.
        unnoted: why the staging directory could not note its new version, which is made all the same; it is then
            compared with what it was before. Empty when it could.
    """

    result: CommitResult
    staging: Staging
    moved: tuple[str, int | None] | None = None
    scratch: tuple[bytes, ...] = ()
    unnoted: str = ""
