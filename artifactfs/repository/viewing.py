"""Looking into a version, or into a staging directory as it is now, with the same calls.

    viewed = view(repository, parse_ref("animals:@staging"))
    viewed.trees.find_entry(viewed.root, b"images/cat.png")
    viewed.open_file(b"images/cat.png")

Used by the command line, `serve` and `interop`. Threading: a Viewed may be shared by threads.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactfs.errors import UsageError, translate_os_error
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import printable
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Entry, Placement, Root
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging
    from artifactfs.repository.trees import Placed


@dataclass(frozen=True, slots=True)
class Viewed:
    """A tree that can be listed and read.

    Attributes:
        ref: `NAME:vN` or `NAME:@STAGING`.
        root: the top directory.
        trees: reads its directories.
        staging: the staging directory, or None for a version.
    """

    ref: str
    root: Root
    trees: Trees
    staging: Staging | None
    _repository: Repository = field(repr=False)

    def get_placed(self, path: bytes) -> Placed:
        """Return the entry at a path and the place of its content.

        Raises:
            EntryNotFoundError: there is nothing at the path; the hint has names nearly like it.
            BlobMissingError, DigestMismatchError, MalformedError: a directory is missing or damaged.
        """
        return self.trees.get_placed(self.root, path, of=self.ref)

    def open_file(self, path: bytes) -> ReadableFile:
        """Return the content of a file. What lies in an upper directory is read as it is now.

        Raises:
            EntryNotFoundError: there is nothing at the path.
            UsageError: there is something else than a file.
            BlobMissingError, DigestMismatchError, MalformedError: the content is missing or damaged.
        """
        return self.open_entry(path, *self.get_placed(path))

    def open_entry(self, path: bytes, entry: Entry, place: Placement | None) -> ReadableFile:
        """Return the content of a file whose entry, and the place of its content, are known already.

        Raises:
            UsageError, BlobMissingError, DigestMismatchError, MalformedError: see `open_file`.
        """
        if isinstance(entry, ReferenceEntry):
            return self._repository.references.open(entry)
        if not isinstance(entry, FileEntry):
            raise self._not_a_file(path, entry)
        written = self._open_written(path) if self.staging is not None else None
        return self._repository.open_file(entry, place) if written is None else written

    def _not_a_file(self, path: bytes, entry: Entry) -> UsageError:
        named = f"{self.ref}/{printable(path)}" if path else self.ref
        msg = f"{named} is a {_kind(entry)}, not a file"
        if isinstance(entry, SymlinkEntry):
            return UsageError(msg, hint=f"it leads to {printable(entry.target)!r}", subject=printable(path))
        return UsageError(msg, hint=f"`artifactfs ls {shlex.quote(named)}` lists it", subject=printable(path))

    def _open_written(self, path: bytes) -> LocalFile | None:
        """Return a file of the upper directory, or None when the path shows the version below.

        What a path shows lies under the same path in the upper directory, below directories only.
        """
        assert self.staging is not None
        try:
            descriptor = os.open(os.path.join(self.staging.upper, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None  # a link that stands for a file of a version
            raise translate_os_error(error, doing=f"reading {self.ref}/{printable(path)}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return LocalFile(descriptor)


class LocalFile:
    """A file of an upper directory, open for reading. May be shared by threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """Bytes, now."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the overlap of [offset, offset + size) with the file."""
        return os.pread(self._descriptor, size, offset)

    def extent(self) -> tuple[int, int] | None:
        """Return the descriptor, and 0."""
        return self._descriptor, 0

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def view(repository: Repository, ref: Ref) -> Viewed:
    """Return what a REF names; its path is left aside.

    Looking at a staging directory reads the files that were written since it was looked at last.

    Raises:
        NotFoundError: there is no such collection, version, alias or staging directory.
        UsageError, SourceChangedError, SourceNotFoundError, IntegrityError: see `StagingArea.snapshot`.
    """
    if ref.staging is None:
        collection, version = repository.resolve(ref)
        return Viewed(f"{collection.name}:{version.name}", version.root, Trees(repository.blobs), None, repository)
    # Loaded only here: most commands never look at a staging directory.
    from artifactfs.repository.staging import StagingArea  # noqa: PLC0415

    area = StagingArea(repository)
    staging = area.get(ref.collection, ref.staging)
    root, trees = area.snapshot(staging)
    return Viewed(str(staging), root, trees, staging, repository)


def _kind(entry: Entry) -> str:
    match entry:
        case DirectoryEntry():
            return "directory"
        case SymlinkEntry():
            return "symbolic link"
        case ReferenceEntry():
            return "reference"
    return "file"
