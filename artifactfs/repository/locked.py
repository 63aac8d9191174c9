"""What of a repository may be seen when a lock file says it: some versions, and aliases that do not move.

Used by views of runs and by mounts. Threading: immutable values.

Source: docs/design/interop.md, "Lock files".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from artifactfs.model import Collection


@dataclass(frozen=True, slots=True)
class Locked:
    """Versions that may be seen, and aliases, by collection.

    Attributes:
        versions: numbers.
        aliases: number by alias.
    """

    versions: dict[str, list[int]]
    aliases: dict[str, dict[str, int]]

    def restrict(self, state: Collection) -> Collection | None:
        """Return a collection with no more than what may be seen of it; None when that is nothing."""
        if state.name not in self.versions:
            return None
        numbers = self.versions[state.name]
        versions = {number: version for number, version in state.versions.items() if number in numbers}
        aliases = {alias: number for alias, number in self.aliases.get(state.name, {}).items() if number in versions}
        return msgspec.structs.replace(state, versions=versions, aliases=aliases)
