"""Where a change of a repository's logs shows first: the local directories in which new records appear.

Used by `mount`, which watches them.

Threading: functions without state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, log_prefix

if TYPE_CHECKING:
    from artifactfs.repository.repository import Repository


def find_log_directories(repository: Repository) -> list[str]:
    """Return the directory of collections and those of their logs, as far as they exist; else what is above them.

    A repository in an object store has none.
    """
    if repository.is_remote:
        return []
    above = os.path.join(repository.location, COLLECTIONS_PREFIX.rstrip("/"))
    found = [above if os.path.isdir(above) else repository.location]
    for name in repository.store.iter_children(COLLECTIONS_PREFIX):
        log = os.path.join(repository.location, log_prefix(name).rstrip("/"))
        found.append(log if os.path.isdir(log) else os.path.dirname(log))
    return found
