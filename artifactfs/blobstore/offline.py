"""A bucket that is never asked: what was seen of it before is there, anything else is an error at once.

It takes the place of the real one below the cache, so everything cached works as ever.

Used by the repository when it is offline. Threading: may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, find_seq
from artifactfs.blobstore.remembered import PREFIXES, Remembered
from artifactfs.errors import BlobMissingError, OfflineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from artifactfs.blobstore.base import ObjectFile

HINT: Final = "`artifactfs fetch` brings data in while there is a network; leave --offline out to use it"


class OfflineBucket:
    """What is known of a bucket. May be shared by threads.

    Attributes:
        location: where it lies, for messages.
        keeps_checksums: True.
    """

    keeps_checksums: Final = True

    def __init__(self, remembered: Remembered | None, location: str) -> None:
        """Store what was seen before; None is nothing."""
        self._remembered = remembered or Remembered("/dev/null", location)
        self.location = location

    def read(self, key: str) -> bytes:
        """Return a whole object that was seen.

        Raises:
            BlobMissingError: it would be the next of a log.
            OfflineError: it was not seen.
        """
        found = self._remembered.find(key)
        if found is not None:
            return found
        if not self._is_next(key):
            self._refuse(key)
        msg = f"{key} is not known on this machine"
        raise BlobMissingError(msg, hint=HINT, subject=key)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Fail: what is in the cache is not asked for here."""
        del offset, size
        self._refuse(key)

    def open(self, key: str) -> ObjectFile:
        """Fail."""
        self._refuse(key)

    def find_size(self, key: str) -> int | None:
        """Fail."""
        self._refuse(key)

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that were seen."""
        return self.iter_keys_after(prefix, "")

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys that were seen and are greater than `after`."""
        if not prefix.startswith(PREFIXES):
            self._refuse(prefix or "the bucket")
        return (key for key in self._remembered.iter_keys(prefix) if key > after)

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Fail: sizes are not remembered."""
        del after
        self._refuse(prefix or "the bucket")

    def find_time_ns(self, key: str) -> int | None:
        """Fail."""
        self._refuse(key)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key that was seen."""
        if not prefix:
            msg = f"nothing is known of {self.location} on this machine, and artifactfs is offline"
            raise OfflineError(msg, hint="use the repository once with a network", subject=self.location)
        if not prefix.startswith(PREFIXES):
            self._refuse(prefix)
        return self._remembered.iter_children(prefix)

    def create(self, key: str, data: bytes) -> bool:
        """Fail."""
        del data
        self._refuse_writing(key)

    def replace(self, key: str, data: bytes) -> None:
        """Fail."""
        del data
        self._refuse_writing(key)

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Fail."""
        del source, size
        self._refuse_writing(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Fail."""
        self._refuse_writing(next(iter(keys), "nothing"))

    def _is_next(self, key: str) -> bool:
        """Return whether a record comes after all that were seen of its log, so that it may not be there at all."""
        folder, _, name = key.rpartition("/")
        seq = find_seq(name)
        if not key.startswith(COLLECTIONS_PREFIX) or seq is None:
            return False
        return seq > max((find_seq(child) or 0 for child in self._remembered.iter_children(folder + "/")), default=0)

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{what} of {self.location} is not on this machine, and artifactfs is offline"
        raise OfflineError(msg, hint=HINT, subject=what)

    def _refuse_writing(self, key: str) -> NoReturn:
        msg = f"{key} cannot be stored in {self.location}, because artifactfs is offline"
        raise OfflineError(msg, hint="leave --offline out, or unset ARTIFACTFS_OFFLINE", subject=key)
