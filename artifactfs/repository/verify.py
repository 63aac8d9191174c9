"""Verify: everything that a version is made of, read again, or a local directory compared with a version.

Nothing that was verified earlier is believed. Damage does not end it: everything that is wrong is listed.

Used by the command line and the SDK. Threading: functions over a Repository; several may run at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from artifactfs.blobstore.hashing import BLOCK_SIZE, ChunkHasher
from artifactfs.blobstore.keys import sums_key
from artifactfs.digest import CHUNK_SIZE, Digest
from artifactfs.errors import (
    AccessDeniedError,
    ArtifactFSError,
    ConfigurationError,
    DigestMismatchError,
    OfflineError,
    RemoteError,
    translate_os_error,
)
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, Root, SymlinkEntry, Version
from artifactfs.paths import join_path
from artifactfs.reference.asking import Asking
from artifactfs.reference.base import describe_sameness, is_unverified
from artifactfs.repository.ignore import Ignored
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.reading import Dropped, FileReader, HashingSink
from artifactfs.repository.scan import Scanner
from artifactfs.repository.sources import Planned
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.repository.verify_kept import find_unkept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.model import Entry, Placement
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.scan import Found

THREADS: Final = 2
AT_ONCE: Final = 256
"""Entries handed to threads at a time; problems come in the order of the paths."""
ASKED_AT_ONCE: Final = 16
"""References of which services are asked at a time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as the version says, or of which nobody could say so.

    Attributes:
        path: the entry path; b"" is the root.
        what: what is wrong, as in "is missing".
        code: exit code of the error that it is: another than that of damage means that it could not be looked at: it
            lies elsewhere and could not be asked, is not followed, or may not be read.
    """

    path: bytes
    what: str
    code: int = DigestMismatchError.exit_code

    @property
    def is_unknown(self) -> bool:
        """Whether it is no damage: it could not be looked at."""
        return self.code != DigestMismatchError.exit_code


@dataclass(frozen=True, slots=True)
class _Damage:
    """What is wrong with some content."""

    what: str
    code: int = DigestMismatchError.exit_code


_Looked: TypeAlias = "tuple[bytes, Entry, Placement | None, Problem | None]"
"""Path, entry and place of something, and of a directory that cannot be read what is wrong."""


def _describe(error: ArtifactFSError) -> _Damage:
    """Return what an error says about content that was to be read."""
    if isinstance(error, OfflineError):
        return _Damage("cannot be verified offline", error.exit_code)
    if isinstance(error, RemoteError | AccessDeniedError | ConfigurationError):
        return _Damage(f"cannot be verified: {error.message}", error.exit_code)
    return _Damage(error.message)


def verify_version(
    repository: Repository,
    version: Version | Root,
    *,
    directory: bytes | None = None,
    progress: Progress | None = None,
    kept: bool = False,
    doubt: Callable[[bytes, str], None] = lambda path, what: None,  # noqa: ARG005
) -> list[Problem]:
    """Return everything that is wrong with a version as it is stored, or with a local copy of it.

    Args:
        repository: where the version is.
        version: which (or its root).
        directory: a local directory to compare with it: names, kinds, content, targets and permission bits; what
            is there besides is a problem, too. None reads everything that is stored of the version again.
        progress: is told of bytes and files.
        kept: whether to read what is kept on this machine, because the repository is offline, not what is stored.
        doubt: is told the path of each unverified reference that is not known to be another, and what is known of it.

    Returns:
        Problems in depth-first order of paths; none when all is well.

    Raises:
        SourceNotFoundError, AccessDeniedError: `directory` does not exist or may not be read.
        MalformedError, DigestMismatchError, BlobMissingError: the trees of the version are damaged, so that
            nothing can be compared with them.
    """
    root = version.root if isinstance(version, Version) else version
    progress = progress or NoProgress()
    progress.begin(files=root.count, size=root.size)
    if directory is not None:
        return list(_Comparison(Trees(repository.blobs), progress, doubt).compare(root, directory))
    return list(_Audit(repository, progress, doubt, kept=kept).check(root))


class _Audit:
    """Reads what is stored. Belongs to one thread and has its own."""

    def __init__(
        self, repository: Repository, progress: Progress, doubt: Callable[[bytes, str], None], *, kept: bool
    ) -> None:
        self._repository = repository
        self._doubt = doubt
        self._kept = kept
        self._progress = progress
        self._trees = Trees(repository.blobs)
        self._guard = threading.Lock()
        self._asking: Asking | None = None
        repository.blobs.forget()
        self._seen: dict[tuple[bytes, Placement | None], _Damage | None] = {}

    def check(self, root: Root) -> Iterator[Problem]:
        waiting: list[_Looked] = []
        with (
            ThreadPoolExecutor(THREADS, "verify") as pool,
            ThreadPoolExecutor(ASKED_AT_ONCE, "ask") as asking,
        ):
            for looked in self._walk(root):
                waiting.append(looked)
                if len(waiting) >= AT_ONCE:
                    yield from self._check_some(pool, asking, waiting)
                    waiting = []
            yield from self._check_some(pool, asking, waiting)

    def _check_some(
        self, pool: ThreadPoolExecutor, asking: ThreadPoolExecutor, waiting: list[_Looked]
    ) -> Iterator[Problem]:
        answers = asking.map(self._ask, [entry for _, entry, _, _ in waiting if isinstance(entry, ReferenceEntry)])
        files = [(entry, place) for _, entry, place, _ in waiting if isinstance(entry, FileEntry)]
        new = self._read_files(pool, files)
        for path, entry, place, problem in waiting:
            damage: _Damage | None = None
            if problem is not None:
                yield problem
            elif isinstance(entry, FileEntry):
                damage = self._seen[entry.sha256, place]
                was_read = new.pop((entry.sha256, place), None) is not None
                self._progress.advance(files=1, size=0 if was_read else entry.size)
            elif isinstance(entry, ReferenceEntry):
                damage = next(answers)
                if damage is None and is_unverified(entry):
                    self._doubt(path, describe_sameness(entry))
                self._progress.advance(files=1, size=entry.size)
            else:
                self._progress.advance(files=0 if isinstance(entry, DirectoryEntry) else 1)
            if damage is not None:
                yield Problem(path, damage.what, damage.code)

    def _ask(self, entry: ReferenceEntry) -> _Damage | None:
        """Return what is wrong with a reference: whether the object is still the same. Only a local file is read."""
        try:
            with self._guard:
                self._asking = self._asking or Asking(self._repository.references)
            drift = self._asking.find_drift(entry)
        except ArtifactFSError as error:
            return _describe(error)
        return None if drift is None else _Damage(drift)

    def _walk(self, root: Root) -> Iterator[_Looked]:
        """Yield everything; a directory that cannot be read with its problem, and nothing below it."""
        waiting: list[tuple[bytes, Entry, Placement | None]] = [(b"", root.as_entry(), root_placement(root))]
        while waiting:
            path, entry, place = waiting.pop()
            problem = None
            if isinstance(entry, DirectoryEntry):
                try:
                    found = self._trees.load_entries(entry, place)
                except ArtifactFSError as error:
                    damage = _describe(error)
                    problem = Problem(path, damage.what, damage.code)
                else:
                    waiting += [(join_path(path, below.name), below, where) for below, where in reversed(found)]
            yield path, entry, place, problem

    def _read_files(
        self, pool: ThreadPoolExecutor, files: list[tuple[FileEntry, Placement | None]]
    ) -> dict[tuple[bytes, Placement | None], FileEntry]:
        """Read what was not read before, and return it; what is wrong with each is then known."""
        placed = {(entry.sha256, place): entry for entry, place in files}
        new = {key: entry for key, entry in placed.items() if key not in self._seen}
        damages = pool.map(lambda item: self._find_damage(item[1], item[0][1]), new.items())
        self._seen.update(zip(new, damages, strict=True))
        return new

    def _find_damage(self, entry: FileEntry, place: Placement | None) -> _Damage | None:
        try:
            return self._read(entry, place)
        except ArtifactFSError as error:
            return _describe(error)

    def _read(self, entry: FileEntry, place: Placement | None) -> _Damage | None:
        if self._kept:
            left = find_unkept(self._repository, entry, place, tell=self._tell)
            return None if left is None else _Damage(f"cannot be verified offline: {left}", OfflineError.exit_code)
        file = self._repository.blobs.open_blob(entry, place)
        whole, chunks = hashlib.sha256(), ChunkHasher()
        offset = 0
        try:
            while data := file.read_at(offset, BLOCK_SIZE):
                whole.update(data)
                if entry.size > CHUNK_SIZE:
                    chunks.update(memoryview(data))
                offset += len(data)
                self._progress.advance(size=len(data))
        except OSError as error:
            return _Damage(f"the blob {entry.digest} cannot be read: {error.strerror}")
        finally:
            file.close()
        if whole.digest() != entry.sha256:
            return _Damage(f"the blob {entry.digest} is damaged: its {offset} bytes hash to {Digest(whole.digest())}")
        return self._find_sums_damage(entry, chunks.finish()) if entry.size > CHUNK_SIZE else None

    def _tell(self, size: int) -> None:
        self._progress.advance(size=size)

    def _find_sums_damage(self, entry: FileEntry, sums: bytes) -> _Damage | None:
        if entry.sums is None or hashlib.sha256(sums).digest() != entry.sums:
            return _Damage(f"the sums that the tree names are not those of the blob {entry.digest}")
        stored = self._repository.store.read(sums_key(entry.sums))
        return None if stored == sums else _Damage(f"the sums {Digest(entry.sums)} are damaged")


class _Comparison:
    """Compares a local directory with a version. Belongs to one thread and has its own."""

    def __init__(self, trees: Trees, progress: Progress, doubt: Callable[[bytes, str], None]) -> None:
        self._trees = trees
        self._doubt = doubt
        self._progress = progress
        self._scanner = Scanner(reads_ignore_files=False)
        self._reader = FileReader(HashingSink(), Dropped(), tell=lambda size: progress.advance(size=size))

    def compare(self, root: Root, directory: bytes) -> Iterator[Problem]:
        top = os.path.join(directory, b"")  # a link to a directory counts as that directory
        status = _stat_directory(top)
        entry = root.as_entry()
        yield from _compare_modes(b"", entry, status)
        with ThreadPoolExecutor(THREADS, "verify") as pool:
            waiting = [(b"", entry, Planned([top]), root_placement(root))]
            while waiting:
                path, stored, local, place = waiting.pop()
                known = {found.name: found for found in self._list(local, path)}
                pairs = [(item, known.pop(item.name, None), where) for item, where in self._load(stored, place)]
                yield from self._compare_pairs(pool, path, pairs)
                yield from (Problem(found.path, "is not in the version") for found in known.values())
                for name in self._take_special():
                    yield Problem(name, "is not in the version: it is a socket, FIFO or device")
                waiting += [
                    (join_path(path, item.name), item, found.planned, where)
                    for item, found, where in reversed(pairs)
                    if isinstance(item, DirectoryEntry) and found is not None and found.planned is not None
                ]

    def _load(self, entry: Entry, place: Placement | None) -> Iterable[tuple[Entry, Placement | None]]:
        return self._trees.load_entries(entry, place) if isinstance(entry, DirectoryEntry) else ()

    def _list(self, local: Planned, path: bytes) -> list[Found]:
        return list(self._scanner.list_directory(local, path, Ignored()).found)

    def _take_special(self) -> list[bytes]:
        special, self._scanner.special = self._scanner.special, []
        return special

    def _compare_pairs(
        self, pool: ThreadPoolExecutor, path: bytes, pairs: list[tuple[Entry, Found | None, Placement | None]]
    ) -> Iterator[Problem]:
        for start in range(0, len(pairs), AT_ONCE):
            part = pairs[start : start + AT_ONCE]
            for problems in pool.map(lambda pair: self._compare_one(path, pair[0], pair[1]), part):
                yield from problems

    def _compare_one(self, parent: bytes, entry: Entry, found: Found | None) -> list[Problem]:
        path = join_path(parent, entry.name)
        if not isinstance(entry, DirectoryEntry):
            self._progress.advance(files=1)
        if found is None:
            return [Problem(path, "is missing")]
        status = found.status
        assert status is not None
        if stat.S_IFMT(status.st_mode) != _file_type(entry):
            return [Problem(path, f"is {_name_type(status.st_mode)}, not {_name_type(_file_type(entry))}")]
        try:
            return [*self._compare_content(path, entry, found), *_compare_modes(path, entry, status)]
        except ArtifactFSError as error:
            return [Problem(path, error.message)]

    def _compare_content(self, path: bytes, entry: Entry, found: Found) -> Iterator[Problem]:
        match entry:
            case FileEntry() | ReferenceEntry():
                sha256 = entry.sha256 if isinstance(entry, FileEntry) else entry.content
                if found.status is not None and found.status.st_size != entry.size:
                    yield Problem(path, f"has {found.status.st_size} bytes, not {entry.size}")
                elif isinstance(entry, ReferenceEntry) and not entry.has_sha256:
                    self._doubt(path, "unverified: only its size could be compared")
                elif self._reader.read_file(found).file.sha256 != sha256:
                    yield Problem(path, "has other content")
            case SymlinkEntry():
                if self._reader.read_link(found).target != entry.target:
                    yield Problem(path, "points elsewhere")


def _stat_directory(directory: bytes) -> os.stat_result:
    try:
        return os.lstat(directory)
    except OSError as error:
        raise translate_os_error(error, doing=f"reading {os.fsdecode(directory)}") from error


def _compare_modes(path: bytes, entry: Entry, status: os.stat_result) -> Iterator[Problem]:
    mode = status.st_mode & 0o777
    if not isinstance(entry, SymlinkEntry) and mode != entry.mode:
        yield Problem(path, f"has the permission bits {mode:03o}, not {entry.mode:03o}")


def _file_type(entry: Entry) -> int:
    match entry:
        case DirectoryEntry():
            return stat.S_IFDIR
        case SymlinkEntry():
            return stat.S_IFLNK
    return stat.S_IFREG


def _name_type(mode: int) -> str:
    return {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFREG: "a file"}.get(
        stat.S_IFMT(mode), "a special file"
    )
