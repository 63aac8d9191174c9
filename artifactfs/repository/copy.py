"""Copying a version into another repository: push and pull.

The copy is a version of the other collection with the next number there, because numbers are never reused and others
commit there, too. It has the same content, description, metadata, tags and time to live, and says as its *origin* where
it was made: repository, collection, number, author, time, base, inputs and run. By that it is known again: a version
that is there already is not made a second time.

Used by the command line and the SDK. Threading: functions over Repositories; several may run at once.

Source: docs/design/copies.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from artifactfs.digest import Digest
from artifactfs.errors import UsageError
from artifactfs.model import Origin, Root
from artifactfs.paths import LATEST, check_collection_name
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions, check_options, commit_stored
from artifactfs.repository.format import ORIGINS, REFERENCES
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.transfer import Transfer
from artifactfs.repository.treepacks import as_placement

if TYPE_CHECKING:
    from artifactfs.model import Collection, Placement, Version
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What a copy is called.

    Attributes:
        name: of the collection that gets it; empty takes the name of the one that it comes from.
        aliases: names for the copy besides `latest`.
        with_aliases: whether to give it the aliases that the version has, besides.
    """

    name: str = ""
    aliases: tuple[str, ...] = ()
    with_aliases: bool = False


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy did.

    Attributes:
        collection: the state of the collection that has the copy.
        version: the copy.
        created: whether it is new; otherwise it was there.
        files: how many had to be stored.
        size: their bytes.
        has_references: whether there are references, which are read where they were.
    """

    collection: Collection
    version: Version
    created: bool
    files: int = 0
    size: int = 0
    has_references: bool = False


def copy_version(
    source: Repository,
    target: Repository,
    found: tuple[Collection, Version],
    options: CopyOptions | None = None,
    *,
    progress: Progress | None = None,
) -> CopyResult:
    """Copy a version into a collection of another repository, which is made if need be.

    Interrupted, nothing refers to what was stored; the same call finds it and goes on.

    Args:
        source: where it is.
        target: where the copy goes.
        found: the collection and the version, as `source.resolve` gives them.
        options: what the copy is called.
        progress: is told of files and bytes.

    Raises:
        UsageError: both are the same repository at the same place, or the collection has another type.
        InvalidNameError: a collection or alias cannot have this name.
        BlobMissingError, DigestMismatchError, MalformedError: something cannot be read; there is no copy.
        StorageFullError, RemoteError, NewerFormatError: it could not be stored; there is no copy.
    """
    options = options or CopyOptions()
    if source.location == target.location:
        msg = f"{source.location} is where the version is already"
        raise UsageError(msg, hint="name another repository", subject=source.location)
    target.check_writable()
    collection, version = found
    name = check_collection_name(options.name or collection.name)
    state = target.load_state(name)
    commit = _make_options(source, target, found, options)
    if (there := _find_original(target, state, commit, version.root)) is not None:
        return _point(target, state, there, commit)
    check_options(state, commit)
    target.learn_places()
    progress = progress or NoProgress()
    progress.begin(files=version.root.count, size=version.root.size)
    sent: list[Transfer] = []

    def store() -> Root:
        known = _find_stored(target.load_state(name), version.root)
        root = known if known is not None else _send(source, target, version.root, sent=sent, progress=progress)
        target.announce(ORIGINS)
        return root

    result = commit_stored(target, name, store, commit)
    if result.created:
        target.survey.mark([result.version.root])
    copied = CopyResult(result.collection, result.version, result.created)
    if not sent:
        return copied
    last = sent[-1]
    return replace(copied, files=last.files, size=last.size, has_references=last.has_references)


def _send(source: Repository, target: Repository, root: Root, *, sent: list[Transfer], progress: Progress) -> Root:
    """Store what lies below a root that is not there, note the transfer, and return the root as it is there."""
    with target.blobs.begin() as batch, Transfer(source, batch, progress) as transfer:
        sent.append(transfer)
        place = transfer.send(root)
        if transfer.has_references:
            target.announce(REFERENCES)
        batch.flush()
    return msgspec.structs.replace(root, placement=_state_place(as_placement(place)))


def make_origin(repository: Repository, collection: Collection, version: Version) -> Origin:
    """Return where a version was made: here, unless it is a copy itself."""
    return version.origin or Origin(
        repository=repository.id,
        collection=collection.name,
        version=version.number,
        author=version.author,
        time_ns=version.time_ns,
        base=version.base,
        inputs=version.inputs,
        run=version.run,
    )


def _make_options(
    source: Repository, target: Repository, found: tuple[Collection, Version], options: CopyOptions
) -> CommitOptions:
    collection, version = found
    origin = make_origin(source, collection, version)
    own = collection.aliases_of(version.number) if options.with_aliases else []
    return CommitOptions(
        type=collection.type,
        aliases=tuple(dict.fromkeys(alias for alias in (*options.aliases, *own) if alias != LATEST)),
        message=version.message,
        description=version.description,
        metadata=version.metadata,
        tags=version.tags,
        inputs=_find_inputs(target, origin),
        expires_ns=version.expires_ns,
        origin=origin,
    )


def _find_inputs(target: Repository, origin: Origin) -> tuple[str, ...]:
    """Return those inputs of a version of which the target has copies, by their names there."""
    found = []
    for text in origin.inputs:
        name, _, number = text.partition(":v")
        if not number.isdecimal():
            continue
        state = target.load_state(name)
        copy = changes.find_copy(state, msgspec.structs.replace(origin, collection=name, version=int(number)))
        if copy is not None:
            found.append(f"{name}:{copy.name}")
    return tuple(found)


def _find_original(target: Repository, state: Collection, commit: CommitOptions, root: Root) -> Version | None:
    """Return the version itself, when the copy goes back to where it was made; None otherwise."""
    origin = commit.origin
    if origin is None or (origin.repository, origin.collection) != (target.id, state.name):
        return changes.find_copy(state, origin, root) if origin is not None else None
    version = state.versions.get(origin.version)
    return version if version is not None and version.root.tree == root.tree else None


def _point(target: Repository, state: Collection, version: Version, commit: CommitOptions) -> CopyResult:
    """Give a version that is there the aliases that were asked for."""
    missing = [alias for alias in commit.aliases if state.aliases.get(alias) != version.number]
    if missing:
        state, _ = target.append(
            state.name, lambda now: changes.set_aliases(now, version=version.number, aliases=missing)
        )
    return CopyResult(state, version, created=False)


def _find_stored(state: Collection, root: Root) -> Root | None:
    """Return the same tree as a version of the collection has it, which then need not be looked through."""
    for version in state.versions.values():
        if version.root.tree == root.tree:
            return msgspec.structs.replace(root, placement=version.root.placement)
    return None


def _state_place(place: Placement | None) -> tuple[str, int, int] | None:
    return None if place is None else (str(Digest(place.pack)), place.offset, place.size)
