"""What is never evicted from a cache, because somebody said so.

    <cache>/kept/<user id>-<16 hex digits>        a line of JSON that says what it is, then one line for each chunk

A file for each thing that is kept, which its user wrote and its user deletes; whoever makes room leaves all chunks in
place that are named by any of them. Chunks that are not there yet can be named.

Used by `cachequota.py` and `artifactfs cache`. Threading: may be shared by threads and processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER: Final = "kept"
_NAME: Final = re.compile(r"(\d+)-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Keep:
    """Something that is kept.

    Attributes:
        repository: location of the repository.
        ref: what of it, as `NAME:vN` or `NAME:vN/PATH`.
        uid: the user who keeps it.
        path: of the file that says so.
    """

    repository: str
    ref: str
    uid: int
    path: str


class CacheKeeps:
    """What is kept in one cache. May be shared by threads and processes.

    Args:
        directory: of the cache.
        open_file: makes files of the cache, for its group where it has one.
    """

    def __init__(self, directory: str, open_file: Callable[[str], int]) -> None:
        self._folder = os.path.join(directory, FOLDER)
        self._open_file = open_file
        self._seen: frozenset[tuple[str, int, int]] = frozenset()
        self._names: frozenset[str] = frozenset()

    def add(self, repository: str, ref: str, chunks: Iterable[str]) -> None:
        """Keep chunks, each named `<key>.<number>`, from now on, for this user.

        Raises:
            ArtifactFSError: it cannot be written.
        """
        path = self._path(repository, ref)
        lines = [json.dumps({"repository": repository, "ref": ref}), *chunks]
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            descriptor = self._open_file(path + ".new")
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, data, 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(path + ".new", path)
        except OSError as error:
            raise translate_os_error(error, doing=f"keeping {ref}", subject=path) from error

    def remove(self, keep: Keep) -> None:
        """Keep something no longer; what is there stays until room is needed.

        Raises:
            ArtifactFSError: it cannot be deleted.
        """
        try:
            with suppress(FileNotFoundError):
                os.unlink(keep.path)
        except OSError as error:
            raise translate_os_error(error, doing=f"releasing {keep.ref}", subject=keep.path) from error

    def iter_keeps(self) -> Iterator[Keep]:
        """Yield what all users keep, in order of names."""
        for name in self._list():
            path = os.path.join(self._folder, name)
            with suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as file:
                found = json.loads(file.readline())
                yield Keep(str(found["repository"]), str(found["ref"]), int(name.partition("-")[0]), path)

    def find_names(self) -> frozenset[str]:
        """Return the names of all chunks that are kept, `<key>.<number>`; read again only when something changed."""
        seen = frozenset(self._iter_seen())
        if seen != self._seen:
            names: set[str] = set()
            for name, _, _ in seen:
                with suppress(OSError), open(os.path.join(self._folder, name), encoding="utf-8") as file:
                    names.update(line.rstrip("\n") for line in file)
            self._seen, self._names = seen, frozenset(names)
        return self._names

    def _iter_seen(self) -> Iterator[tuple[str, int, int]]:
        for name in self._list():
            with suppress(OSError):
                status = os.stat(os.path.join(self._folder, name))
                yield name, status.st_ino, status.st_mtime_ns

    def _list(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._folder) if _NAME.fullmatch(name))
        except OSError:
            return []

    def _path(self, repository: str, ref: str) -> str:
        name = hashlib.sha256(f"{repository}\0{ref}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return os.path.join(self._folder, f"{os.getuid()}-{name}")
