"""What a put leaves out, refuses, and reads again.

Used by put. Threading: immutable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.repository.ignore import parse_patterns

if TYPE_CHECKING:
    from artifactfs.repository.ignore import Patterns


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What to leave out.

    Attributes:
        exclude: patterns as in gitignore(5), on entry paths.
        skip_special: leave sockets, FIFOs and devices out instead of refusing them.
        forbidden: device and inode of a directory that must not be met: the repository.
        rehash: read every file, also one that is known and did not change.
    """

    exclude: tuple[str | bytes, ...] = ()
    skip_special: bool = False
    forbidden: tuple[int, int] | None = None
    rehash: bool = False

    def patterns(self) -> Patterns:
        """Return the patterns of `exclude`.

        Raises:
            UsageError: one cannot be understood.
        """
        lines = (item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item for item in self.exclude)
        return parse_patterns(lines)
