"""A version as a tar archive: written as a stream, and byte for byte the same for the same version.

What is in it is what a mount shows: names in their order, permission bits, times to the nanosecond, links, empty
directories. Owners are not kept in versions, so they are 0, without names. The format is pax, which every tar reads.

Used by the command line (`export`). Threading: functions over a Repository.

Source: POSIX.1-2001, pax interchange format; tarfile makes the headers.
"""

from __future__ import annotations

import tarfile
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.errors import EntryNotFoundError, UsageError
from artifactfs.interop.contentfile import read_range
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import format_path, join_path, printable, split_path
from artifactfs.repository.ignore import parse_patterns
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Entry, Placement, Root
    from artifactfs.repository.ignore import Patterns
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed

CHUNK: Final = 1 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_NANO: Final = 1_000_000_000


class Sink(Protocol):
    """Where an archive goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@dataclass(frozen=True, slots=True)
class TarResult:
    """What an archive has.

    Attributes:
        files: files and links.
        size: bytes of the files.
    """

    files: int
    size: int


def write_tar(
    repository: Repository,
    root: Root,
    sink: Sink,
    *,
    path: bytes = b"",
    glob: Sequence[str | bytes] = (),
    prefix: bytes = b"",
    progress: Progress | None = None,
) -> TarResult:
    """Write a version, or what is at a path in it, as a tar archive.

    Names in it are relative to a directory at `path`, as `get` has them; a single file has its own name.

    Args:
        repository: where it is.
        root: the version's root.
        sink: where the archive goes.
        path: an entry path; b"" is the whole version.
        glob: patterns as in gitignore(5), relative to `path`: only what they choose, with the directories that lead
            there.
        prefix: names of directories that stand before all names.
        progress: is told of bytes and files.

    Raises:
        EntryNotFoundError: there is no `path`, or nothing that `glob` chooses; nothing was written.
        InvalidPathError, UsageError: `prefix` or a pattern cannot be one; nothing was written.
        BlobMissingError, DigestMismatchError, MalformedError: something stored is damaged, and is named; the archive
            has no end, and is to be thrown away.
        ReferenceChangedError, RemoteError: a reference, or the repository, cannot be read; likewise.
    """
    split_path(prefix)
    trees = Trees(repository.blobs)
    placed = trees.get_placed(root, path)
    patterns = parse_patterns(item.encode() if isinstance(item, str) else item for item in glob)
    progress = progress or NoProgress()
    writer = _Writer(repository, sink, progress)
    if isinstance(placed[0], DirectoryEntry):
        progress.begin(files=placed[0].count, size=placed[0].size)
        chosen = _iter_chosen(trees, placed, patterns)
        first = next(chosen, None)
        if patterns and first is None:
            msg = "nothing in this version matches the pattern"
            raise EntryNotFoundError(msg, hint="`*.png` matches at any depth, `images/*` in one directory")
        if prefix:
            writer.add(prefix, *placed)
        for below, entry, place in chain([] if first is None else [first], chosen):
            writer.add(join_path(prefix, below), entry, place)
    elif patterns:
        msg = f"{printable(path)!r} is no directory of which a pattern could choose a part"
        raise UsageError(msg, subject=printable(path))
    else:
        progress.begin(files=1, size=getattr(placed[0], "size", 0))
        writer.add(join_path(prefix, placed[0].name), *placed)
    writer.finish()
    return TarResult(writer.files, writer.size)


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


class _Writer:
    """Writes one archive. Belongs to one thread."""

    def __init__(self, repository: Repository, sink: Sink, progress: Progress) -> None:
        self._repository = repository
        self._sink = sink
        self._progress = progress
        self._written = 0
        self.files = 0
        self.size = 0

    def add(self, path: bytes, entry: Entry, place: Placement | None) -> None:
        """Write one entry with its content."""
        header = _make_header(path, entry)
        if isinstance(entry, (FileEntry, ReferenceEntry)):
            with closing(self._open(entry, place)) as file:  # before its header, so that an error names it first
                self._write(header)
                self._copy(file, entry.size)
        else:
            self._write(header)
        if not isinstance(entry, DirectoryEntry):
            self.files += 1
            self._progress.advance(files=1)

    def finish(self) -> None:
        """Write the end of the archive: two blocks of zeros, and as many as fill the last record."""
        end = 2 * _BLOCK
        self._write(b"\0" * (end + -(self._written + end) % tarfile.RECORDSIZE))

    def _copy(self, file: ReadableFile, size: int) -> None:
        done = 0
        while done < size:
            data = read_range(file, done, min(size - done, CHUNK))
            self._write(data)
            done += len(data)
            self._progress.advance(size=len(data))
        self._write(b"\0" * (-size % _BLOCK))
        self.size += size

    def _open(self, entry: FileEntry | ReferenceEntry, place: Placement | None) -> ReadableFile:
        if isinstance(entry, ReferenceEntry):
            return self._repository.references.open(entry)
        return self._repository.open_file(entry, place)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self._written += len(data)


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
