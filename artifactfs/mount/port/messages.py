"""What is asked through the socket in a mount, and answered: the two ends' common words.

Used by `work` and `asking`. Threading: immutable values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, field

from artifactfs.errors import UsageError
from artifactfs.model import Collection, Entry, Version
from artifactfs.repository.commit import CommitOptions, CommitResult, DroppedXattrs
from artifactfs.repository.diff import Change, ChangeKind

if TYPE_CHECKING:
    from artifactfs.mount.control import Message
    from artifactfs.repository.staged import StagingCommit

BEGUN: Final = {"begun": True}
"""The first line of an answer: until it comes nothing was done, so the request may be made again."""


class _Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What a container may say about a new version: bases are the repository's to know, and runs are checked apart."""

    type: str | None = None
    aliases: tuple[str, ...] = ()
    message: str = ""
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    if_changed: bool = False
    expires_ns: int | None = None


class CommitAnswer(Struct, frozen=True):
    """What a commit did.

    Attributes:
        collection: what concerns the new version, and no other.
        version: the version.
        created: whether it is new.
        dropped: paths and names of extended attributes that were not kept.
        dropped_count: how many such paths there were.
        location: of the repository.
        moved: as in `StagingCommit`.
        closed: whether the staging directory was removed.
        run: id of the run in which it was made, if it was made in one.
        run_refused: why a run that was asked for is not recorded; empty when it is.
        unverified: how many references it adds that are unverified.
        unnoted: as in `StagingCommit`.
    """

    collection: Collection
    version: Version
    created: bool
    dropped: tuple[tuple[bytes, tuple[str, ...]], ...]
    dropped_count: int
    location: str
    moved: tuple[str, int | None] | None = None
    closed: bool = False
    run: str | None = None
    run_refused: str = ""
    unverified: int = 0
    unnoted: str = ""

    @property
    def result(self) -> CommitResult:
        """The commit's result."""
        dropped = tuple(DroppedXattrs(path, names) for path, names in self.dropped)
        return CommitResult(
            self.collection, self.version, self.created, dropped, self.dropped_count, unverified=self.unverified
        )


class _Change(Struct, frozen=True, array_like=True):
    """As `diff.Change`."""

    kind: ChangeKind
    path: bytes
    old_path: bytes | None
    old: Entry | None
    new: Entry | None


class ChangesAnswer(Struct, frozen=True):
    """What differs in a staging directory.

    Attributes:
        listed: the changes.
        since: the version it is compared with, as `NAME:vN`; None for nothing.
        fields: what else there is to know about the staging directory, as JSON.
    """

    listed: list[_Change]
    since: str | None
    fields: dict[str, Any]

    @property
    def changes(self) -> list[Change]:
        """The changes."""
        return [Change(each.kind, each.path, each.old_path, each.old, each.new) for each in self.listed]


def encode_options(options: CommitOptions) -> Message:
    """Return options as fields of a request."""
    names = _Options.__struct_fields__
    found: Message = msgspec.to_builtins(_Options(**{name: getattr(options, name) for name in names}))
    return found


def decode_options(fields: object) -> CommitOptions:
    """Return what `encode_options` said.

    Raises:
        UsageError: it says something else.
    """
    try:
        said = msgspec.convert(fields, _Options)
    except msgspec.ValidationError as error:
        msg = f"the request does not decode: {error}"
        raise UsageError(msg, hint="the programs inside and outside are of different releases") from error
    return CommitOptions(**msgspec.structs.asdict(said))


def encode_commit(
    done: StagingCommit, *, location: str, closed: bool, run: str | None = None, run_refused: str = ""
) -> Message:
    """Return a `CommitAnswer` as fields of an answer."""
    result = done.result
    number = result.version.number
    collection = msgspec.structs.replace(
        result.collection,
        versions={},
        deleted={},
        pins={},
        aliases={alias: target for alias, target in result.collection.aliases.items() if target == number},
    )
    dropped = tuple((item.path, item.names) for item in result.dropped_xattrs)
    answer = CommitAnswer(
        collection,
        result.version,
        result.created,
        dropped,
        result.dropped_count,
        location,
        done.moved,
        closed,
        run,
        run_refused,
        result.unverified,
        done.unnoted,
    )
    return {"answer": msgspec.to_builtins(answer, str_keys=True)}


def encode_changes(changes: list[Change], *, since: str | None, fields: dict[str, str | int | None]) -> Message:
    """Return a `ChangesAnswer` as fields of an answer."""
    listed = [_Change(each.kind, each.path, each.old_path, each.old, each.new) for each in changes]
    return {"answer": msgspec.to_builtins(ChangesAnswer(listed, since, dict(fields)), str_keys=True)}
