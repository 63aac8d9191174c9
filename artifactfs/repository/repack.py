"""Repacking: what is still reached in some packs is written again, so that a prune can delete these.

Digests do not change: files and pages are stored at new places, the pages that name them are written again with these
places, and for each version a `relocate` record says where its top page lies now. Until that record is there the
version reads from the old packs, and afterwards a reader that still knows the old place finds the new one.

    repack(repository, choose_packs(repository.store, garbage.usage), garbage.roots)

In the same way `repair` moves what is whole out of damaged packs; what is found elsewhere is then said to lie there.

Used by prune and repair. Threading: functions over a Repository; it runs beside commits and other prunes.

Source: docs/format.md sections 4.4, 5 and 7; docs/design/prune.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from artifactfs.digest import Digest, hash_bytes
from artifactfs.errors import IntegrityError, PrunedError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef
from artifactfs.repository import changes
from artifactfs.repository.elsewhere import find_elsewhere
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.treepacks import as_placement
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.model import Collection, Placement, Root
    from artifactfs.repository.exclusion import Writing
    from artifactfs.repository.objects import ContentBatch, ContentStore
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.records import Body
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.usage import Repacking
    from artifactfs.storedpage import StoredPage

Key = tuple[bytes, "Placement | None"]
KeptRoot = tuple[str, int, "Root"]


@dataclass(frozen=True, slots=True)
class RepackResult:
    """What a repacking did.

    Attributes:
        versions: how many lie elsewhere now.
        skipped: versions of which a page could not be read, as `NAME:vN`; they are as they were.
        files: how many were written again.
        size: their bytes.
    """

    versions: int
    skipped: tuple[str, ...]
    files: int
    size: int


def repack(
    repository: Repository,
    repacking: Repacking,
    roots: Iterable[KeptRoot],
    *,
    progress: Progress | None = None,
    mends: bool = False,
) -> RepackResult:
    """Write what is reached in some packs again, and say in the logs where it lies now.

    When it is ended in the middle, nothing is lost: what was written is garbage, or used already.

    Args:
        repository: where.
        repacking: which packs.
        roots: collection, number and root of all versions that are kept, as prune knows them.
        progress: is told of files and bytes.
        mends: whether what is not whole where it should be is taken from where else it lies; nothing that was verified
            earlier is believed then.

    Raises:
        StorageFullError: there is no room; all versions are as they were, or lie elsewhere as a whole.
        NewerFormatError: the repository may not be written to.
    """
    repository.check_writable()
    progress = progress or NoProgress()
    progress.begin(files=0, size=repacking.live)
    moved: list[tuple[KeptRoot, AnyPlace]] = []
    skipped: list[str] = []
    with repository.exclusion.writing() as writing:
        blobs = repository.blobs.distrusting() if mends else repository.blobs
        with blobs.begin(avoid=repacking.packs, doubts=mends) as batch:
            rewriter = _Rewriter(blobs, batch, repacking, progress, mends=mends)
            for kept in roots:
                try:
                    moved.append((kept, rewriter.rewrite(kept[2])))
                except IntegrityError:
                    skipped.append(f"{kept[0]}:v{kept[1]}")  # as it is: `check` says more, and its packs stay
            batch.flush()
        blobs.forget()
        count = sum(_relocate(repository, writing, kept, place) for kept, place in moved)
    return RepackResult(count, tuple(skipped), rewriter.files, rewriter.size)


def _relocate(repository: Repository, writing: Writing, kept: KeptRoot, place: AnyPlace) -> bool:
    """Record where the top page of a version lies now, and return whether that is somewhere else."""
    name, number, root = kept
    placement = as_placement(place)
    if placement == root_placement(root):
        return False
    stated = None if placement is None else (str(Digest(placement.pack)), placement.offset, placement.size)

    def change(state: Collection) -> Body:
        if _find_root(state, number) != root:
            raise _MovedError
        body = changes.relocate(state, version=number, placement=stated)
        writing.look(msgspec.structs.replace(root, placement=stated))
        return body

    try:
        repository.append(name, change, message="repacked")
    except (PrunedError, _MovedError):
        return False  # another prune was faster: the version stays where it is
    return True


class _MovedError(Exception):
    """The version does not lie any more where it was read: what was read there may name packs that are gone."""


def _find_root(state: Collection, number: int) -> Root | None:
    version, deleted = state.versions.get(number), state.deleted.get(number)
    return version.root if version is not None else deleted[1] if deleted is not None else None


@dataclass(slots=True)
class _Frame:
    """A page on the way down, and the items below it that were not looked at yet."""

    key: Key
    stored: StoredPage
    left: list[Key] = field(default_factory=list)
    is_elsewhere: bool = False


class _Rewriter:
    """Stores pages anew where they, or something below them, lie in packs that are to go. Belongs to one thread."""

    def __init__(
        self, blobs: ContentStore, batch: ContentBatch, repacking: Repacking, progress: Progress, *, mends: bool
    ) -> None:
        self._blobs = blobs
        self._batch = batch
        self._packs = repacking.packs
        self._loose = repacking.blobs
        self._progress = progress
        self._mends = mends
        self._places: dict[Key, AnyPlace] = {}
        self.files = 0
        self.size = 0

    def rewrite(self, root: Root) -> AnyPlace:
        """Return where the top page will lie.

        Raises:
            IntegrityError: a page is missing or damaged.
        """
        # A stack instead of recursion: directories nest deeper than Python's stack.
        top = (root.as_entry().tree, root_placement(root))
        frames = [self._enter(top)] if top not in self._places else []
        while frames:
            frame = frames[-1]
            while frame.left and frame.left[-1] in self._places:
                frame.left.pop()
            if frame.left:
                frames.append(self._enter(frame.left.pop()))
            else:
                self._places[frame.key] = self._leave(frame)
                frames.pop()
        return self._places[top]

    def _enter(self, key: Key) -> _Frame:
        stored, is_elsewhere = self._read(key)
        below = [
            (item.tree, place)
            for item, place in zip(stored.page.items, stored.placements, strict=True)
            if isinstance(item, DirectoryEntry | PageRef)
        ]
        return _Frame(key, stored, below[::-1], is_elsewhere)

    def _read(self, key: Key) -> tuple[StoredPage, bool]:
        """Return a page, and whether it lies elsewhere than it should."""
        digest, placement = Digest(key[0]), key[1]
        try:
            return self._blobs.in_place.read_tree(digest, placement), False
        except IntegrityError:
            if not self._mends:
                raise
            return self._blobs.read_tree(digest, placement), True

    def _leave(self, frame: _Frame) -> AnyPlace:
        page = frame.stored.page
        places = [self._move(item, place) for item, place in zip(page.items, frame.stored.placements, strict=True)]
        placement = frame.key[1]
        is_chosen = frame.is_elsewhere or (placement is not None and placement.pack in self._packs)
        if not is_chosen and all(new is old for new, old in zip(places, frame.stored.placements, strict=True)):
            return placement
        return self._batch.store_tree(page, places if any(place is not None for place in places) else ())

    def _move(self, item: object, place: Placement | None) -> AnyPlace:
        if isinstance(item, DirectoryEntry | PageRef):
            found = self._places[item.tree, place]
            return place if found == place else found
        if not isinstance(item, FileEntry) or not self._is_chosen(item, place):
            return place
        stored = self._batch.find_stored(item)
        if stored is None:
            data = self._read_file(item, place)
            if data is None:
                return place  # damaged: it stays where it is, for `check` to find
            stored = self._batch.store_bytes(data)
            self.files, self.size = self.files + 1, self.size + len(data)
            self._progress.advance(files=1, size=len(data))
        return stored.place

    def _is_chosen(self, item: FileEntry, place: Placement | None) -> bool:
        return item.sha256 in self._loose if place is None else place.pack in self._packs

    def _read_file(self, item: FileEntry, place: Placement | None) -> bytes | None:
        """Return the content of a file, if this mends from wherever it is whole; None when it is damaged."""
        data = None if place is None else self._read_part(item, place)
        if data is None and self._mends:
            found = find_elsewhere(self._blobs, item, place)
            data = self._read_part(item, found[0]) if found is not None else None
        return data

    def _read_part(self, item: FileEntry, place: Placement | None) -> bytes | None:
        try:
            file = self._blobs.open_blob(item, place)
            data = file.read_at(0, item.size)
            file.close()
        except IntegrityError:
            return None
        except OSError:
            if not self._mends:
                raise
            return None
        return data if hash_bytes(data).raw == item.sha256 else None
