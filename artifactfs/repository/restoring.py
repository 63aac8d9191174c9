"""Taking a path of a staging directory back to what it was, through the mount in which people work.

What is written goes through the mount, so whoever works there sees it at once, and each driver keeps its own marks.
What it was comes out of the repository, or where only a mount can be seen, out of the version that this shows.

Used by the command line. Threading: functions without state.
"""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, Final, Literal, Protocol

from artifactfs.errors import EntryNotFoundError, UsageError, translate_os_error
from artifactfs.model import DirectoryEntry
from artifactfs.paths import join_path, printable
from artifactfs.repository.checkout import checkout
from artifactfs.repository.trees import Trees
from artifactfs.staging.files import ShortPaths, remove_tree

if TYPE_CHECKING:
    from artifactfs.model import Root
    from artifactfs.repository.repository import Repository

Restored = Literal["restored", "removed"]
_MADE: Final = b".artifactfs-restore"
_BLOCK: Final = 1 << 20


class Original(Protocol):
    """What a staging directory is taken back to."""

    def find_directory_mode(self, path: bytes) -> int | None:
        """Return the permission bits of a directory; None when there is something else at the path, or nothing."""

    def has(self, path: bytes) -> bool:
        """Return whether there is anything at a path."""

    def write(self, path: bytes, local: bytes) -> None:
        """Write what is at a path, with all that is in it, to a local path where nothing is."""


class StoredOriginal:
    """A version in the repository; `root` is None for nothing at all. An `Original`; no state."""

    def __init__(self, repository: Repository, root: Root | None) -> None:
        self._repository = repository
        self._root = root

    def find_directory_mode(self, path: bytes) -> int | None:
        """Return the permission bits of a directory."""
        if self._root is None or not self.has(path):
            return None
        entry, _ = Trees(self._repository.blobs).find_placed(self._root, path)
        return entry.mode if isinstance(entry, DirectoryEntry) else None

    def has(self, path: bytes) -> bool:
        """Return whether there is anything at a path."""
        if self._root is None:
            return False
        try:
            Trees(self._repository.blobs).find_placed(self._root, path)
        except EntryNotFoundError:
            return False
        return True

    def write(self, path: bytes, local: bytes) -> None:
        """Write what is at a path; verified on the way."""
        assert self._root is not None
        checkout(self._repository, self._root, local, path=path)


class ShownOriginal:
    """A version as a mount shows it: `top` is its directory there; None for nothing at all. An `Original`; no state."""

    def __init__(self, top: bytes | None) -> None:
        self._top = top

    def find_directory_mode(self, path: bytes) -> int | None:
        """Return the permission bits of a directory."""
        found = self._find(path)
        return stat.S_IMODE(found.st_mode) if found is not None and stat.S_ISDIR(found.st_mode) else None

    def has(self, path: bytes) -> bool:
        """Return whether there is anything at a path."""
        return self._find(path) is not None

    def write(self, path: bytes, local: bytes) -> None:
        """Write what is at a path; the mount verifies what it hands out."""
        assert self._top is not None
        _copy(os.path.join(self._top, path), local)

    def _find(self, path: bytes) -> os.stat_result | None:
        """Return what lies at a path, below directories only: a link on the way leads to nothing of the version."""
        if self._top is None:
            return None
        local = self._top
        found = os.stat(local)
        for name in path.split(b"/"):
            if not stat.S_ISDIR(found.st_mode):
                return None
            local = os.path.join(local, name)
            try:
                found = os.lstat(local)
            except FileNotFoundError:
                return None
        return found


def restore_path(original: Original, top: bytes, path: bytes) -> Restored:
    """Make what a staging directory shows at a path what a version has there.

    Args:
        original: the version.
        top: where the staging directory is mounted.
        path: an entry path, not empty: of a file, a link, or a directory with all that is in it.

    Returns:
        `removed` when the version has nothing at the path.

    Raises:
        EntryNotFoundError: there is nothing at the path, neither in the version nor in the staging directory.
        UsageError: a directory above it is not one any more.
        IntegrityError: something stored is damaged; the path is as it was.
        AccessDeniedError, StorageFullError: the system refused; a part of a directory may be missing then.
    """
    local = os.path.join(top, path)
    try:
        _make_parents(original, top, path)
        if not original.has(path):
            return _remove(local, path)
        _write(original, local, path)
    except OSError as error:
        raise translate_os_error(error, doing=f"restoring {printable(path)}") from error
    return "restored"


def _remove(local: bytes, path: bytes) -> Restored:
    if not os.path.lexists(local):
        msg = f"there is no {printable(path)}, neither before nor now"
        raise EntryNotFoundError(msg, subject=printable(path))
    remove_tree(local)
    return "removed"


def _write(original: Original, local: bytes, path: bytes) -> None:
    # Written beside it first: what is damaged in the store must not cost what is there now. Directories are not
    # swapped in one step, because the union's mount cannot.
    above, name = os.path.split(local)
    made = os.path.join(above, _MADE + name[-200:])
    remove_tree(made)
    try:
        original.write(path, made)
        is_directory = original.find_directory_mode(path) is not None
        if is_directory or (os.path.isdir(local) and not os.path.islink(local)):
            remove_tree(local)
        os.rename(made, local)
    finally:
        remove_tree(made)


def _copy(source: bytes, target: bytes) -> None:
    """Copy a file, a link, or a directory with all that is in it; permission bits and times are kept, no more."""
    waiting = [(source, target)]
    directories: list[tuple[bytes, os.stat_result]] = []
    with ShortPaths() as short:
        while waiting:
            at, to = waiting.pop()
            found = os.lstat(at)
            if stat.S_ISDIR(found.st_mode):
                os.mkdir(to, 0o700)
                directories.append((to, found))
                inside, made = short.inside(at), short.inside(to)
                waiting += [(os.path.join(inside, name), os.path.join(made, name)) for name in os.listdir(inside)]
            elif stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(at), to)
                os.utime(to, ns=(found.st_mtime_ns, found.st_mtime_ns), follow_symlinks=False)
            else:
                _copy_file(at, to, found)
        for to, found in reversed(directories):
            os.chmod(to, stat.S_IMODE(found.st_mode))
            os.utime(to, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _copy_file(source: bytes, target: bytes, found: os.stat_result) -> None:
    with open(source, "rb") as reading, open(target, "xb", buffering=0) as writing:
        shutil.copyfileobj(reading, writing, _BLOCK)
        os.fchmod(writing.fileno(), stat.S_IMODE(found.st_mode))
        os.utime(writing.fileno(), ns=(found.st_mtime_ns, found.st_mtime_ns))


def _make_parents(original: Original, top: bytes, path: bytes) -> None:
    """Make directories above a path that are missing, as the version has them.

    Links are not followed: somebody may have put one there that leads out of the staging directory.
    """
    above = b""
    missing: list[tuple[bytes, int]] = []
    for name in path.split(b"/")[:-1]:
        above = join_path(above, name)
        local = os.path.join(top, above)
        if os.path.lexists(local):
            if not stat.S_ISDIR(os.lstat(local).st_mode):
                msg = f"{printable(above)} is no directory now"
                raise UsageError(msg, hint=f"restore {printable(above)} instead", subject=printable(above))
            continue
        mode = original.find_directory_mode(above)
        if mode is None:
            msg = f"there is no {printable(path)}, neither before nor now"
            raise EntryNotFoundError(msg, subject=printable(path))
        os.mkdir(local, mode | stat.S_IRWXU)
        missing.append((local, mode))
    for local, mode in reversed(missing):
        os.chmod(local, mode)
