"""Prune: find what no version or draft reaches, and delete it without harming commits that are under way.

    garbage = find_garbage(repository, shown)         # reads all logs and trees; holds nothing, changes nothing
    result = delete_garbage(repository, garbage)      # excludes commits, reads the logs again, deletes

What is reached may lie in packs that are dead otherwise: `repack` goes before, and then garbage is looked for again.

Used by the command line. Threading: functions over a Repository; several prunes may run at once, anywhere.

Source: docs/format.md section 9; docs/design/prune.md.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import digest_key, log_key
from artifactfs.errors import translate_os_error
from artifactfs.repository.condemning import ListExclusion, forget_prunes
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.exclusion import wait_silently
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.prune_reach import check_known, reach_all, read_logs
from artifactfs.repository.reach import PREFIXES, ObjectSet, find_object
from artifactfs.repository.usage import SMALL, PackUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from artifactfs.blobstore.base import Store
    from artifactfs.model import Collection as State
    from artifactfs.repository.drafts import Draft
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repack import KeptRoot
    from artifactfs.repository.repository import Repository

DELETED_AT_ONCE: Final = 1000
Shown = Container[tuple[str, int]]
"""Versions that somebody looks at, by collection and number."""


def show_nothing() -> Shown:
    """Return that nobody looks at deleted versions."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of objects and their bytes."""

    count: int = 0
    size: int = 0

    def __add__(self, other: Amount) -> Amount:
        """Return both together."""
        return Amount(self.count + other.count, self.size + other.size)


@dataclass(frozen=True, slots=True)
class Garbage:
    """What nothing reached when it was looked for.

    Attributes:
        objects: what it is.
        amounts: how much in each folder that has some, by its name such as `blobs`.
        reached: how many objects are reached.
        kept: deleted versions that are kept for now, as `NAME:vN`.
        roots: collection, number and root of all versions that are kept whole.
        usage: what is reached, and which parts of packs.
    """

    objects: ObjectSet
    amounts: dict[str, Amount]
    reached: int
    kept: tuple[str, ...]
    roots: tuple[KeptRoot, ...]
    usage: PackUsage
    _states: dict[str, State]
    _sizes: dict[bytes, int]

    @property
    def total(self) -> Amount:
        """All of it."""
        return sum(self.amounts.values(), Amount())

    def find_size(self, store: Store, prefix: str, digest: bytes) -> int:
        """Return the bytes in one of the objects; 0 when it is gone."""
        size = self._sizes.get(digest)
        return (store.find_size(digest_key(prefix, digest)) or 0) if size is None else size


def find_garbage(
    repository: Repository,
    shown: Callable[[], Shown] = show_nothing,
    *,
    given_up: Collection[Draft] = (),
    progress: Progress | None = None,
) -> Garbage:
    """Return what no version reaches. Nothing is changed.

    Args:
        repository: where to look.
        shown: says which versions somebody looks at, deleted or not.
        given_up: drafts that are going to be dropped; their parts count as not reached.
        progress: is told of objects that were looked at.

    Raises:
        NewerFormatError: the repository has something that this release does not know, so that it cannot know either
            what that reaches.
        BlobMissingError, DigestMismatchError, MalformedError: a record or page is damaged or missing, so that what it
            reaches is not known.
    """
    progress = progress or NoProgress()
    check_known(repository)
    states = read_logs(repository, {})
    reach, states, roots = reach_all(repository, PackUsage(repository.blobs.in_place), states, shown, given_up)
    garbage, amounts, sizes, reached = ObjectSet(), dict[str, Amount](), dict[bytes, int](), 0
    for prefix in PREFIXES:
        for key, listed in _iter_sizes(repository.store, prefix):
            progress.advance(files=1)
            found = find_object(key)
            if found is None:
                continue  # not an object of this format: left alone
            if reach.objects.has(*found):
                reached += 1
                if listed is not None and prefix in SMALL:
                    reach.sizes[found[1]] = listed
            elif (size := repository.store.find_size(key) if listed is None else listed) is not None:
                garbage.add(*found)
                folder = prefix.rstrip("/")
                amounts[folder] = amounts.get(folder, Amount()) + Amount(1, size)
                if listed is not None:
                    sizes[found[1]] = listed
    kept = tuple(f"{name}:v{number}" for name, number, _ in roots if number not in states[name].versions)
    return Garbage(garbage, amounts, reached, kept, roots, reach, states, sizes)


def _iter_sizes(store: Store, prefix: str) -> Iterator[tuple[str, int | None]]:
    """Yield the keys below a prefix, with sizes where a listing tells them: asking for each takes long."""
    iter_sizes = getattr(store, "iter_sizes_after", None)
    yield from iter_sizes(prefix, "") if iter_sizes is not None else ((key, None) for key in store.iter_keys(prefix))


def delete_garbage(
    repository: Repository,
    garbage: Garbage,
    shown: Callable[[], Shown] = show_nothing,
    *,
    progress: Progress | None = None,
    waiting: Callable[[int], None] = wait_silently,
) -> Amount:
    """Delete what was found, but for what is reached by now, and return how much it was.

    When it raises, some of it may be gone; what is reached never is.

    Args:
        repository: where.
        garbage: what `find_garbage` found.
        shown: says which versions somebody looks at; asked again.
        progress: is told of objects and bytes.
        waiting: is told before a wait for commits under way when that ends, nanoseconds since 1970 UTC.

    Raises:
        BusyError: another process is writing; nothing was deleted.
        ConflictError: a commit needs something of it; nothing was deleted.
        ArtifactFSError: see `find_garbage`.
    """
    progress = progress or NoProgress()
    total = garbage.total
    progress.begin(files=total.count, size=total.size)
    exclusion = repository.exclusion
    if isinstance(exclusion, ListExclusion):
        forget_prunes(exclusion)
    Drafts(repository).forget_ended()
    _sweep(repository)
    deleted = Amount()
    if not total.count:
        return deleted
    with exclusion.deleting(garbage.objects, waiting=waiting) as may_delete:
        check_known(repository)
        states = read_logs(repository, garbage._states)  # noqa: SLF001 (one module, one concern)
        _make_durable(repository, states.values())
        reach, *_ = reach_all(repository, garbage.usage, states, shown)
        for prefix in PREFIXES:
            left = (digest for digest in garbage.objects.iter_sorted(prefix) if not reach.objects.has(prefix, digest))
            while some := list(islice(left, DELETED_AT_ONCE)):
                keys = [digest_key(prefix, digest) for digest in some]
                size = sum(garbage.find_size(repository.store, prefix, digest) for digest in some)
                amount = Amount(len(keys), size)
                may_delete(len(keys))
                repository.store.delete(keys)
                deleted += amount
                progress.advance(files=amount.count, size=amount.size)
    return deleted


def _sweep(repository: Repository) -> None:
    """Remove temporary files of processes that are gone."""
    sweep = getattr(repository.store, "sweep", None)
    if sweep is not None:
        sweep()


def _make_durable(repository: Repository, states: Iterable[State]) -> None:
    """Make the records durable that were read, since what they give up is deleted now.

    A writer that was killed, or met a full disk, may have left a record that can be read and would not survive a loss
    of power: the version that it deleted, or moved, would be there again, without its content.
    """
    sync_names = getattr(repository.store, "sync_names", None)
    if sync_names is None:
        return  # what an object store has said once stays
    try:
        sync_names([log_key(state.name, state.seq) for state in states if state.seq])
    except OSError as error:
        raise translate_os_error(error, doing="making the logs durable", subject=repository.location) from error
