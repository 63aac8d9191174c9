"""A version as a tar archive: written as a stream, and byte for byte the same for the same version.

What is in it is what a mount shows: names in their order, permission bits, times to the nanosecond, links, empty
directories. Owners are not kept in versions, so they are 0, without names. The format is pax, which every tar reads.

Used by the command line (`export`) and `serve`. Threading: belongs to one thread.

Source: POSIX.1-2001, pax interchange format; tarfile makes the headers.
"""

from __future__ import annotations

import tarfile
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from artifactfs.errors import EntryNotFoundError, SourceChangedError, UsageError
from artifactfs.interop.contentfile import read_range
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import format_path, join_path, printable, split_path
from artifactfs.repository.ignore import parse_patterns
from artifactfs.repository.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Entry, Placement
    from artifactfs.repository.ignore import Patterns
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.trees import Placed, Trees
    from artifactfs.repository.viewing import Viewed

CHUNK: Final = 1 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_NANO: Final = 1_000_000_000


class TarStream:
    """What is at a path of a version or staging directory as a tar archive, made while it is read. Of one thread.

    Names in it are relative to a directory at the path, as `get` has them; a single file has its own name.

    Attributes:
        files: files and links that were given so far.
        size: bytes of these files.
    """

    def __init__(
        self,
        viewed: Viewed,
        path: bytes = b"",
        *,
        glob: Sequence[str | bytes] = (),
        prefix: bytes = b"",
        progress: Progress | None = None,
    ) -> None:
        """Look at what goes into it.

        Args:
            viewed: the version or staging directory.
            path: an entry path; b"" is the whole.
            glob: patterns as in gitignore(5), relative to `path`: only what they choose, with the directories that
                lead there.
            prefix: names of directories that stand before all names.
            progress: is told of bytes and files.

        Raises:
            EntryNotFoundError: there is no `path`.
            InvalidPathError, UsageError: `prefix` or a pattern cannot be one.
        """
        split_path(prefix)
        self._viewed = viewed
        self._path = path
        self._prefix = prefix
        self._placed = viewed.get_placed(path)
        self._patterns = parse_patterns(item.encode() if isinstance(item, str) else item for item in glob)
        self._progress = progress or NoProgress()
        if self._patterns and not isinstance(self._placed[0], DirectoryEntry):
            msg = f"{printable(path)!r} is no directory of which a pattern could choose a part"
            raise UsageError(msg, subject=printable(path))
        self.files = 0
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive in pieces.

        Raises:
            EntryNotFoundError: there is nothing that `glob` chooses; nothing was given yet.
            BlobMissingError, DigestMismatchError, MalformedError: something stored is damaged, and is named; the
                archive has no end, and is to be thrown away.
            ReferenceChangedError, RemoteError: a reference, or the repository, cannot be read; likewise.
            SourceChangedError: a file of a staging directory was made shorter meanwhile; likewise.
        """
        given = 0
        for data in self._iter_entries():
            given += len(data)
            yield data
        end = 2 * _BLOCK  # of zeros, and as many as fill the last record
        yield bytes(end + -(given + end) % tarfile.RECORDSIZE)

    def _iter_entries(self) -> Iterator[bytes]:
        entry, place = self._placed
        self._progress.begin(files=getattr(entry, "count", 1), size=getattr(entry, "size", 0))
        if not isinstance(entry, DirectoryEntry):
            yield from self._give(self._path, join_path(self._prefix, entry.name), entry, place)
            return
        chosen = _iter_chosen(self._viewed.trees, self._placed, self._patterns)
        first = next(chosen, None)
        if self._patterns and first is None:
            msg = "nothing in this version matches the pattern"
            raise EntryNotFoundError(msg, hint="`*.png` matches at any depth, `images/*` in one directory")
        if self._prefix:
            yield _make_header(self._prefix, entry)
        for below, found, where in chain([] if first is None else [first], chosen):
            yield from self._give(join_path(self._path, below), join_path(self._prefix, below), found, where)

    def _give(self, path: bytes, name: bytes, entry: Entry, place: Placement | None) -> Iterator[bytes]:
        """Yield one entry with its content."""
        header = _make_header(name, entry)
        if isinstance(entry, (FileEntry, ReferenceEntry)):
            # Open before its header, so that an error names it first.
            with closing(self._viewed.open_entry(path, entry, place)) as file:
                yield header
                yield from self._copy(file, entry.size)
        else:
            yield header
        if not isinstance(entry, DirectoryEntry):
            self.files += 1
            self._progress.advance(files=1)

    def _copy(self, file: ReadableFile, size: int) -> Iterator[bytes]:
        done = 0
        while done < size:
            data = read_range(file, done, min(size - done, CHUNK))
            if not data:  # of a staging directory, which somebody writes to
                msg = f"it was cut short at {done} of {size} bytes while it was read"
                raise SourceChangedError(msg)
            yield data
            done += len(data)
            self._progress.advance(size=len(data))
        yield bytes(-size % _BLOCK)
        self.size += size


def _iter_chosen(trees: Trees, placed: Placed, patterns: Patterns) -> Iterator[tuple[bytes, Entry, Placement | None]]:
    """Yield all below a directory, or what patterns choose, after the directories that lead there."""
    directory, placement = placed
    assert isinstance(directory, DirectoryEntry)
    leading: list[_Leading] = []
    for below, entry, place in trees.iter_placed(directory, b"", placement):
        if not patterns:
            yield below, entry, place
            continue
        while leading and not below.startswith(leading[-1].item[0] + b"/"):
            leading.pop()
        is_directory = isinstance(entry, DirectoryEntry)
        is_chosen = bool(leading and leading[-1].is_chosen) or bool(
            patterns.find_verdict(below, is_directory=is_directory)
        )
        if is_directory:
            leading.append(_Leading((below, entry, place), is_chosen=is_chosen))
        if not is_chosen:
            continue
        for above in leading:
            if not above.is_written:
                above.is_written = True
                yield above.item
        if not is_directory:
            yield below, entry, place


@dataclass(slots=True)
class _Leading:
    """A directory on the way to what may be chosen."""

    item: tuple[bytes, Entry, Placement | None]
    is_chosen: bool
    is_written: bool = False


def _make_header(path: bytes, entry: Entry) -> bytes:
    header = tarfile.TarInfo(format_path(path))
    header.mode = entry.mode
    header.mtime, rest = divmod(entry.mtime_ns, _NANO)
    if rest:
        header.pax_headers = {"mtime": _format_time(entry.mtime_ns)}
    match entry:
        case DirectoryEntry():
            header.type = tarfile.DIRTYPE
        case SymlinkEntry():
            header.type = tarfile.SYMTYPE
            header.linkname = format_path(entry.target)
        case _:
            header.size = entry.size
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _format_time(time_ns: int) -> str:
    """Return seconds as pax has them, exactly.

    >>> _format_time(1_500_000_000), _format_time(-1)
    ('1.500000000', '-0.000000001')
    """
    sign = "-" if time_ns < 0 else ""
    return f"{sign}{abs(time_ns) // _NANO}.{abs(time_ns) % _NANO:09d}"
