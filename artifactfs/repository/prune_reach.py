"""What a prune keeps: the state of all logs, and everything that versions and drafts reach by it.

Used by `prune.py`. Threading: functions over a Repository.

Source: docs/format.md section 9; docs/design/prune.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.errors import BlobMissingError, IntegrityError, InvalidNameError, NewerFormatError
from artifactfs.model import Collection as State
from artifactfs.paths import check_collection_name
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.format import find_format
from artifactfs.repository.roots import Keeping, iter_roots
from artifactfs.repository.usage import PackUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable

    from artifactfs.repository.drafts import Draft
    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repack import KeptRoot
    from artifactfs.repository.repository import Repository


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
        try:
            roots = _add_roots(reach, roots, _list_roots(states.values(), replace(keeping, shown=())))
            _hold_drafts(repository, reach, given_up)
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


def _add_roots(reach: PackUsage, roots: Iterable[KeptRoot], needed: Container[KeptRoot]) -> tuple[KeptRoot, ...]:
    """Add what versions reach, and return those that are kept: of one that is only shown something may be gone."""
    found = []
    for kept in roots:
        name, number, root = kept
        try:
            reach.add_root(root)
        except BlobMissingError as error:
            if kept in needed:
                raise _UnreadableError(kept, f"{name}:v{number}", error) from error
            continue  # it was deleted before somebody could be seen to look at it
        except IntegrityError as error:
            raise _UnreadableError(kept, f"{name}:v{number}", error) from error
        found.append(kept)
    return tuple(found)


def _hold_drafts(repository: Repository, reach: PackUsage, given_up: Collection[Draft]) -> None:
    for part in Drafts(repository).iter_roots(given_up=given_up):
        name, root = part
        try:
            reach.hold(root)
        except IntegrityError as error:
            raise _UnreadableError(part, name, error) from error
