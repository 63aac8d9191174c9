"""What the catalogue looks like at one moment, found by reading only the logs that changed since the last look.

Used by `changes.py`.

Threading: one thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError, InvalidNameError
from artifactfs.repository.watching import Unchanged, list_collections

if TYPE_CHECKING:
    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.staging_places import StagingPlaces

STAGING_FOLDER: Final = "staging"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a collection looked like.

    Attributes:
        seq: number of its last record.
        head: digest of that record.
        exists: whether it is in the list of collections.
        names: of versions and aliases.
        aliases: of these, the aliases.
        deleted: names of versions that are no more.
        staging: names of its staging directories, with `@`.
    """

    seq: int = 0
    head: str = ""
    exists: bool = False
    names: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    staging: frozenset[str] = frozenset()

    @property
    def is_shown(self) -> bool:
        """Whether it is a name of the top directory."""
        return self.exists or bool(self.staging)

    @property
    def log(self) -> tuple[int, str, bool]:
        """What differs whenever a record came, or the log is another one."""
        return self.seq, self.head, self.exists


class Looks:
    """Looks at all collections.

    Threading: one thread.
    """

    def __init__(self, repository: Repository, staging: StagingPlaces) -> None:
        """Store where to look."""
        self._repository = repository
        self._staging = staging
        self._seen: Unchanged[Seen] = Unchanged(repository)

    def look(self) -> dict[str, Seen]:
        """Return what each collection looks like now; those that were deleted may be among them."""
        staging = {
            name: frozenset(f"@{entry}" for entry in self._staging.staging_names(name))
            for name in self._staging.staging_collections()
        }
        found = {}
        for name in {*list_collections(self._repository), *staging}:
            try:
                seen = self._seen.find(name, self._load)
            except InvalidNameError:
                continue
            except ArtifactFSError:
                seen = Seen(exists=True)  # a damaged log: entering it says so
            found[name] = replace(seen, staging=staging[name]) if name in staging else seen
        return found

    def _load(self, name: str) -> tuple[int, Seen]:
        state = self._repository.load_state(name)
        aliases = frozenset(state.aliases)
        return state.seq, Seen(
            state.seq,
            state.head,
            state.exists,
            frozenset(version.name for version in state.versions.values()) | aliases,
            aliases,
            frozenset(f"v{number}" for number in state.deleted),
        )


def find_staging_mark(state_directory: str) -> frozenset[tuple[str, int, int]]:
    """Return by what it is known that staging directories came or went: the times of the directories they lie in."""
    top = os.path.join(state_directory, STAGING_FOLDER)
    places = [top]
    with suppress(OSError):
        places += [entry.path for entry in os.scandir(top) if entry.is_dir()]
    found = set()
    for place in places:
        with suppress(OSError):
            state = os.stat(place)
            found.add((place, state.st_ino, state.st_mtime_ns))
    return frozenset(found)
