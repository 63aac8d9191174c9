"""Asking about many references, without waiting again and again for a service that does not answer.

Used by verify and the web API. Threading: an Asking may be shared by threads.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from artifactfs.errors import ArtifactFSError, RemoteTimeoutError, RemoteUnavailableError

if TYPE_CHECKING:
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.references import References

FAILURES: Final = 3
"""After so many in a row, each of which may have taken as long as its deadline, a service is not asked again."""


class Asking:
    """Asks services about references. May be shared by threads."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._guard = threading.Lock()
        self._failures: Counter[str] = Counter()

    def find_drift(self, entry: ReferenceEntry) -> str | None:
        """Return what is wrong with a reference, None if nothing is; see `References.find_drift`.

        Raises:
            RemoteUnavailableError: its service cannot be reached, or could not be several times in a row.
            RemoteError, AccessDeniedError: it may not be read.
        """
        service = find_service(entry.uri)
        if self._failures[service] >= FAILURES:
            msg = f"{service} was not asked: {FAILURES} times in a row it did not answer"
            raise RemoteUnavailableError(msg, hint="try again later", subject=service)
        try:
            drift = self._references.find_drift(entry)
        except (RemoteUnavailableError, RemoteTimeoutError):
            with self._guard:
                self._failures[service] += 1
            raise
        except ArtifactFSError:
            self._note_answer(service)
            raise
        self._note_answer(service)
        return drift

    def _note_answer(self, service: str) -> None:
        with self._guard:
            self._failures[service] = 0


def find_service(uri: str) -> str:
    """Return what answers for a URI: a bucket, or a host.

    >>> find_service("s3://bucket/a/b"), find_service("https://host:81/a?b")
    ('s3://bucket', 'https://host:81')
    """
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"
