"""Storing many blobs: large ones as objects of their own, small ones end to end in packs.

What is stored already is not stored again. That the index knows a pack is never taken for its being there: the store
is asked, and a pack that was touched since it was written is read before it is relied on.

Used by the repository. Threading: a batch may be shared; small blobs lie in the order in which they were stored.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, BinaryIO, Self

from artifactfs.blobstore.base import Published
from artifactfs.blobstore.blobs import SMALL, StoredBlob
from artifactfs.blobstore.hashing import ObjectStream, StreamHasher, hash_file
from artifactfs.blobstore.keys import BLOBS_PREFIX, PACKS_PREFIX, TREEPACKS_PREFIX, blob_key, pack_key, sums_key
from artifactfs.blobstore.loose import LooseNames
from artifactfs.blobstore.packing import Packer, PackName, Place
from artifactfs.blobstore.places import FILES, SEEN
from artifactfs.blobstore.soundness import SoundPacks
from artifactfs.digest import CHUNK_SIZE, DIGEST_SIZE
from artifactfs.errors import ArtifactFSError, BlobMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from artifactfs.blobstore.base import ObjectBatch
    from artifactfs.blobstore.blobs import BlobName, BlobStore
    from artifactfs.blobstore.packs import PackPlace


class BlobBatch:
    """Stores many blobs. A context manager: what was not flushed is discarded. Threads may share it."""

    def __init__(
        self, blobs: BlobStore, batch: ObjectBatch, *, avoid: Iterable[bytes] = (), doubts: bool = False
    ) -> None:
        """Store where blobs go, which packs are taken as missing, and whether checksums of a store are not believed."""
        self._blobs = blobs
        self._store = blobs.store
        self._batch = batch
        self._verified = blobs.verified
        self._packing = threading.RLock()
        self._packer = Packer(batch, key=pack_key)
        # Of this batch: places in the pack that is being filled, and in the one before.
        self._fresh: dict[bytes, Place] = {}
        self._previous: dict[bytes, Place] = {}
        self._looked_up: dict[bytes, list[tuple[bytes, PackPlace]]] = {}
        self._loose = LooseNames(blobs.store)
        self._names: dict[bytes, PackName | None] = dict.fromkeys(avoid)
        self._completed: set[bytes] = set()
        self._believes = blobs.store.keeps_checksums and not doubts
        self._sound = SoundPacks(blobs.store, blobs.verified, key=pack_key, note=blobs.damaged.add, doubts=doubts)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not flushed."""
        self._packer.abort()
        self._batch.__exit__(kind, error, trace)

    def is_packed(self, size: int) -> bool:
        """Return whether a new blob of this size goes into a pack."""
        return size < self._blobs.packed_below

    def look_up(self, digests: Sequence[bytes]) -> None:
        """Look for blobs that will be stored soon, all at once: one by one costs several times as much.

        What is stored meanwhile is in this pack or the one before, as long as less than a pack is looked up ahead.
        """
        found = [(table, self._blobs.places.find_places(table, digests)) for table in (FILES, SEEN)]
        for digest in digests:
            self._looked_up[digest] = [(table, known[digest]) for table, known in found if digest in known]

    def store_blob(self, source: BinaryIO, *, size_hint: int = 0) -> StoredBlob:
        """Store all bytes that `source` still has, and return their digest.

        Args:
            source: read to its end; stays open.
            size_hint: expected bytes; only the speed depends on it.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
            OSError: from reading `source`.
        """
        head = source.read(min(size_hint, SMALL) + 1)
        if len(head) > SMALL:
            return self._store_stream(source, head)
        while more := source.read(SMALL + 1 - len(head)):
            head += more
            if len(head) > SMALL:
                return self._store_stream(source, head)
        return self.store_bytes(head)

    def store_clone(self, descriptor: int, *, tell: Callable[[int], None] | None = None) -> StoredBlob | None:
        """Store a whole open file, over 1 MiB, by sharing its blocks, and return its digest; None where that cannot be.

        What is hashed is the copy, which nobody can change, not the file.

        Args:
            descriptor: of the file.
            tell: called with numbers of bytes as they are hashed.

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        cloned = self._batch.clone(descriptor)
        if cloned is None:
            return None
        handle, file = cloned
        try:
            with StreamHasher(ObjectStream(file)) as hasher:
                for block in hasher.iter_blocks():
                    if tell is not None:
                        tell(len(block))
                sha256, sums = hasher.finish()
        finally:
            file.close()
        return self._name_stream(handle, hasher.size, sha256, sums)

    def find_stored(self, blob: BlobName) -> StoredBlob | None:
        """Return a blob that is stored already, with its sums, or None; flush makes its name durable too."""
        with self._packing:
            place = self._find_place(blob.sha256, blob.size)
        if place is not None:
            return StoredBlob(blob.sha256, blob.size, blob.sums, place)
        if self.is_packed(blob.size) and not self._loose.may_have(blob.sha256):
            return None
        if not self._is_stored_loose(blob.sha256, blob.size):
            return None
        sums_size = -(-blob.size // CHUNK_SIZE) * DIGEST_SIZE
        if blob.sums is not None and not self._is_stored(sums_key(blob.sums), blob.sums, sums_size):
            return None
        return StoredBlob(blob.sha256, blob.size, blob.sums)

    def store_bytes(self, data: bytes) -> StoredBlob:
        """Store a blob that is in memory (up to 4 MiB: it gets no sums).

        Raises:
            StorageFullError: there is no room; nothing is left of it.
        """
        return self.store_hashed(hashlib.sha256(data).digest(), data)

    def store_hashed(self, sha256: bytes, data: bytes) -> StoredBlob:
        """Store a blob in memory whose digest was computed already; otherwise as `store_bytes`."""
        assert len(data) <= CHUNK_SIZE
        if not self.is_packed(len(data)):
            self._looked_up.pop(sha256, None)
            self._store_object(blob_key(sha256), sha256, data)
            return StoredBlob(sha256, len(data))
        with self._packing:
            place = self._find_place(sha256, len(data))
            if place is None and not (self._loose.may_have(sha256) and self._is_stored_loose(sha256, len(data))):
                place = self._fresh[sha256] = self._packer.add(data)
                if self._packer.is_full:
                    self.seal_pack()
        return StoredBlob(sha256, len(data), None, place)

    def seal_pack(self) -> None:
        """Complete the pack that is being filled.

        Raises:
            StorageFullError: there is no room; nothing of the pack is left.
        """
        with self._packing:
            fresh, self._fresh = self._fresh, {}
            self._previous = fresh
            name = self._packer.seal()
            if name is not None and name.digest is not None:
                self._names[name.digest] = name
                self._completed.add(name.digest)
                self._is_stored(pack_key(name.digest), name.digest, name.size)  # one that is there may be damaged
                self._blobs.places.add_places(FILES, fresh.items())

    def flush(self) -> None:
        """Make everything stored so far visible and durable.

        Raises:
            StorageFullError: there is no room; each blob is visible as a whole or not at all.
        """
        self.seal_pack()
        self._publish_blobs()

    def _publish_blobs(self) -> None:
        if self._completed:
            self._blobs.announce()
        self._record(self._batch.flush())

    def _find_place(self, sha256: bytes, size: int) -> Place | None:
        """Return where a blob lies in a pack that is there, undamaged, or None."""
        fresh = self._fresh.get(sha256) or self._previous.get(sha256)
        looked_up = self._looked_up.pop(sha256, None)
        if fresh is not None:
            return fresh
        for table, known in self._iter_known(sha256) if looked_up is None else looked_up:
            if known.size != size:
                continue
            name = self._names[known.pack] if known.pack in self._names else self._look_for_pack(known.pack)
            if name is not None and self._is_good(sha256, known, name, is_ours=table == FILES):
                if table != FILES:
                    self._blobs.places.add_places(FILES, ((sha256, known),))
                return Place(name, known.offset, known.size)
        return None

    def _iter_known(self, sha256: bytes) -> Iterator[tuple[bytes, PackPlace]]:
        for table in (FILES, SEEN):
            known = self._blobs.places.find_places(table, (sha256,)).get(sha256)
            if known is not None:
                yield table, known

    def has_whole_pack(self, pack: bytes, size: int) -> bool:
        """Return whether a pack is there, undamaged, with at least `size` bytes; flush makes its name durable too."""
        with self._packing:
            name = self._names[pack] if pack in self._names else self._look_for_pack(pack)
            if name is None or size > name.size:
                return False
            return pack in self._completed or self._sound.is_sound(pack)

    def _look_for_pack(self, pack: bytes) -> PackName | None:
        key = pack_key(pack)
        size = self._store.find_size(key)
        is_there = size is not None and self._batch.reuse(key, size)
        name = self._names[pack] = PackName(pack, size or 0) if is_there else None
        return name

    def _is_good(self, sha256: bytes, place: PackPlace, name: PackName, *, is_ours: bool) -> bool:
        """Return whether a pack has the bytes there; one that was touched since it was written is read."""
        if place.pack in self._completed:
            return True
        if place.offset + place.size > name.size:
            self._blobs.damaged.add(pack_key(place.pack))
            return False
        if is_ours and self._store.keeps_checksums:
            return self._sound.is_sound(place.pack)  # as a whole: each part would be a request
        try:
            part = self._blobs.packs.open_part(place)
        except ArtifactFSError:
            return False
        if (is_ours and part.is_in_whole_pack) or self._verified.has_verified(sha256, part.signature()):
            return True
        if hash_file(part) != sha256:
            self._blobs.damaged.add(pack_key(place.pack))
            return False
        if part.signature():
            self._verified.add_verified(((sha256, part.signature()),))
        return True

    def _store_object(self, key: str, sha256: bytes, data: bytes) -> None:
        if not self._is_stored(key, sha256, len(data)):
            self._batch.name(self._batch.write((data,)), key)

    def _is_stored_loose(self, sha256: bytes, size: int) -> bool:
        is_stored = self._is_stored(blob_key(sha256), sha256, size)
        self._loose.note(is_there=is_stored)
        return is_stored

    def _is_stored(self, key: str, sha256: bytes, size: int) -> bool:
        """Return whether the store has an object, undamaged: if it was touched since it was verified, it is read.

        So storing the same bytes again mends an object that was damaged.
        """
        if not self._batch.reuse(key, size):
            if not self._believes and self._store.find_size(key) is not None:
                self._blobs.damaged.add(key)  # of another size
            return False
        if self._believes:
            return True
        try:
            file = self._store.open(key)
        except BlobMissingError:
            return True  # named in this batch, and not visible yet
        try:
            if self._verified.has_verified(sha256, file.signature()) or hash_file(file) == sha256:
                return True
        finally:
            file.close()
        self._batch.distrust(key)
        self._blobs.damaged.add(key)
        return False

    def _store_stream(self, source: BinaryIO, head: bytes) -> StoredBlob:
        with StreamHasher(source) as hasher:
            handle = self._batch.write(hasher.iter_blocks(head))
            sha256, sums = hasher.finish()
        return self._name_stream(handle, hasher.size, sha256, sums)

    def _name_stream(self, handle: object, size: int, sha256: bytes, sums: bytes) -> StoredBlob:
        if self._is_stored(blob_key(sha256), sha256, size):
            self._batch.discard(handle)
        else:
            self._batch.name(handle, blob_key(sha256))
        if size <= CHUNK_SIZE:
            return StoredBlob(sha256, size)
        name = hashlib.sha256(sums).digest()
        self._store_object(sums_key(name), name, sums)
        return StoredBlob(sha256, size, name)

    def _record(self, published: list[Published]) -> None:
        hashed = (BLOBS_PREFIX, PACKS_PREFIX, TREEPACKS_PREFIX)
        found = [(key, signature) for key, signature in published if key.startswith(hashed) and signature]
        items = [(bytes.fromhex(key.rpartition("/")[2]), signature) for key, signature in found]
        if items:
            self._verified.add_verified(items)
