"""Which packs are sound: there, and with the bytes that their names say.

A pack that was not touched since it was seen to hash to its name is not read again; any other is read, once.

Used by `blobbatch.py` for packs and by the repository for tree packs. Threading: a SoundPacks may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.hashing import hash_file
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import Store
    from artifactfs.blobstore.blobs import VerifiedLog


class SoundPacks:
    """Looks at packs, at each once. May be shared by threads; what happens to a pack afterwards is not seen.

    Args:
        store: where they lie.
        verified: knows which were verified.
        key: how their keys are made.
        note: is told of keys of damaged ones.
        doubts: whether a store that keeps checksums is not believed.
    """

    def __init__(
        self,
        store: Store,
        verified: VerifiedLog,
        *,
        key: Callable[[bytes], str],
        note: Callable[[str], None],
        doubts: bool = False,
    ) -> None:
        self._store = store
        self._verified = verified
        self._key = key
        self._note = note
        self._believes = store.keeps_checksums and not doubts
        self._known: dict[bytes, bool] = {}

    def is_sound(self, pack: bytes) -> bool:
        """Return whether a pack is there, undamaged. A store that keeps checksums is believed when it has it."""
        found = self._known.get(pack)
        if found is None:
            found = self._known[pack] = self._look_at(pack)
        return found

    def _look_at(self, pack: bytes) -> bool:
        if self._believes:
            return True  # who asks has found its size
        try:
            file = self._store.open(self._key(pack))
        except ArtifactFSError:
            return False
        try:
            signature = file.signature()
            if self._verified.has_verified(pack, signature):
                return True
            is_sound = hash_file(file) == pack
        except (ArtifactFSError, OSError):
            is_sound = False
        finally:
            file.close()
        if not is_sound:
            self._note(self._key(pack))
        elif signature:
            self._verified.add_verified(((pack, signature),))
        return is_sound
