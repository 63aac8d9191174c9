"""Repair: rebuild what can be rebuilt, and set aside what is damaged, so that storing the same files heals it.

Nothing is deleted: damaged objects move to a directory beside the repository's data, under their keys. What versions
have in a damaged pack and can be read, there or elsewhere, is packed anew first; the pack moves when nothing names it.

Used by the command line. Threading: functions over a Repository.

Source: docs/design/prune.md.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.keys import (
    BLOBS_PREFIX,
    PACKS_PREFIX,
    SUMS_PREFIX,
    TREEPACKS_PREFIX,
    TREES_PREFIX,
)
from artifactfs.blobstore.local import ASIDE
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError, translate_os_error
from artifactfs.repository.advice import is_expendable, is_local
from artifactfs.repository.naming import explain_left, find_unnamed, list_roots
from artifactfs.repository.prune import show_nothing
from artifactfs.repository.reach import ObjectSet, find_object
from artifactfs.repository.repack import repack
from artifactfs.repository.repair_formats import can_rebuild, is_missing, rebuild_formats
from artifactfs.repository.usage import Repacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from artifactfs.repository.check import Damage
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repack import RepackResult
    from artifactfs.repository.repository import Repository

_MOVED: Final = (BLOBS_PREFIX, SUMS_PREFIX, TREES_PREFIX)
_PACKS: Final = (PACKS_PREFIX, TREEPACKS_PREFIX)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did.

    Attributes:
        directory: where what was set aside lies now; "" when nothing was.
        set_aside: keys of objects that were moved there, in order.
        left: keys of damaged objects that were left where they are.
        versions: how many have something elsewhere now.
        skipped: versions of which a page cannot be read, so that nothing of them could be packed anew, as `NAME:vN`.
        why: of each that was left, why, and what can be done.
        rebuilt: keys of format files that were written.
    """

    directory: str
    set_aside: tuple[str, ...]
    left: tuple[str, ...]
    versions: int = 0
    skipped: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)
    rebuilt: tuple[str, ...] = ()


def find_repairable(repository: Repository, damage: Iterable[Damage]) -> list[str]:
    """Return the keys of which `repair` can set the object aside, pack anew what is whole of it, or make it again."""
    return [item.key for item in damage if _can_move(repository, item)]


def _can_move(repository: Repository, item: Damage) -> bool:
    if item.places.whole:
        return True  # what versions have there can be said to lie elsewhere
    if can_rebuild(repository, item):
        return is_local(repository) or is_missing(repository, item.key)
    if not is_local(repository) or is_missing(repository, item.key):
        return False
    return _is_loose(item.key) or (item.key.startswith(_PACKS) and not item.places.count)


def repair(
    repository: Repository,
    damage: tuple[Damage, ...],
    shown: Callable[[], Shown] = show_nothing,
    *,
    progress: Progress | None = None,
) -> Repaired:
    """Move what is whole out of damaged packs; set aside what is damaged, and write format files that are missing.

    Set aside are blobs, sums, trees, packs that are not needed, checkpoints, steps of prunes, and format files that a
    later one supersedes. A pack that has something in it which is nowhere else stays, and so do log records, the newest
    format file, runs and drafts: what they say is nowhere else. In an object store nothing is set aside.

    Args:
        repository: where.
        damage: what `check_repository` found.
        shown: says which deleted versions somebody looks at.
        progress: is told of files and bytes.

    Raises:
        BusyError: another process is writing; nothing was set aside.
        StorageFullError: there is no room for what is packed anew; nothing was set aside.
    """
    formats = [item for item in damage if can_rebuild(repository, item)]
    loose = [item.key for item in damage if _is_loose(item.key) or item in formats]
    loose = [key for key in loose if not is_missing(repository, key)]
    result = _move_out(repository, damage, shown, progress)
    packs = [item.key for item in damage if item.key.startswith(_PACKS)]
    directory, moved = "", list[str]()
    if is_local(repository) and (loose or packs):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(repository.clock.now_ns() // 10**9))
        directory = os.path.join(repository.location, ASIDE, stamp)
        with repository.exclusion.deleting(ObjectSet()) as may_delete:
            keys = [*loose, *find_unnamed(repository, packs, shown)]
            moved = sorted(key for key in keys if _is_damaged(repository, key))
            may_delete(len(moved))
            for key in moved:
                _move(repository.location, key, directory)
    rebuilt = rebuild_formats(repository, formats)
    repository.blobs.forget()
    left = tuple(item.key for item in damage if item.key not in rebuilt and _is_damaged(repository, item.key))
    versions, skipped = (result.versions, result.skipped) if result is not None else (0, ())
    why = explain_left(repository, [item for item in damage if item.key in left], shown)
    return Repaired(directory if moved else "", tuple(moved), left, versions, skipped, why, rebuilt)


def _is_loose(key: str) -> bool:
    return key.startswith(_MOVED) or is_expendable(key)


def _move_out(
    repository: Repository, damage: tuple[Damage, ...], shown: Callable[[], Shown], progress: Progress | None
) -> RepackResult | None:
    """Say of everything that can be read where it lies, outside of what is damaged."""
    if not any(item.places.whole for item in damage):
        return None
    found = [named for item in damage if (named := find_object(item.key)) is not None]
    repacking = Repacking(
        packs=frozenset(digest for prefix, digest in found if prefix in _PACKS),
        blobs=frozenset(digest for prefix, digest in found if prefix == BLOBS_PREFIX),
    )
    roots, _ = list_roots(repository, shown)
    return repack(repository, repacking, roots, progress=progress, mends=True)


def _is_damaged(repository: Repository, key: str) -> bool:
    """Return whether an object is there, and still is not what was written: packing anew may have written it again."""
    if repository.store.find_size(key) is None:
        return False
    found = find_object(key)
    if found is None:
        return True
    prefix, digest = found
    try:
        if prefix == TREES_PREFIX:
            repository.blobs.in_place.read_tree(Digest(digest))
            return False
        file = repository.store.open(key)
        try:
            return hash_file(file) != digest
        finally:
            file.close()
    except (ArtifactFSError, OSError):
        return True


def _move(location: str, key: str, directory: str) -> None:
    target = os.path.join(directory, key)
    source = os.path.join(location, key)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
        for folder in (os.path.dirname(target), os.path.dirname(source)):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise translate_os_error(error, doing=f"setting {key} aside", subject=key) from error
