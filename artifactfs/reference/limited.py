"""A source of references of which only so much is asked at once: requests, and bytes in a second.

Used by `references.py`. Threading: may be shared by threads, which then wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.blobstore.limiting import Gate
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.base import Described, Listed, Source


class LimitedSource:
    """A source behind a gate. May be shared by threads."""

    def __init__(self, source: Source, gate: Gate) -> None:
        self._source = source
        self._gate = gate

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Return what is at a URI."""
        return self._gate.run(lambda: self._source.describe(uri, checksum=checksum))

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Listed]:
        """Yield everything below a URI."""
        return self._source.iter_below(uri, checksum=checksum)

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Return exactly these bytes of an object; see `Source`."""
        return self._gate.run(lambda: self._source.read_range(entry, offset, size), size=size)
