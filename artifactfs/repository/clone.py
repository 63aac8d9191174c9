"""Cloning: another copy of a repository, with the same id, the same numbers and the same logs, to the byte.

A clone is brought up to date by cloning again, which copies what is new. One that got changes of its own is refused:
from there versions are copied, see `copy.py`.

Content is there before the records that name it, and each collection is complete before the next is begun, so whatever
interrupts a clone leaves one that can be used, and gone on with.

Used by the command line. Threading: functions over Repositories.

Source: docs/design/copies.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import (
    COLLECTIONS_PREFIX,
    RUNS_PREFIX,
    checkpoint_key,
    checkpoint_prefix,
    find_seq,
    log_key,
)
from artifactfs.errors import BlobMissingError, CollectionNotFoundError, ConflictError, InvalidNameError, PrunedError
from artifactfs.repository.mirroring import AT_ONCE, Mirror
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.reach import PREFIXES, Reach
from artifactfs.repository.records import decode_record
from artifactfs.repository.roots import iter_roots
from artifactfs.repository.state import Fold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.model import Collection
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository

ATTEMPTS: Final = 3
"""How often a collection is looked at again, when a prune moved or deleted something meanwhile."""


@dataclass(frozen=True, slots=True)
class CloneResult:
    """What a clone did.

    Attributes:
        collections: names of those that it has now, of what was asked for.
        records: how many log records were copied.
        objects: how many objects were copied, besides.
        size: their bytes.
        runs: how many objects of runs were copied.
    """

    collections: tuple[str, ...]
    records: int
    objects: int
    size: int
    runs: int


def clone(
    source: Repository, target: Repository, names: Sequence[str] = (), *, progress: Progress | None = None
) -> CloneResult:
    """Copy collections with their history into a clone: all, with what is recorded of runs, or those given.

    Args:
        source: where from.
        target: a clone of it, or one that was just made with its id.
        names: of collections; nothing means the whole repository.
        progress: is told of objects and bytes, collection by collection.

    Raises:
        ConflictError: the target is another repository, or has changes of its own; what differs is as it was.
        CollectionNotFoundError: the source has no such collection.
        IntegrityError: something of the source is missing or damaged; collections before it are complete.
        StorageFullError, RemoteError: it could not be stored; the same call goes on.
    """
    if source.id != target.id or source.location == target.location:
        msg = f"{target.location} holds another repository than {source.location}"
        if source.location == target.location:
            msg = f"{target.location} is the repository itself"
        raise ConflictError(msg, hint="clone to an empty place, or `artifactfs copy` versions", subject=target.location)
    target.check_writable()
    for feature in source.format.reader_features:
        target.announce(feature)
    progress = progress or NoProgress()
    chosen = list(dict.fromkeys(names)) or _list_names(source)
    records = objects = size = 0
    for name in chosen:
        with Mirror(source.store, target.store, progress) as mirror:
            records += _clone_collection(source, target, mirror, name)
            objects, size = objects + mirror.objects, size + mirror.size
    runs = 0 if names else _clone_runs(source, target)
    return CloneResult(tuple(chosen), records, objects, size, runs)


def _list_names(source: Repository) -> list[str]:
    found = []
    for name in sorted(source.store.iter_children(COLLECTIONS_PREFIX)):
        with suppress(InvalidNameError):  # nothing of this format
            if source.load_state(name).seq:
                found.append(name)
    return found


def _clone_collection(source: Repository, target: Repository, mirror: Mirror, name: str) -> int:
    for attempt in range(1, ATTEMPTS + 1):
        source.refresh()
        state = source.load_state(name)
        if not state.seq:
            msg = f"there is no collection {name!r} in {source.location}"
            raise CollectionNotFoundError(msg, hint="`artifactfs ls` lists what there is", subject=name)
        ours = target.load_state(name)
        _check_follows(source, ours, state)
        try:
            with target.exclusion.writing() as writing:
                _copy_content(source, mirror, state)
                writing.look(*(root for _, root in iter_roots(state)))
                return _copy_records(source, target, ours, state)
        except (BlobMissingError, PrunedError):
            if attempt == ATTEMPTS:
                raise
            target.refresh()
    raise AssertionError  # the last attempt returns or raises


def _check_follows(source: Repository, ours: Collection, state: Collection) -> None:
    if not ours.seq or source.log.find_digest(ours.name, ours.seq) == ours.head:
        return
    msg = f"the collection {state.name!r} of the clone has changes of its own"
    raise ConflictError(msg, hint="`artifactfs copy` takes versions from one to the other", subject=state.name)


def _copy_content(source: Repository, mirror: Mirror, state: Collection) -> None:
    """Copy what is reached from the versions that are kept: what names others after what it names."""
    reach = Reach(source.blobs.in_place)
    for _, root in iter_roots(state):
        reach.add_root(root)
    mirror.plan([list(reach.objects.iter_keys(prefix)) for prefix in reversed(PREFIXES)])
    mirror.copy()


def _copy_records(source: Repository, target: Repository, ours: Collection, state: Collection) -> int:
    """Copy the records that are missing, in order, each checked to continue the one before."""
    fold = Fold(ours)
    keys = [log_key(state.name, seq) for seq in range(ours.seq + 1, state.seq + 1)]
    for key, data in zip(keys, source.store.read_many(keys), strict=True):
        record, digest = decode_record(data, key=key)
        fold.apply(record, digest=digest)
        if not target.store.create(key, data) and target.store.read(key) != data:
            msg = f"somebody else changed {state.name!r} in the clone"
            raise ConflictError(msg, hint="`artifactfs copy` takes versions from one to the other", subject=key)
    found = map(find_seq, source.store.iter_children(checkpoint_prefix(state.name)))
    for seq in found:
        if seq is not None and ours.seq < seq <= state.seq:
            key = checkpoint_key(state.name, seq)
            target.store.create(key, source.store.read(key))
    target.refresh()
    target.load_state(state.name)
    return len(keys)


def _clone_runs(source: Repository, target: Repository) -> int:
    there = set(target.store.iter_keys(RUNS_PREFIX))
    keys = sorted(key for key in source.store.iter_keys(RUNS_PREFIX) if key not in there)
    create: Callable[[tuple[str, bytes]], bool] = lambda item: target.store.create(*item)  # noqa: E731
    with ThreadPoolExecutor(AT_ONCE, "runs") as threads:
        for start in range(0, len(keys), 1000):
            some = keys[start : start + 1000]
            for _ in threads.map(create, zip(some, source.store.read_many(some), strict=True)):
                pass
    return len(keys)
