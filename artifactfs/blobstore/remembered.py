"""The small objects of a bucket that this user has seen: formats, log records, checkpoints. They never change.

    <state>/remembered/<12 hex digits of the location>/<key>

So a machine that is offline knows what it knew. Content is in the cache (`diskcache.py`), which several users may
share; this is each user's own, because nothing but the service that it came from vouches for it.

Used by `cachingstore.py` and `offline.py`. Threading: may be shared by threads and processes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, FORMAT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIXES: Final = (FORMAT_PREFIX, COLLECTIONS_PREFIX)
_log = logging.getLogger(__name__)


class Remembered:
    """Objects in a directory. May be shared by threads and processes.

    Args:
        directory: for all locations.
        location: of the repository.
    """

    def __init__(self, directory: str, location: str) -> None:
        name = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self._top = os.path.join(directory, name)
        self._is_told = False

    def keep(self, key: str, data: bytes) -> None:
        """Keep an object if it is of a kind that is kept; that it cannot be is no error."""
        if not key.startswith(PREFIXES):
            return
        path = os.path.join(self._top, key)
        if os.path.exists(path):
            return
        temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
            os.rename(temporary, path)
        except OSError as error:
            if not self._is_told:
                _log.warning("what is seen of the repository cannot be kept in %s: %s", self._top, error.strerror)
            self._is_told = True

    def find(self, key: str) -> bytes | None:
        """Return an object, or None when it was not kept."""
        try:
            with open(os.path.join(self._top, key), "rb") as file:
                return file.read()
        except OSError:
            return None

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, which ends in `/`, in order."""
        found = []
        for folder, _, names in os.walk(os.path.join(self._top, prefix)):
            found += [os.path.relpath(os.path.join(folder, name), self._top) for name in names if _is_name(name)]
        yield from sorted(found)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        try:
            names = os.listdir(os.path.join(self._top, prefix))
        except OSError:
            return
        yield from (name for name in names if _is_name(name))


def _is_name(name: str) -> bool:
    """Return whether a file is an object: temporary names end in two numbers."""
    parts = name.rsplit(".", 2)
    return not (len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal())
