"""Check: everything that is stored, looked at again; with `read_data` every byte.

Nothing that was verified earlier is believed, and damage does not end it: all of it is listed, with the versions and
paths that it touches. Nothing is changed; `repair.py` does that.

Used by the command line. Threading: functions over a Repository; commits and prunes may go on.

Source: docs/design/prune.md.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import (
    COLLECTIONS_PREFIX,
    DRAFTS_PREFIX,
    FORMAT_PREFIX,
    PACKS_PREFIX,
    PRUNE_PREFIX,
    RUNS_PREFIX,
    TREEPACKS_PREFIX,
    tree_key,
    treepack_key,
)
from artifactfs.errors import IntegrityError
from artifactfs.repository.check_formats import check_formats
from artifactfs.repository.check_logs import LogAudit
from artifactfs.repository.check_objects import ObjectAudit
from artifactfs.repository.check_places import Places, find_places
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.format import ORIGINS, PACKS, REFERENCES
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.reach import PREFIXES, find_object
from artifactfs.repository.roots import NOTHING_MORE, Keeping, iter_roots
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectReader
    from artifactfs.model import Collection, Root
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository

REMOVED: Final = " (removed)"
"""Ends the names of versions that were removed and are kept for a time, or for a pin."""
_SKEW_NS: Final = 1800 * 10**9
"""By which clocks differ: what another machine may have given up already is not missed."""
_FOLDERS: Final = {*PREFIXES, COLLECTIONS_PREFIX, DRAFTS_PREFIX, FORMAT_PREFIX, PRUNE_PREFIX, RUNS_PREFIX}


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that is missing or not what was written.

    Attributes:
        key: of the object.
        what: what is wrong.
        places: where versions have it; of a log record, the versions that are lost with it.
        unsure: versions that a damaged log record may have removed or moved, as `NAME:vN`.
        unannounced: features that a missing format file should announce.
    """

    key: str
    what: str
    places: Places
    unsure: tuple[str, ...] = ()
    unannounced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        damage: in order of keys; none when all is well.
        collections, records, versions: how many were looked at.
        objects: how many are reached.
        unreached: how many are not, which prune would delete.
        read_size: bytes of files that were read and hashed.
        strays: keys that are none of this format, and are left alone.
    """

    damage: tuple[Damage, ...]
    collections: int
    records: int
    versions: int
    objects: int
    unreached: int
    read_size: int
    strays: tuple[str, ...]


def check_repository(
    repository: Repository,
    *,
    share: float = 0.0,
    progress: Progress | None = None,
    random: Callable[[int], bytes] = os.urandom,
) -> CheckReport:
    """Return what is damaged in a repository.

    Args:
        repository: which.
        share: which part of the blobs is read and hashed, from 0 (their sizes are compared) to 1.
        progress: is told of objects and bytes.
        random: decides which blobs are read.

    Raises:
        AccessDeniedError, RemoteError: something may not or cannot be read now; nothing is known.
    """
    progress = progress or NoProgress()
    found: dict[str, str] = {}

    def report(key: str, what: str) -> None:
        found.setdefault(key, what)

    repository.blobs.forget()
    logs = LogAudit(repository, report=report)
    logs.check()
    progress.begin(files=sum(1 for prefix in PREFIXES for _ in repository.store.iter_keys(prefix)), size=0)
    keeping = _make_keeping(repository)
    roots = [*_iter_named_roots(repository.store, logs.states, keeping), *logs.parts]
    with ObjectAudit(repository, report=report, share=share, random=random, progress=progress) as audit:
        for _, root in roots:
            audit.add_root(root)
        audit.finish()
        audit.check_ends()
        reached = len(audit.reach.objects)
        unreached, strays = audit.look_at_rest()
        unannounced, strange = check_formats(repository.store, _find_used(logs, audit), report=report)
    damage = _locate(repository, logs, found, unannounced) if found else ()
    others = [name for name in repository.store.iter_children("") if f"{name}/" not in _FOLDERS]
    return CheckReport(
        damage=damage,
        collections=len(logs.states),
        records=logs.records,
        versions=len(roots) - len(logs.parts),
        objects=reached,
        unreached=unreached,
        read_size=audit.read_size,
        strays=tuple(sorted([*logs.strays, *strays, *strange, *others])),
    )


def _find_used(logs: LogAudit, audit: ObjectAudit) -> dict[str, str]:
    """Return the features that readers must know because of something that is there, and what that is."""
    objects = audit.reach.objects
    has_packs = any(True for prefix in (TREEPACKS_PREFIX, PACKS_PREFIX) for _ in objects.iter_sorted(prefix))
    is_used = {PACKS: has_packs, REFERENCES: audit.has_references, ORIGINS: logs.has_origins}
    what = {PACKS: "packs", REFERENCES: "references", ORIGINS: "copies that say where they were made"}
    return {feature: what[feature] for feature, is_there in is_used.items() if is_there}


def _locate(
    repository: Repository, logs: LogAudit, found: dict[str, str], unannounced: dict[str, tuple[str, ...]]
) -> tuple[Damage, ...]:
    """Return damage with its places. What a prune took away meanwhile, with its versions, is none."""
    states = {}
    for name, state in logs.states.items():
        with suppress(IntegrityError):
            state = repository.log.load(name)  # noqa: PLW2901 (or else what could be read)
        states[name] = state
    parts = logs.parts
    with suppress(IntegrityError):
        parts = list(Drafts(repository).iter_roots())
    roots = [*_iter_named_roots(repository.store, states, _make_keeping(repository)), *parts]
    places = find_places(repository.blobs, roots, set(found))
    unsure: dict[str, tuple[str, ...]] = {}
    for key, (name, gap) in logs.gaps.items():
        places[key] = Places()
        for number in gap.lost:
            places[key].add(f"{name}:v{number}", b"")
        unsure[key] = tuple(f"{name}:v{number}" for number in gap.unsure)
    return tuple(
        Damage(key, what, places.get(key, Places()), unsure.get(key, ()), unannounced.get(key, ()))
        for key, what in sorted(found.items())
        if key in places or find_object(key) is None or repository.store.find_size(key) is not None
    )


def _make_keeping(repository: Repository) -> Keeping:
    """Return which removed versions every prune keeps."""
    grace_ns = int(repository.exclusion.grace_seconds * 1e9)
    return Keeping(repository.clock.now_ns() - grace_ns + _SKEW_NS) if grace_ns else NOTHING_MORE


def _iter_named_roots(
    store: ObjectReader, states: dict[str, Collection], keeping: Keeping
) -> Iterator[tuple[str, Root]]:
    for name, state in states.items():
        needed = {number for number, _ in iter_roots(state)}
        for number, root in iter_roots(state, keeping):
            if number in needed or _has_top(store, root):
                yield f"{name}:v{number}{'' if number in state.versions else REMOVED}", root


def _has_top(store: ObjectReader, root: Root) -> bool:
    """Return whether anything of a removed version is there: a clone has its record alone."""
    placement = root_placement(root)
    top = tree_key(root.as_entry().tree) if placement is None else treepack_key(placement.pack)
    return store.find_size(top) is not None
