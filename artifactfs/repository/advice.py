"""What mends damage that check found: one step for each damaged object; then check says the next one, or finds nothing.

Used by repair and the command line. Threading: functions over a Repository.

Source: docs/design/prune.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import (
    COLLECTIONS_PREFIX,
    DRAFTS_PREFIX,
    PRUNE_PREFIX,
    RUNS_PREFIX,
    TREEPACKS_PREFIX,
    TREES_PREFIX,
    VERDICT,
)
from artifactfs.repository.audit import SEEN
from artifactfs.repository.check import REMOVED
from artifactfs.repository.reach import find_object
from artifactfs.repository.repair_formats import can_rebuild, is_missing

if TYPE_CHECKING:
    from artifactfs.repository.check import Damage
    from artifactfs.repository.repository import Repository

REPAIR: Final = "artifactfs check --read-data --repair"
_COPY: Final = "restore it from a copy of the repository"
_EVENT_DEPTH: Final = 3
"""Slashes in the key of an event of a run; other keys of runs have fewer."""


def is_local(repository: Repository) -> bool:
    """Return whether a repository is a directory, where what is damaged can be set aside."""
    return os.path.isdir(repository.location)


def is_expendable(key: str) -> bool:
    """Return whether an object, once it is damaged, is of no use in a directory: a checkpoint, or a step of a prune.

    Prunes of a directory are kept away from commits by a lock; steps come there with copies of other repositories.
    """
    is_checkpoint = key.startswith(COLLECTIONS_PREFIX) and key.split("/")[2:3] == ["checkpoint"]
    return is_checkpoint or key.startswith(PRUNE_PREFIX)


def find_advice(repository: Repository, item: Damage, *, repair: str = REPAIR) -> str:
    """Return what is to be done about a damaged object.

    Args:
        repository: where it is.
        item: what `check_repository` found.
        repair: the command that repairs what was found.
    """
    if find_object(item.key) is not None:
        return _advise_object(repository, item, repair)
    if can_rebuild(repository, item):
        is_there = not (is_local(repository) or is_missing(repository, item.key))
        first = "a later one says all that it said: delete it, and " if is_there else ""
        return f"{first}`{repair}` writes it anew"
    if is_expendable(item.key):
        return f"no version needs it: `{repair}` sets it aside" if is_local(repository) else _advise_step(item.key)
    if item.key.startswith((DRAFTS_PREFIX, RUNS_PREFIX)):
        folder = os.path.dirname(item.key)
        if item.key.startswith(DRAFTS_PREFIX):
            return f"{_COPY}, or give the draft up: move {folder}/ out of the repository"
        what = f"{folder}/" if item.key.count("/") == _EVENT_DEPTH else "it"
        return f"{_COPY}, or give up what it says of runs: move {what} out of the repository"
    if SEEN in item.what:
        name = item.key.split("/")[1]
        return f"{_COPY}; only where there is none, `artifactfs log {name} --accept` goes on with what is there"
    return _COPY


def _advise_object(repository: Repository, item: Damage, repair: str) -> str:
    if item.places.count:
        put = "artifactfs put" if is_local(repository) else "artifactfs put --rehash"
        again = f"store the files again that are named above (`{put}`)"
        if item.key.startswith((TREES_PREFIX, TREEPACKS_PREFIX)):
            again += ", with the modes and times that they and their directories had"
        wait = ""
        if all(version.endswith(REMOVED) for version, _ in item.places.listed):
            wait = "; or wait until the removed versions are given up, and prune"
        return f"{again}, or {_COPY}{wait}"
    if item.places.whole:
        return f"nothing of it is lost: versions read it there, or from elsewhere; `{repair}` mends this"
    if is_local(repository):
        return f"no version needs it: `{repair}` sets it aside"
    return "no version needs it: `artifactfs prune` deletes it"


def _advise_step(key: str) -> str:
    """Return what is to be done about a checkpoint, or a step of a prune, in an object store."""
    if not key.startswith(PRUNE_PREFIX):
        return "it only saves time, and is not used: delete it"
    if not key.endswith(f"/{VERDICT}"):
        return "commits do without it: delete it"
    return f"{_COPY}, or delete it when nobody has committed or pruned for three hours"
