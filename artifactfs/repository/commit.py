"""Committing: one log record that makes a stored tree the next version.

Used by put and by the commit of staging directories. Threading: pure functions over a Repository.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from artifactfs.errors import PrunedError
from artifactfs.model import NO_METADATA, Collection, Origin, Root, Version
from artifactfs.paths import LATEST, check_alias_name
from artifactfs.repository import changes
from artifactfs.repository.reach import check_present
from artifactfs.repository.records import Commit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactfs.repository.exclusion import Writing
    from artifactfs.repository.records import Body, SetAliases
    from artifactfs.repository.repository import Repository


Recorded = TypeVar("Recorded")


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """What a commit records besides the tree.

    Attributes:
        type: the collection's type; None takes the one it has, or `dataset`.
        aliases: names for the version besides `latest`.
        message: the log message.
        description: text about the data.
        metadata: JSON values by key.
        tags: words, in any order.
        if_changed: make no version when the content is that of `base`, or without one of `latest`.
        base: number of the version that this one was made from.
        expect_base: an alias and the version that it must still point to (None: that it must not exist).
        run: id of the run that makes it.
        inputs: versions it was made from, each `NAME:vN`.
        expires_ns: when it may be removed, nanoseconds since 1970 UTC.
        origin: where it was made, if it is a copy: no version is made when the collection has this one already, and
            `base` is then found by its own origin.
    """

    type: str | None = None
    aliases: tuple[str, ...] = ()
    message: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    tags: tuple[str, ...] = ()
    if_changed: bool = False
    base: int | None = None
    expect_base: tuple[str, int | None] | None = None
    run: str | None = None
    inputs: tuple[str, ...] = ()
    expires_ns: int | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Once:
    """What tells a commit that several try to make, so that one of them does.

    Attributes:
        change: the change id of its record.
        seq: number of a log record that came before it.
    """

    change: str
    seq: int


DEFAULT_OPTIONS = CommitOptions()
STORE_ATTEMPTS: Final = 5
"""How often a commit stores everything, when prunes delete some of it."""


@dataclass(frozen=True, slots=True)
class DroppedXattrs:
    """Extended attributes of one local file that a version does not keep.

    Attributes:
        path: the entry path.
        names: of the attributes.
    """

    path: bytes
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Attributes:
        collection: its state now.
        version: the new version, or with `if_changed` the one that has this content already.
        created: whether the version is new.
        dropped_xattrs: the first thousand paths whose extended attributes were not kept.
        dropped_count: how many such paths there were.
        skipped: entry paths of sockets, FIFOs and devices that were left out.
        layout: one line for each source: what was laid out how.
        unverified: how many references it adds that are unverified.
    """

    collection: Collection
    version: Version
    created: bool
    dropped_xattrs: tuple[DroppedXattrs, ...] = ()
    dropped_count: int = 0
    skipped: tuple[bytes, ...] = ()
    layout: tuple[str, ...] = ()
    unverified: int = 0


class _Unchanged(Exception):  # noqa: N818 (an answer, not an error)
    """The content is that of this version."""

    def __init__(self, collection: Collection, version: Version) -> None:
        super().__init__()
        self.collection = collection
        self.version = version


def commit_stored(
    repository: Repository,
    name: str,
    store: Callable[[], Root],
    options: CommitOptions = DEFAULT_OPTIONS,
    *,
    amend: Callable[[CommitOptions], CommitOptions] = lambda options: options,
) -> CommitResult:
    """Store a tree and commit it, safe from prunes that are under way; otherwise as `commit_root`.

    Args:
        repository: where to.
        name: of the collection, which need not exist yet.
        store: stores everything, flushes it, and returns the root; called again if a prune deleted some of it.
        options: what else to record.
        amend: given `options` when everything is stored, returns what is recorded.

    Raises:
        PrunedError: that happened again and again.
        ArtifactFSError: see `commit_root`, and whatever `store` raises.
    """

    def record(root: Root, writing: Writing) -> CommitResult:
        return _append(repository, name, amend(options), root, writing)

    return store_safely(repository, store, record)


def commit_once(
    repository: Repository, name: str, store: Callable[[], Root], options: CommitOptions, once: Once
) -> CommitResult:
    """Commit as `commit_stored` does, unless this was done already: then return what it made.

    Raises:
        VersionNotFoundError: it was done, and the version was deleted since.
        ArtifactFSError: see `commit_stored`.
    """
    return store_safely(repository, store, partial(_append, repository, name, options, once=once))


def store_safely(
    repository: Repository, store: Callable[[], Root], record: Callable[[Root, Writing], Recorded]
) -> Recorded:
    """Store a tree and record something that makes it a root, safe from prunes that are under way.

    Args:
        repository: where to.
        store: stores everything, flushes it, and returns the root; called again if a prune deleted some of it.
        record: makes the record; looks for prunes just before each try.

    Raises:
        PrunedError: that happened again and again.
        ArtifactFSError: whatever `store` and `record` raise.
    """
    for attempt in range(1, STORE_ATTEMPTS + 1):
        with repository.exclusion.writing() as writing:
            root = store()
            try:
                return record(root, writing)
            except PrunedError:
                if attempt == STORE_ATTEMPTS:
                    raise
    raise AssertionError  # the last attempt returns or raises


def commit_root(
    repository: Repository, name: str, root: Root, options: CommitOptions = DEFAULT_OPTIONS
) -> CommitResult:
    """Make a stored tree the next version of a collection, and move `latest` to it, in one durable step.

    With `if_changed` and equal content no version is made; aliases that were asked for move to the version that
    has the content already, and the rest of the options is dropped.

    A prune may have run since the tree was stored, so all of it is looked for first: whoever stores a tree to commit it
    uses `commit_stored`, which costs nothing.

    Args:
        repository: where to; blobs and trees of `root` must have been flushed.
        name: of the collection, which need not exist yet.
        root: the tree.
        options: what else to record.

    Raises:
        BlobMissingError: something of it is not in the store.
        InvalidNameError: a name, alias, type or tag that cannot be one.
        UsageError: another type than the collection has, or metadata that is not JSON.
        ConflictError: the alias of `expect_base` has moved.
        StorageFullError, ArtifactFSError: the record could not be written; there is no new version.
    """
    with repository.exclusion.writing() as writing:
        check_present(repository.store, repository.blobs, root)
        return _append(repository, name, options, root, writing)


def _append(
    repository: Repository, name: str, options: CommitOptions, root: Root, writing: Writing, *, once: Once | None = None
) -> CommitResult:
    def change(state: Collection) -> Body:
        if once is not None:
            _check_not_made(repository, state, once)
        body = _change(state, root, options)
        writing.look(root)
        return body

    try:
        change_id = None if once is None else once.change
        collection, record = repository.append(
            name, change, message=options.message, run=options.run, change_id=change_id
        )
    except _Unchanged as found:
        return CommitResult(found.collection, found.version, created=False)
    # A record that only sets aliases points them to the version that has the content already.
    body = cast("Commit | SetAliases", record.body)
    return CommitResult(collection, collection.versions[body.version], created=isinstance(body, Commit))


def find_made(repository: Repository, name: str, once: Once) -> int | None:
    """Return the number of the version that a commit which is made once has made; None when it was not made yet."""
    for record in repository.log.iter_records(name, once.seq + 1):
        if record.change == once.change and isinstance(record.body, Commit):
            return record.body.version
    return None


def _check_not_made(repository: Repository, state: Collection, once: Once) -> None:
    number = find_made(repository, state.name, once)
    if number is not None:
        # The record may be newer than the state: then the state is read again.
        now = state if number in state.versions or number in state.deleted else repository.log.load(state.name, state)
        raise _Unchanged(now, changes.get_version(now, number))


def check_options(collection: Collection, options: CommitOptions) -> None:
    """Check what a commit would be refused for, so that nothing large is stored first.

    Raises:
        InvalidNameError, UsageError, ConflictError: see `commit_root`.
    """
    _commit_body(collection, Root("", "", 0, 0, 0, 0), options)


def find_followed(collection: Collection, base: int | None) -> Version | None:
    """Return the version that a commit would follow: its base, or without one `latest`; None when there is none."""
    number = collection.aliases.get(LATEST) if base is None else base
    return None if number is None else collection.versions.get(number)


def _change(collection: Collection, root: Root, options: CommitOptions) -> Body:
    body = _commit_body(collection, root, options)
    followed = _find_same(collection, root, options)
    if followed is None:
        return body
    missing = [
        alias
        for alias in options.aliases
        if alias != LATEST and collection.aliases.get(check_alias_name(alias)) != followed.number
    ]
    if not missing:
        raise _Unchanged(collection, followed)
    return changes.set_aliases(collection, version=followed.number, aliases=missing)


def _find_same(collection: Collection, root: Root, options: CommitOptions) -> Version | None:
    """Return the version instead of which none is made, or None."""
    if options.origin is not None:
        return changes.find_copy(collection, options.origin, root)
    followed = find_followed(collection, options.base) if options.if_changed else None
    return followed if followed is not None and followed.root.content == root.content else None


def _find_base(collection: Collection, options: CommitOptions) -> int | None:
    if options.origin is None:
        return options.base
    if options.origin.base is None:
        return None
    found = changes.find_copy(collection, msgspec.structs.replace(options.origin, version=options.origin.base))
    return None if found is None else found.number


def _find_inputs(collection: Collection, options: CommitOptions) -> tuple[str, ...]:
    """Return what the version is made from; in a run its base is an input, too, unless the run has made that."""
    if options.run is None or options.base is None or options.origin is not None:
        return options.inputs
    base = collection.versions.get(options.base)
    if base is not None and base.run == options.run:
        return options.inputs
    return tuple(dict.fromkeys((*options.inputs, f"{collection.name}:v{options.base}")))


def _commit_body(collection: Collection, root: Root, options: CommitOptions) -> Commit:
    return changes.commit(
        collection,
        root=root,
        type=options.type,
        aliases=options.aliases,
        description=options.description,
        metadata=options.metadata,
        tags=options.tags,
        base=_find_base(collection, options),
        inputs=_find_inputs(collection, options),
        expires_ns=options.expires_ns,
        origin=options.origin,
        expected=options.expect_base,
    )
