"""Repair: rebuild what can be rebuilt, and set aside what is damaged, so that storing the same files heals it.

Nothing is deleted: damaged objects move to a directory beside the repository's data, under their keys. What versions
have in a damaged pack and can be read, there or elsewhere, is packed anew first; the pack moves when nothing names it.

Used by the command line. Threading: functions over a Repository.

Source: docs/design/prune.md.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.keys import (
    BLOBS_PREFIX,
    COLLECTIONS_PREFIX,
    PACKS_PREFIX,
    SUMS_PREFIX,
    TREEPACKS_PREFIX,
    TREES_PREFIX,
)
from artifactfs.blobstore.local import ASIDE
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError, ConfigurationError, IntegrityError, InvalidNameError, translate_os_error
from artifactfs.paths import check_collection_name
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.prune import show_nothing
from artifactfs.repository.reach import ObjectSet, Reach, find_object
from artifactfs.repository.repack import repack
from artifactfs.repository.roots import Keeping, iter_roots
from artifactfs.repository.usage import Repacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.model import Placement
    from artifactfs.repository.check import Damage
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repack import KeptRoot, RepackResult
    from artifactfs.repository.repository import Repository
    from artifactfs.storedpage import StoredPage

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
    """

    directory: str
    set_aside: tuple[str, ...]
    left: tuple[str, ...]
    versions: int = 0


def find_repairable(repository: Repository, damage: Iterable[Damage]) -> list[str]:
    """Return the keys of which `repair` can set the object aside, or pack anew what is whole of it."""
    return [item.key for item in damage if _can_move(repository, item)]


def _can_move(repository: Repository, item: Damage) -> bool:
    if item.places.whole:
        return True  # what versions have there can be said to lie elsewhere
    if repository.store.find_size(item.key) is None:
        return False
    return _is_loose(item.key) or (item.key.startswith(_PACKS) and not item.places.count and _is_local(repository))


def _is_local(repository: Repository) -> bool:
    return os.path.isdir(repository.location)


def repair(
    repository: Repository,
    damage: tuple[Damage, ...],
    shown: Callable[[], Shown] = show_nothing,
    *,
    progress: Progress | None = None,
) -> Repaired:
    """Move what is whole out of damaged packs; set aside damaged blobs, sums, trees, checkpoints, and packs not needed.

    A pack that has something in it which is nowhere else stays, and so do log records, format files, runs and steps of
    prunes: what they say is nowhere else.

    Args:
        repository: where.
        damage: what `check_repository` found.
        shown: says which deleted versions somebody looks at.
        progress: is told of files and bytes.

    Raises:
        BusyError: another process is writing; nothing was set aside.
        StorageFullError: there is no room for what is packed anew; nothing was set aside.
        ConfigurationError: something is to be set aside and the repository is not a local directory.
    """
    loose = [item.key for item in damage if _is_loose(item.key) and repository.store.find_size(item.key) is not None]
    if loose and not _is_local(repository):
        msg = f"{repository.location} is not a local directory, and only there damaged objects can be set aside"
        raise ConfigurationError(msg, hint="move them with the tools of the object store")
    result = _move_out(repository, damage, shown, progress)
    packs = [item.key for item in damage if item.key.startswith(_PACKS)]
    directory, moved = "", list[str]()
    if loose or (packs and _is_local(repository)):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(repository.clock.now_ns() // 10**9))
        directory = os.path.join(repository.location, ASIDE, stamp)
        with repository.exclusion.deleting(ObjectSet()) as may_delete:
            keys = [*loose, *_find_unnamed(repository, packs, shown)]
            moved = sorted(key for key in keys if _is_damaged(repository, key))
            may_delete(len(moved))
            for key in moved:
                _move(repository.location, key, directory)
    repository.blobs.forget()
    left = tuple(item.key for item in damage if _is_damaged(repository, item.key))
    return Repaired(directory if moved else "", tuple(moved), left, result.versions if result is not None else 0)


def _is_loose(key: str) -> bool:
    is_checkpoint = key.startswith(COLLECTIONS_PREFIX) and key.split("/")[2:3] == ["checkpoint"]
    return key.startswith(_MOVED) or is_checkpoint


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
    roots, _ = _list_roots(repository, shown)
    return repack(repository, repacking, roots, progress=progress, mends=True)


def _list_roots(repository: Repository, shown: Callable[[], Shown]) -> tuple[list[KeptRoot], bool]:
    """Return the roots that a prune keeps, as far as logs can be read, and whether all can."""
    grace_ns = int(repository.exclusion.grace_seconds * 1e9)
    keeping = Keeping(repository.clock.now_ns() - grace_ns if grace_ns else None, shown())
    roots: list[KeptRoot] = []
    is_complete = True
    for name in sorted(repository.store.iter_children(COLLECTIONS_PREFIX)):
        try:
            state = repository.log.read_state(check_collection_name(name))
        except InvalidNameError:
            continue  # not a collection of this format
        except IntegrityError:
            is_complete = False
        else:
            roots += [(name, number, root) for number, root in iter_roots(state, keeping)]
    return roots, is_complete


class _Named(Reach):
    """Collects what is named, also by pages that are not where they should be. Belongs to one thread.

    Attributes:
        is_complete: whether each page could be read.
    """

    def __init__(self, repository: Repository) -> None:
        super().__init__(repository.blobs)
        self.is_complete = True

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page the first time that it is met, or None if it cannot be read."""
        try:
            return super().enter_page(tree, placement)
        except IntegrityError:
            self.is_complete = False
            return None


def _find_unnamed(repository: Repository, packs: list[str], shown: Callable[[], Shown]) -> list[str]:
    """Return which packs no version or draft names; none when that is not known of one of them."""
    if not packs:
        return []
    roots, is_complete = _list_roots(repository, shown)
    named = _Named(repository)
    try:
        parts = list(Drafts(repository).iter_roots())
    except IntegrityError:
        return []
    for root in [*(root for _, _, root in roots), *(root for _, root in parts)]:
        named.add_root(root)
    if not (is_complete and named.is_complete):
        return []
    return [key for key in packs if (found := find_object(key)) is not None and not named.objects.has(*found)]


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
