"""Repair: rebuild what can be rebuilt, and set aside what is damaged, so that storing the same files heals it.

Nothing is deleted: damaged objects move to a directory beside the repository's data, under their keys.

Used by the command line. Threading: functions over a Repository.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import BLOBS_PREFIX, COLLECTIONS_PREFIX, SUMS_PREFIX, TREES_PREFIX
from artifactfs.blobstore.local import ASIDE
from artifactfs.errors import ConfigurationError, translate_os_error
from artifactfs.repository.reach import ObjectSet

if TYPE_CHECKING:
    from artifactfs.repository.check import Damage
    from artifactfs.repository.repository import Repository

_MOVED: Final = (BLOBS_PREFIX, SUMS_PREFIX, TREES_PREFIX)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did.

    Attributes:
        directory: where what was set aside lies now; "" when nothing was.
        set_aside: keys of objects that were moved there, in order.
        left: keys of damaged objects that were left where they are.
    """

    directory: str
    set_aside: tuple[str, ...]
    left: tuple[str, ...]


def repair(repository: Repository, damage: tuple[Damage, ...]) -> Repaired:
    """Set damaged blobs, sums, trees and checkpoints aside.

    Packs stay, because the other files in them are whole: what is damaged in them is found elsewhere once it is stored
    again. Log records, format files, runs and steps of prunes stay: what they say is nowhere else.

    Raises:
        BusyError: another process is writing; nothing was moved.
        ConfigurationError: the repository is not a local directory.
    """
    present = [item.key for item in damage if repository.store.find_size(item.key) is not None]
    moved = [key for key in present if key.startswith(_MOVED) or _is_checkpoint(key)]
    left = tuple(key for key in present if key not in moved)
    if not moved:
        return Repaired("", (), left)
    if not os.path.isdir(repository.location):
        msg = f"{repository.location} is not a local directory, and only there damaged objects can be set aside"
        raise ConfigurationError(msg, hint="move them with the tools of the object store")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(repository.clock.now_ns() // 10**9))
    directory = os.path.join(repository.location, ASIDE, stamp)
    with repository.exclusion.deleting(ObjectSet()) as may_delete:
        may_delete(len(moved))
        for key in moved:
            _move(repository.location, key, directory)
    return Repaired(directory, tuple(moved), left)


def _is_checkpoint(key: str) -> bool:
    return key.startswith(COLLECTIONS_PREFIX) and key.split("/")[2:3] == ["checkpoint"]


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
