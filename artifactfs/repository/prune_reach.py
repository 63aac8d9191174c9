"""What a prune keeps: the state of all logs, and everything that versions and drafts reach by it.

Used by `prune.py`. Threading: functions over a Repository.

Source: docs/format.md section 9; docs/design/prune.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.errors import BlobMissingError, IntegrityError, InvalidNameError, NewerFormatError
from artifactfs.model import Collection as State
from artifactfs.paths import check_collection_name
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.format import find_format
from artifactfs.repository.reach import walk
from artifactfs.repository.roots import NOTHING_MORE, Keeping, iter_roots
from artifactfs.repository.usage import PackUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from artifactfs.model import Placement
    from artifactfs.repository.drafts import Draft
    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repack import KeptRoot
    from artifactfs.repository.repository import Repository
    from artifactfs.storedpage import StoredPage


def check_known(repository: Repository) -> None:
    """Return if this release knows everything that the repository may hold by now."""
    found = find_format(repository.store)
    unknown = found.unknown_to_writers if found is not None else ["no format file"]
    if unknown:
        msg = f"the repository has {', '.join(unknown)}, and this release does not know what that reaches"
        raise NewerFormatError(msg, hint="prune with a newer artifactfs", subject=repository.location)


def read_logs(repository: Repository, known: dict[str, State]) -> dict[str, State]:
    """Return the state of every collection, deleted ones too: from their records alone, or from a state known so."""
    states = {}
    witness = repository.witness
    seen = {name: witness.find_last(name) for name in witness.names()}
    for name in repository.store.iter_children(COLLECTIONS_PREFIX):
        try:
            check_collection_name(name)
        except InvalidNameError:
            continue  # not a collection of this format
        try:
            states[name] = repository.log.load(name, known[name]) if name in known else repository.log.read_state(name)
        except IntegrityError as error:
            hint = "nothing was deleted; `artifactfs check` says more"
            raise type(error)(error.message, hint=hint, subject=error.subject) from error
    for name, last in seen.items():
        witness.check_not_cut(states.get(name) or State(name), last)
    return states


def _make_keeping(repository: Repository, shown: Callable[[], Shown]) -> Keeping:
    grace_ns = int(repository.exclusion.grace_seconds * 1e9)
    return Keeping(repository.clock.now_ns() - grace_ns if grace_ns else None, shown())


def _list_roots(states: Iterable[State], keeping: Keeping) -> tuple[KeptRoot, ...]:
    return tuple((state.name, number, root) for state in states for number, root in iter_roots(state, keeping))


def reach_all(
    repository: Repository,
    reach: PackUsage,
    states: dict[str, State],
    shown: Callable[[], Shown],
    given_up: Collection[Draft] = (),
) -> tuple[PackUsage, dict[str, State], tuple[KeptRoot, ...]]:
    """Return `reach` with what versions and drafts reach, the states by which that was found, and the roots.

    What is gone when it is read may have been given up since the logs were read, and deleted by another prune: then
    the logs are read again, and all that is reached is looked for anew, since the walk that was broken off has met
    pages of which it did not see what lies below.
    """
    keeping = _make_keeping(repository, shown)
    while True:
        roots = _list_roots(states.values(), keeping)
        needed = frozenset(_list_roots(states.values(), NOTHING_MORE))
        try:
            # Removed ones come last: a page that is gone there counts as met, and must be missed by all others first.
            _add_roots(reach, (kept for kept in roots if kept in needed))
            _hold_drafts(repository, reach, given_up)
            roots = tuple(kept for kept in roots if kept in needed or _add_removed(reach, kept))
        except _UnreadableError as unreadable:
            states = read_logs(repository, states)
            now = _list_roots(states.values(), keeping), tuple(Drafts(repository).iter_roots())
            if any(unreadable.root in some for some in now):
                raise unreadable.error from unreadable
            reach = PackUsage(repository.blobs.in_place)
        else:
            return reach, states, roots


class _UnreadableError(Exception):
    """What a root reaches cannot be read."""

    def __init__(self, root: object, name: str, error: IntegrityError) -> None:
        super().__init__(name)
        self.root = root
        msg = f"{name} cannot be read: {error.message}"
        self.error = type(error)(msg, hint="nothing was deleted; `artifactfs check` says more", subject=error.subject)


def _add_roots(reach: PackUsage, roots: Iterable[KeptRoot]) -> None:
    for kept in roots:
        name, number, root = kept
        try:
            reach.add_root(root)
        except IntegrityError as error:
            raise _UnreadableError(kept, f"{name}:v{number}", error) from error


def _add_removed(reach: PackUsage, kept: KeptRoot) -> bool:
    """Add what is left of a version that is kept only for who may still read it, and return whether that is all of it.

    It may have been deleted before somebody could be seen to look at it, or not have come here with a clone.
    """
    name, number, root = kept
    visitor = _PassingGaps(reach)
    try:
        walk(root, visitor)
    except IntegrityError as error:
        raise _UnreadableError(kept, f"{name}:v{number}", error) from error
    return visitor.is_whole


class _PassingGaps:
    """Collects what is reached, also beside pages that are gone. Belongs to one thread.

    Attributes:
        is_whole: whether no page is.
    """

    def __init__(self, reach: PackUsage) -> None:
        self._reach = reach
        self.is_whole = True

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page the first time that it is met, or None when it is gone."""
        try:
            return self._reach.enter_page(tree, placement)
        except BlobMissingError:
            self.is_whole = False
            return None

    def take_files(self, stored: StoredPage) -> None:
        """Add what files need."""
        self._reach.take_files(stored)


def _hold_drafts(repository: Repository, reach: PackUsage, given_up: Collection[Draft]) -> None:
    for part in Drafts(repository).iter_roots(given_up=given_up):
        name, root = part
        try:
            reach.hold(root)
        except IntegrityError as error:
            raise _UnreadableError(part, name, error) from error
