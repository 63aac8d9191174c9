"""From an upper directory to a tree: only what was changed is walked and read, the rest is taken over by digest.

Used by the commit and the status of staging directories. Threading: an UpperTree belongs to one thread.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from artifactfs.errors import NameTooLongError, UsageError, translate_os_error
from artifactfs.model import FileEntry, ReferenceEntry, limit_time_ns
from artifactfs.paths import PATH_MAX, join_path, printable
from artifactfs.reference.base import is_unverified
from artifactfs.repository.reading import Dropped, FileReader, HashingSink, ReadFile
from artifactfs.repository.scan import Found
from artifactfs.repository.treebuilder import TreeBuilder
from artifactfs.repository.treepacks import as_placement
from artifactfs.staging.files import ShortPaths
from artifactfs.staging.layout import SCRATCH
from artifactfs.staging.marks import HIDDEN, has_metacopy, is_whiteout, is_whiteout_file, may_have_whiteout_files
from artifactfs.storedpage import StoredPage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.digest import Digest
    from artifactfs.manifest import Page
    from artifactfs.model import Entry, Placement, SymlinkEntry
    from artifactfs.repository.lower import Lower, LowerDirectory
    from artifactfs.repository.objects import ContentBatch
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.taking import Taking
    from artifactfs.repository.treebuilder import StoredDirectory
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.trees import Trees
    from artifactfs.staging.hashes import Hashes
    from artifactfs.staging.links import StagedReferences

SHOWN = 20


class UpperSink(Protocol):
    """Where content goes, and whether it is there already."""

    @property
    def sink(self) -> Sink:
        """Takes blobs and trees, and says what need not be read."""


class UpperDropped(Dropped):
    """Collects extended attributes that a commit does not keep; the marks of the upper directory are none of them."""

    def list_names(self, file: int | bytes) -> tuple[str, ...]:
        """Return the names that count."""
        return tuple(name for name in super().list_names(file) if not os.fsencode(name).startswith(HIDDEN))


class Storing:
    """Stores what was changed."""

    def __init__(self, batch: ContentBatch) -> None:
        self._batch = batch

    @property
    def sink(self) -> Sink:
        """The batch."""
        return self._batch


class Comparison(HashingSink):
    """Stores nothing, and keeps the pages of changed directories in memory so that they can be compared."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._pages: dict[bytes, StoredPage] = {}

    @property
    def sink(self) -> Sink:
        """Itself."""
        return self

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Keep a page in memory."""
        placements = tuple(as_placement(place) for place in places) or (None,) * len(page.items)
        self._pages[page.tree] = StoredPage(page, placements)
        return None

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a page from memory or from the store."""
        found = self._pages.get(digest.raw)
        return found if found is not None else self._repository.blobs.read_tree(digest, placement)


@dataclass(slots=True)
class _Level:
    """One directory of the upper directory, and what is known of what is in it."""

    local: bytes
    path: bytes
    name: bytes
    lower: LowerDirectory | None
    parent: _Level | None
    changes: dict[bytes, tuple[Entry, AnyPlace] | None] = field(default_factory=dict)


class UpperTree:
    """Builds the tree of a staging directory. Belongs to one thread.

    Attributes:
        dropped: extended attributes that are not kept.
        origins: versions from which entries were taken, each `NAME:vN`.
        has_references: whether there was a reference among what was changed.
        unverified: how many references among what was changed are unverified.
        scratch: entry paths of what restores have left, or are making.
    """

    def __init__(
        self,
        upper: bytes,
        lower: Lower,
        *,
        prefix: bytes,
        target: UpperSink,
        trees: Trees,
        hashes: Hashes,
        references: StagedReferences,
        taking: Taking,
    ) -> None:
        self.origins: set[str] = set()
        self.has_references = False
        self.unverified = 0
        self.scratch: list[bytes] = []
        self.dropped = UpperDropped()
        self._upper = upper
        self._lower = lower
        self._prefix = prefix
        self._sink = target.sink
        self._hashes = hashes
        self._references = references
        self._taking = taking
        self._builder = TreeBuilder(target.sink, trees)
        self._reader = FileReader(target.sink, self.dropped)
        self._special: list[bytes] = []
        self._long: list[bytes] = []

    def build(self) -> StoredDirectory:
        """Store what was changed, and return the top directory.

        Raises:
            UsageError: there are sockets, FIFOs or devices; all are named.
            NameTooLongError: there are paths over 4,096 bytes, which no system call can name.
            SourceChangedError: a file changes while it is read.
            StorageFullError: there is no room; nothing was committed.
            IntegrityError: the version below is damaged.
        """
        with ShortPaths() as short:
            return self._build(short)

    def _build(self, short: ShortPaths) -> StoredDirectory:
        top = _Level(self._upper, b"", b"/", self._lower.top, None)
        levels = [top]
        try:
            for level in levels:  # grows while it is walked: every directory after the one that it is in
                levels += self._scan(level, short)
        except OSError as error:
            raise translate_os_error(error, doing=f"reading the staging directory {printable(self._upper)}") from error
        self._refuse_special()
        self._refuse_long()
        for level in reversed(levels):
            stored = self._store(level)
            if level.parent is not None:
                level.parent.changes[level.name] = stored
        return stored

    def _scan(self, level: _Level, short: ShortPaths) -> list[_Level]:
        below: list[_Level] = []
        may_be_whiteouts = may_have_whiteout_files(level.local, self._prefix)
        with os.scandir(short.inside(level.local)) as items:
            for item in sorted(items, key=lambda item: item.name):
                path = join_path(level.path, item.name)
                if item.name.startswith(SCRATCH):
                    self.scratch.append(path)  # a restore goes on, or was killed
                    continue
                status = item.stat(follow_symlinks=False)
                if is_whiteout(status) or (
                    may_be_whiteouts
                    and stat.S_ISREG(status.st_mode)
                    and not status.st_size
                    and is_whiteout_file(item.path, self._prefix)
                ):
                    level.changes[item.name] = None
                elif len(path) > PATH_MAX:
                    self._long.append(path)
                elif stat.S_ISDIR(status.st_mode):
                    lower = self._lower.find_below(item.path, item.name, level.lower, prefix=self._prefix)
                    below.append(_Level(item.path, path, item.name, lower, level))
                elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                    level.changes[item.name] = self._read(Found(item.name, path, item.path, status))
                else:
                    self._special.append(path)
        return below

    def _read(self, found: Found) -> tuple[Entry, AnyPlace]:
        assert found.status is not None
        status = found.status
        if stat.S_ISLNK(status.st_mode):
            return self._take_staged(found, self._reader.read_link(found))
        if has_metacopy(found.local, self._prefix):
            msg = f"{printable(found.path)} has its data in the lower directory only (overlay.metacopy)"
            raise UsageError(msg, hint="mount the overlay with metacopy=off", subject=printable(found.path))
        mtime_ns = limit_time_ns(status.st_mtime_ns)
        known = self._hashes.find(found.path, status)
        stored = self._sink.find_stored(known) if known is not None else None
        if stored is not None:
            self.dropped.note(found.path, found.local)
            mode = status.st_mode & 0o777
            entry = FileEntry(found.name, mode, mtime_ns, stored.size, stored.sha256, stored.sums)
            return entry, stored.place
        entry, place, _, _ = self._reader.store(self._reader.read_file(found))
        if (entry.size, entry.mtime_ns) == (status.st_size, mtime_ns):
            self._hashes.add(found.path, status, sha256=entry.sha256, sums=entry.sums)
        return entry, place

    def _take_staged(self, found: Found, link: SymlinkEntry) -> tuple[Entry, AnyPlace]:
        """Return what a link stands for, or the link."""
        staged = self._references.find(link.target, path=found.path)
        if staged is None:
            return link, None
        if staged.origin:
            self.origins.add(staged.origin)
        if isinstance(staged.entry, ReferenceEntry):
            self.has_references = True
            self.unverified += is_unverified(staged.entry)
        (taken,) = self._taking.take(self._sink, [staged.entry])
        return (taken.file, taken.place) if isinstance(taken, ReadFile) else (taken, None)

    def _store(self, level: _Level) -> StoredDirectory:
        status = os.lstat(level.local)
        self.dropped.note(level.path, level.local)
        return self._builder.overlay_directory(
            level.name,
            mode=status.st_mode & 0o777,
            mtime_ns=limit_time_ns(status.st_mtime_ns),
            base=level.lower.entry if level.lower is not None else None,
            changes=level.changes,
            placement=level.lower.placement if level.lower is not None else None,
        )

    def _refuse_special(self) -> None:
        if not self._special:
            return
        shown = ", ".join(printable(path) for path in self._special[:SHOWN])
        more = f" and {len(self._special) - SHOWN} more" if len(self._special) > SHOWN else ""
        msg = f"sockets, FIFOs and devices cannot be committed: {shown}{more}"
        raise UsageError(msg, hint="remove them from the staging directory")

    def _refuse_long(self) -> None:
        if not self._long:
            return
        path = self._long[0]
        more = f"; so have {len(self._long) - 1} more" if len(self._long) > 1 else ""
        msg = f"the path {printable(path)} has {len(path)} bytes, over the limit of {PATH_MAX}{more}"
        raise NameTooLongError(msg, hint="rename directories above it, or remove it", subject=printable(path))
