"""Moving all that a version reaches into another repository: only what is missing there, verified on its way.

Files are stored as the other repository stores them, so packs hold there what was copied and nothing else. Pages have
the same digests, and say where content lies there. Everything that is read is hashed again before it is stored; what an
object store is sent is hashed as it is sent.

Used by copy. Threading: a Transfer belongs to one thread and has its own.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Self, cast

from artifactfs.digest import CHUNK_SIZE, Digest, hash_bytes
from artifactfs.errors import DigestMismatchError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef, ReferenceEntry
from artifactfs.paths import printable
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

    from artifactfs.blobstore.blobs import StoredBlob
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Placement, Root
    from artifactfs.repository.objects import ContentBatch
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.storedpage import StoredPage

THREADS: Final = 8
AHEAD_FILES: Final = 256
AHEAD_SIZE: Final = 32 << 20
"""So many files, and bytes of small files, are read ahead."""
_STEP: Final = 1 << 20

Found = tuple[FileEntry, "StoredBlob | None", "bytes | None"]
"""A file, where it is stored, and its bytes while they are not."""


@dataclass(slots=True)
class _Frame:
    """A page on the way down, and the pages below it that were not looked at yet."""

    tree: bytes
    stored: StoredPage
    left: list[tuple[bytes, Placement | None]] = field(default_factory=list)


class Transfer:
    """Moves pages and files. A context manager; belongs to one thread.

    Attributes:
        files: how many were stored, because they were not there.
        size: their bytes.
        has_references: whether there is a reference.
    """

    def __init__(self, source: Repository, batch: ContentBatch, progress: Progress) -> None:
        """Store where from, where to, and whom to tell."""
        self._source = source
        self._batch = batch
        self._progress = progress
        self._pool = ThreadPoolExecutor(THREADS, "copy")
        self._places: dict[bytes, AnyPlace] = {}
        self._guard = threading.Lock()
        self.files = 0
        self.size = 0
        self.has_references = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def send(self, root: Root) -> AnyPlace:
        """Store everything below a root, and return where its top page lies: known after the batch was flushed.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: something cannot be read; what was stored is left.
            StorageFullError, RemoteError: it could not be stored.
        """
        # A stack instead of recursion: directories nest deeper than Python's stack.
        top = root.as_entry().tree
        frames = [] if top in self._places else [self._enter(top, root_placement(root))]
        while frames:
            frame = frames[-1]
            while frame.left and frame.left[-1][0] in self._places:
                frame.left.pop()
            if frame.left:
                frames.append(self._enter(*frame.left.pop()))
            else:
                self._places[frame.tree] = self._leave(frame.stored)
                frames.pop()
        return self._places[top]

    def _enter(self, tree: bytes, placement: Placement | None) -> _Frame:
        stored = self._source.blobs.read_tree(Digest(tree), placement)
        below = [
            (item.tree, place)
            for item, place in zip(stored.page.items, stored.placements, strict=True)
            if isinstance(item, DirectoryEntry | PageRef)
        ]
        return _Frame(tree, stored, below[::-1])

    def _leave(self, stored: StoredPage) -> AnyPlace:
        items = stored.page.items
        files = [
            (item, place) for item, place in zip(items, stored.placements, strict=True) if isinstance(item, FileEntry)
        ]
        self.has_references |= any(isinstance(item, ReferenceEntry) for item in items)
        moved = iter(self._move_files(files))
        places = [
            self._places[item.tree]
            if isinstance(item, DirectoryEntry | PageRef)
            else next(moved)
            if isinstance(item, FileEntry)
            else None
            for item in items
        ]
        return self._batch.store_tree(stored.page, places if any(place is not None for place in places) else ())

    def _move_files(self, files: list[tuple[FileEntry, Placement | None]]) -> list[AnyPlace]:
        """Return where the files of a page lie, in their order; packs get them in this order, too."""
        self._batch.look_up([entry.sha256 for entry, _ in files if self._batch.is_packed(entry.size)])
        running: deque[Future[Found]] = deque()
        places: list[AnyPlace] = []
        ahead = 0
        for entry, place in files:
            running.append(self._pool.submit(self._find, entry, place))
            ahead += min(entry.size, CHUNK_SIZE)
            while len(running) > AHEAD_FILES or ahead > AHEAD_SIZE:
                ahead -= min(files[len(places)][0].size, CHUNK_SIZE)
                places.append(self._take(running.popleft().result()))
        places += [self._take(future.result()) for future in running]
        return places

    def _take(self, found: Found) -> AnyPlace:
        entry, stored, data = found
        if stored is None:
            assert data is not None
            stored = self._batch.store_hashed(entry.sha256, data)
        self._progress.advance(files=1, size=entry.size if entry.size <= CHUNK_SIZE else 0)
        return stored.place

    # In the pool

    def _find(self, entry: FileEntry, place: Placement | None) -> Found:
        """Return a file that is there already, or its bytes; one over 4 MiB is stored."""
        stored = self._batch.find_stored(entry)
        if stored is not None:
            if entry.size > CHUNK_SIZE:
                self._progress.advance(size=entry.size)
            return entry, stored, None
        file = self._source.open_file(entry, place)
        try:
            if entry.size > CHUNK_SIZE:
                stored, data = self._store_large(entry, file), None
            else:
                data = file.read_at(0, entry.size)
                if len(data) != entry.size or hash_bytes(data).raw != entry.sha256:
                    raise _other_bytes(entry)
        finally:
            file.close()
        with self._guard:
            self.files += 1
            self.size += entry.size
        return entry, stored, data

    def _store_large(self, entry: FileEntry, file: ReadableFile) -> StoredBlob:
        source = cast("BinaryIO", io.BufferedReader(_Stream(file, self._tell), _STEP))
        stored = self._batch.store_blob(source, size_hint=entry.size)
        if (stored.sha256, stored.sums) != (entry.sha256, entry.sums):
            raise _other_bytes(entry)
        return stored

    def _tell(self, size: int) -> None:
        self._progress.advance(size=size)


class _Stream(io.RawIOBase):
    """Content as a stream that tells how much of it was read. Belongs to one thread."""

    def __init__(self, file: ReadableFile, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._tell = tell
        self._offset = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into `buffer` and return the number of bytes; 0 at the end."""
        view = cast("memoryview", buffer)
        data = self._file.read_at(self._offset, len(view))
        view[: len(data)] = data
        self._offset += len(data)
        self._tell(len(data))
        return len(data)


def _other_bytes(entry: FileEntry) -> DigestMismatchError:
    name = str(Digest(entry.sha256))
    msg = f"what was read of {printable(entry.name)} is not {name}; it was not copied"
    return DigestMismatchError(msg, hint="run `artifactfs verify` on the repository that it came from", subject=name)
