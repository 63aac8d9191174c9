"""What is published: one file for each volume, written before anything is done and removed after all is undone.

Used by `publishing`. Threading: each volume by one thread at a time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.serve.csi.wishes import Wish

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING: Final = ".json"


class Volume(msgspec.Struct, frozen=True):
    """A volume.

    Attributes:
        id: as kubelet names it.
        target: where it is bound.
        wish: what it is to show.
        collection, version: what the wish named when it was published; version -1 is a collection without any.
        pin: id of the pin, 32 hex digits; "" for none.
        staging: name of its staging directory, without `@`; "" for none.
    """

    id: str
    target: str
    wish: Wish
    collection: str
    version: int
    pin: str = ""
    staging: str = ""


def key_of(volume_id: str) -> str:
    """Return a short name for a volume, of letters and digits."""
    return hashlib.sha256(os.fsencode(volume_id)).hexdigest()[:20]


class Table:
    """The files of all volumes of one plugin.

    Threading: see the module.
    """

    def __init__(self, directory: str) -> None:
        """Store where they are."""
        self._directory = directory

    def find(self, volume_id: str) -> Volume | None:
        """Return a volume that is published, or was begun to be; None when it is neither."""
        return self._read(self._path(volume_id))

    def all(self) -> Iterator[Volume]:
        """Yield all volumes."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._directory)):
                found = self._read(os.path.join(self._directory, name)) if name.endswith(_ENDING) else None
                if found is not None:
                    yield found

    def put(self, volume: Volume) -> None:
        """Write a volume down, durably.

        Raises:
            OSError: it cannot be written; what was there still is.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        path = self._path(volume.id)
        with open(f"{path}.new", "wb") as file:
            file.write(msgspec.json.encode(volume))
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)

    def remove(self, volume_id: str) -> None:
        """Forget a volume; one that is not there is no error."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(volume_id))

    def _path(self, volume_id: str) -> str:
        return os.path.join(self._directory, key_of(volume_id) + _ENDING)

    def _read(self, path: str) -> Volume | None:
        try:
            with open(path, "rb") as file:
                return msgspec.json.decode(file.read(), type=Volume)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
