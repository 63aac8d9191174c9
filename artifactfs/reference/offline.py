"""What lies elsewhere when the network may not be used: nothing is asked, each question is an error at once.

What is kept on this machine is read as ever, above this. Used by `references.py`. Threading: may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from artifactfs.errors import OfflineError
from artifactfs.reference.uris import redact_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.base import Described, Folder


class OfflineSource:
    """Asks nobody. May be shared by threads."""

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Fail."""
        del checksum
        _refuse(uri)

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Described | Folder]:
        """Fail."""
        del checksum
        _refuse(uri)

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Fail."""
        del offset, size
        _refuse(entry.uri)


def _refuse(uri: str) -> NoReturn:
    shown = redact_uri(uri)
    msg = f"{shown} is not on this machine, and artifactfs is offline"
    raise OfflineError(msg, hint="read it once with a network; leave --offline out to use it", subject=shown)
