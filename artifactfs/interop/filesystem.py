"""Versions as a file system of fsspec: for pandas, Arrow, Dask, Zarr and others, where nothing is mounted.

    artifact://animals:latest/images/cat.png

Paths are REF/PATH. The root lists the collections. Links inside a version are followed; in listings those to
directories are of the type `link`, so that walking ends. Nothing can be written.

Used by `sdk`, which knows where the repository is. Threading: a file system may be shared by threads, and used in
forked children.

Source: https://filesystem-spec.readthedocs.io/en/latest/developer.html
"""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.interop.contentfile import BUFFER_SIZE, ContentFile, EntryFile, read_range
from artifactfs.interop.refusing import RefusingFileSystem, refuse
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import format_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.interop.entries import Entries, Located
    from artifactfs.model import Entry

AT_ONCE: Final = 16
"""How many files are asked for at once by `cat_ranges`."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class VersionFileSystem(RefusingFileSystem):
    """The versions of a repository, to read. May be shared by threads."""

    protocol = "artifact"
    root_marker = ""
    blocksize = 4 << 20

    def __init__(self, **storage_options: Any) -> None:
        """Begin; a subclass sets `entries` before it is used."""
        super().__init__(**storage_options)
        self._entries: Entries | None = None

    @property
    def entries(self) -> Entries:
        """What looks into versions."""
        assert self._entries is not None
        return self._entries

    @property
    def fsid(self) -> str:
        """A name of this file system that is the same everywhere."""
        return f"artifact_{self.entries.repository.id}"

    # Looking.

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a path: name, size, type, mode, mtime, digest.

        Raises:
            FileNotFoundError: there is nothing.
            OSError: it cannot be read.
        """
        path = self._strip_protocol(path)
        if not path:
            return {"name": "", "size": 0, "type": "directory"}
        with _translating(path):
            located = self.entries.locate(path)
        found = _describe(path, located.link or located.entry, located.entry)
        return found if not located.is_directory else {**found, "type": "directory", "size": 0}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 (fsspec's)
        """Return what is in a directory, in name order: names, or with `detail` what `info` says.

        Raises:
            FileNotFoundError: there is nothing.
            OSError: it cannot be read.
        """
        path = self._strip_protocol(path)
        with _translating(path):
            found = list(self._iter_children(path))
        return found if detail else [each["name"] for each in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 (fsspec's)
        detail: bool = False,  # noqa: FBT001, FBT002
        **more: Any,
    ) -> Any:
        """Return all files below a path in order of their names; links to directories are not entered, nor returned."""
        path = self._strip_protocol(path)
        if not path or maxdepth is not None:
            found = super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **more)
            wanted = {name: each for name, each in found.items() if each.get("type") != "link"}
        else:
            wanted = self._find_all(path, withdirs=withdirs)
        return wanted if detail else list(wanted)

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether there is anything at a path.

        Raises:
            OSError: that cannot be said: the repository cannot be reached, or is damaged.
        """
        try:
            self.info(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG):
                return False
            raise
        return True

    def created(self, path: str) -> datetime:
        """Return when the version was committed."""
        with _translating(path):
            return _moment(self.entries.locate(self._strip_protocol(path)).version.time_ns)

    def modified(self, path: str) -> datetime:
        """Return the modification time of a file or directory."""
        with _translating(path):
            return _moment(self.entries.locate(self._strip_protocol(path)).entry.mtime_ns)

    def ukey(self, path: str) -> str:
        """Return the digest of what is at a path: the same wherever and whenever it is the same."""
        return str(self.info(path).get("digest", ""))

    def checksum(self, path: str) -> int:
        """Return `ukey` as a number."""
        return int(self.ukey(path).rpartition(":")[2] or "0", 16)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Ask an object store again for what is looked at next, also where it was asked a moment ago."""
        self.entries.repository.refresh()
        super().invalidate_cache(path)

    # Reading.

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,  # noqa: FBT001, FBT002, ARG002 (fsspec's)
        cache_options: dict[str, Any] | None = None,  # noqa: ARG002
        **_: Any,
    ) -> EntryFile:
        if mode != "rb":
            refuse(path)
        file, located = self._open_content(path)
        details = _describe(path, located.link or located.entry, located.entry)
        raw = ContentFile(file, lambda error: _as_os_error(error, path))
        return EntryFile(raw, details=details, reopen=self.open, buffer=block_size or BUFFER_SIZE)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return a file, or a range of it; negative numbers count from its end."""
        path = self._strip_protocol(path)
        file, _located = self._open_content(path)
        with _translating(path), closing(file):
            first, last, _step = slice(start, end).indices(file.size)
            return read_range(file, first, max(last - first, 0))

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,  # noqa: ARG002 (near ranges are fetched in the same chunk anyway)
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """Return ranges of files, in order; each file is opened once, and several are read at once.

        With `on_error="return"` an error stands in the place of what could not be read.
        """
        ranges = _spread(paths, starts, ends)
        found: list[Any] = [b""] * len(paths)
        by_path: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            by_path.setdefault(self._strip_protocol(path), []).append(number)

        def read(path: str) -> None:
            try:
                file, _located = self._open_content(path)
                with _translating(path), closing(file):
                    for number in by_path[path]:
                        first, last, _step = slice(*ranges[number]).indices(file.size)
                        found[number] = read_range(file, first, max(last - first, 0))
            except OSError as error:
                if on_error != "return":
                    raise
                for number in by_path[path]:
                    found[number] = error

        if len(by_path) > 1 and self.entries.repository.is_remote:
            with ThreadPoolExecutor(AT_ONCE, "cat") as threads:
                list(threads.map(read, by_path))
        else:
            for path in by_path:
                read(path)
        return found

    # What these are made of.

    def _iter_children(self, path: str) -> Iterator[dict[str, Any]]:
        if not path:
            for collection in self.entries.repository.collection_names():
                yield {"name": collection, "size": 0, "type": "directory"}
            return
        located = self.entries.locate(path)
        if not located.is_directory:
            yield _describe(path, located.link or located.entry, located.entry)
            return
        for name, entry, target in self.entries.iter_children(located):
            yield _describe(f"{path}/{format_path(name)}", entry, target)

    def _find_all(self, path: str, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        try:
            with _translating(path):
                located = self.entries.locate(path)
                if not located.is_directory:
                    return {path: _describe(path, located.link or located.entry, located.entry)}
                if withdirs:
                    found[path] = {**_describe(path, located.entry, located.entry)}
                for below, entry, target in self.entries.iter_below(located):
                    each = _describe(f"{path}/{format_path(below)}", entry, target)
                    if each["type"] == "file" or (withdirs and each["type"] == "directory"):
                        found[each["name"]] = each
        except FileNotFoundError:
            return {}  # as find(1) of fsspec does
        return dict(sorted(found.items()))

    def _note(self, located: Located) -> None:
        """Take note of a file that is opened; here, nobody does."""

    def _open_content(self, path: str) -> tuple[ReadableFile, Located]:
        with _translating(path):
            located = self.entries.locate(path)
            entry = located.entry
            if isinstance(entry, DirectoryEntry):
                raise IsADirectoryError(errno.EISDIR, "this is a directory", path)
            assert isinstance(entry, (FileEntry, ReferenceEntry))  # links were followed
            self._note(located)
            repository = self.entries.repository
            if isinstance(entry, ReferenceEntry):
                return repository.references.open(entry), located
            return repository.open_file(entry, located.place), located


def _describe(name: str, entry: Entry, target: Entry | None) -> dict[str, Any]:
    """Return what fsspec calls info; `target` is what a link leads to, anything else itself."""
    found: dict[str, Any] = {"name": name, "size": 0, "type": "link", "mode": entry.mode}
    if isinstance(entry, SymlinkEntry):
        found |= {"islink": True, "destination": format_path(entry.target)}
    if isinstance(target, DirectoryEntry) and not isinstance(entry, SymlinkEntry):
        found |= {"type": "directory"}
    elif isinstance(target, (FileEntry, ReferenceEntry)):
        found |= {"type": "file", "size": target.size, "mode": target.mode}
    known = entry if target is None else target
    found["mtime"] = known.mtime_ns / 1e9
    if not isinstance(known, SymlinkEntry):
        found["digest"] = str(known.digest)
    return found


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _spread(paths: Sequence[str], starts: Any, ends: Any) -> list[tuple[int | None, int | None]]:
    if not isinstance(paths, list):
        msg = "paths must be a list"
        raise TypeError(msg)
    first = starts if isinstance(starts, list) else [starts] * len(paths)
    last = ends if isinstance(ends, list) else [ends] * len(paths)
    if not len(first) == len(last) == len(paths):
        msg = "there must be as many starts and ends as paths"
        raise ValueError(msg)
    return list(zip(first, last, strict=True))


def _as_os_error(error: ArtifactFSError, path: str) -> OSError:
    """Return an error as programs expect it of files: FileNotFoundError, PermissionError and so on by its errno."""
    return OSError(error.errno, str(error), path)


@contextmanager
def _translating(path: str) -> Iterator[None]:
    try:
        yield
    except ArtifactFSError as error:
        raise _as_os_error(error, path) from error
