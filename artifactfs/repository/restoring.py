"""Taking paths of a staging directory back to what they were, through the mount in which people work.

Only what differs is touched. What is written goes through the mount, so whoever works there sees it at once, and each
driver keeps its own marks. What is made comes first into a *scratch* directory at the top of the mount, which is never
part of a version (`staging.layout.SCRATCH`), and is renamed when it is complete and durable.

Used by the command line. Threading: a Restorer belongs to one thread.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from artifactfs.errors import BusyError, EntryNotFoundError, UsageError, translate_os_error
from artifactfs.paths import join_path, printable
from artifactfs.repository.originals import Item, Original, ShownOriginal, StoredOriginal
from artifactfs.staging.files import ShortPaths, remove_tree, sync_directory
from artifactfs.staging.layout import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from artifactfs.repository.diff import Change

__all__ = ["Original", "Restored", "ShownOriginal", "StoredOriginal", "restore_path"]

Restored = Literal["restored", "removed"]
_NEW: Final = b"new"
_OLD: Final = b"old"


def restore_path(original: Original, top: bytes, path: bytes, changes: Sequence[Change]) -> Restored:
    """Make what a staging directory shows at a path what a version has there.

    When it is killed, each path shows what it did or what the version has; a directory that takes the place of a file,
    or a file that of a directory, may be missing. The same call finishes it.

    Args:
        original: the version.
        top: where the staging directory is mounted.
        path: an entry path; b"" for all.
        changes: what differs from the version, as `StagingArea.changes` says.

    Returns:
        `removed` when the version has nothing at the path.

    Raises:
        EntryNotFoundError: there is nothing at the path, neither in the version nor in the staging directory.
        UsageError: a directory above it is not one any more.
        IntegrityError: something stored is damaged; that path is as it was.
        BusyError: the same user restores something else there just now.
        AccessDeniedError, StorageFullError: the system refused; a part may be restored then.
    """
    try:
        _make_parents(original, top, path)
        if path and original.find(path) is None and not os.path.lexists(os.path.join(top, path)):
            raise _not_found(path)
        with _scratch(top, path) as scratch:
            Restorer(original, top, path, scratch).restore(changes)
    except OSError as error:
        raise translate_os_error(error, doing=f"restoring {printable(path) or 'all'}") from error
    return "removed" if path and original.find(path) is None else "restored"


class Restorer:
    """Takes what lies at or below one path back. Belongs to one thread."""

    def __init__(self, original: Original, top: bytes, wanted: bytes, scratch: bytes) -> None:
        self._original = original
        self._top = top
        self._wanted = wanted
        self._scratch = scratch
        self._done: set[bytes] = set()
        self._touched: set[bytes] = set()

    def restore(self, changes: Iterable[Change]) -> None:
        """Bring back what is missing or different; then remove what was added."""
        added: set[bytes] = set()
        paths = self._choose(changes)
        for path in sorted(paths):
            item = self._original.find(path)
            if item is None:
                added.add(self._find_top(path, self._is_added))
            else:
                self._bring_back(path, item, has_other_content=paths[path])
        for path in sorted(added):
            if any(above in self._done for above in _above(path)):
                continue  # a file has taken the place of a directory
            remove_tree(self._local(path))
            self._touch_above(path)
        # From below: a directory whose owner may not write it comes after what is in it.
        for path in sorted(self._touched, reverse=True):
            item = self._original.find(path)
            if item is not None and item.kind == "directory":
                _mend(self._local(path), item)

    def _choose(self, changes: Iterable[Change]) -> dict[bytes, bool]:
        """Return paths that concern what is wanted, and of each whether its content is another."""
        chosen = {self._wanted: False} if self._wanted else {}
        for change in changes:
            for path in (change.path, change.old_path):
                if path is None:
                    continue
                is_other = path == change.path and change.kind == "modified"
                if self._is_wanted(path):
                    chosen[path] = is_other or chosen.get(path, False)
        return chosen

    def _bring_back(self, path: bytes, item: Item, *, has_other_content: bool) -> None:
        missing = self._find_top(path, self._is_missing)
        if missing in self._done:
            return
        if missing != path:
            whole = self._original.find(missing)
            assert whole is not None  # something of the version is in it
            self._place(missing, whole, None)
            return
        now = _kind_now(self._local(path))
        if now == item.kind == "directory":
            self._touched.add(path)
        elif now != item.kind or has_other_content or item.kind == "link":
            self._place(path, item, now)
        else:
            _mend(self._local(path), item)

    def _place(self, path: bytes, item: Item, now: str | None) -> None:
        """Make something in the scratch directory, and put it where it belongs."""
        made, local = os.path.join(self._scratch, _NEW), self._local(path)
        remove_tree(made)
        self._make(path, made, item)
        if item.kind == "directory" and item.mode & stat.S_IWUSR:  # else it cannot be moved
            _mend(made, item)
        if now is not None and "directory" in (now, item.kind):
            old = os.path.join(self._scratch, _OLD)
            remove_tree(old)
            _open_directory(local)
            os.rename(local, old)
            os.rename(made, local)
            remove_tree(old)
        else:
            os.rename(made, local)
        if item.kind == "directory":
            _mend(local, item)
        sync_directory(os.path.dirname(local))
        self._done.add(path)
        self._touch_above(path)

    def _make(self, path: bytes, local: bytes, item: Item) -> None:
        """Make a file, a link, or a directory with all that is in it; the directory itself can be written at first."""
        waiting = [(path, local, item)]
        directories: list[tuple[bytes, Item]] = []
        with ShortPaths() as short:
            while waiting:
                at, to, what = waiting.pop()
                if what.kind == "directory":
                    os.mkdir(to, 0o700)
                    directories.append((to, what))
                    inside = short.inside(to)
                    waiting += [
                        (join_path(at, each.name), os.path.join(inside, each.name), each)
                        for each in self._original.list_directory(at)
                    ]
                elif what.kind == "link":
                    os.symlink(what.target, to)
                    os.utime(to, ns=(what.mtime_ns, what.mtime_ns), follow_symlinks=False)
                else:
                    self._make_file(at, to, what)
            for to, what in reversed(directories[1:]):
                sync_directory(to)
                _mend(to, what)

    def _make_file(self, path: bytes, local: bytes, item: Item) -> None:
        descriptor = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._original.copy(path, descriptor)
            os.fchmod(descriptor, item.mode)
            os.utime(descriptor, ns=(item.mtime_ns, item.mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _is_wanted(self, path: bytes) -> bool:
        return not self._wanted or path == self._wanted or path.startswith(self._wanted + b"/")

    def _is_added(self, path: bytes) -> bool:
        return self._original.find(path) is None

    def _is_missing(self, path: bytes) -> bool:
        return path in self._done or not os.path.lexists(self._local(path))

    def _find_top(self, path: bytes, holds: Callable[[bytes], bool]) -> bytes:
        """Return the highest wanted directory above a path for which something holds; else the path."""
        found = path
        while (path := path.rpartition(b"/")[0]) and self._is_wanted(path):
            if holds(path):
                found = path
        return found

    def _touch_above(self, path: bytes) -> None:
        above = path.rpartition(b"/")[0]
        if above and self._is_wanted(above):
            self._touched.add(above)

    def _local(self, path: bytes) -> bytes:
        return os.path.join(self._top, path)


def _mend(local: bytes, item: Item) -> None:
    """Give a file or directory its permission bits and times back, and take attributes away that users gave it."""
    found = os.lstat(local)
    if stat.S_IMODE(found.st_mode) != item.mode:
        os.chmod(local, item.mode)
    with suppress(OSError):
        for name in os.listxattr(local, follow_symlinks=False):
            if name.startswith("user."):
                os.removexattr(local, name, follow_symlinks=False)
    if found.st_mtime_ns != item.mtime_ns:
        with suppress(PermissionError):  # another user's: times alone are no change
            os.utime(local, ns=(item.mtime_ns, item.mtime_ns), follow_symlinks=False)


def _kind_now(local: bytes) -> str | None:
    try:
        mode = os.lstat(local).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "file" if stat.S_ISREG(mode) else "special"


def _open_directory(local: bytes) -> None:
    """Let the owner write a directory that is to be moved away."""
    mode = os.lstat(local).st_mode
    if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
        os.chmod(local, 0o700)


def _scratch_path(directory: bytes) -> bytes:
    return os.path.join(directory, SCRATCH + b"%d" % os.getuid())


@contextmanager
def _scratch(top: bytes, path: bytes) -> Iterator[bytes]:
    """Give an empty directory for what is made: at the top, or where this user may not write that, beside the path."""
    beside = os.path.dirname(os.path.join(top, path)) if path else top
    for directory in dict.fromkeys((top, beside)):
        made = _scratch_path(directory)
        times = os.stat(directory)
        try:
            with suppress(FileExistsError):
                os.mkdir(made, 0o700)
        except PermissionError:
            if directory == beside:
                raise
            continue
        with _held(made):
            yield made
        with suppress(OSError):  # another user's
            os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))
        return


@contextmanager
def _held(made: bytes) -> Iterator[None]:
    """Hold a scratch directory, emptied; it is removed in the end."""
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = "something else is being restored in this staging directory"
            raise BusyError(msg, hint="run the same command again when that has ended") from None
        for name in os.listdir(made):
            remove_tree(os.path.join(made, name))
        try:
            yield
        finally:
            remove_tree(made)
    finally:
        os.close(descriptor)


def _make_parents(original: Original, top: bytes, path: bytes) -> None:
    """Make directories above a path that are missing, as the version has them.

    Links are not followed: somebody may have put one there that leads out of the staging directory.
    """
    above = b""
    missing: list[tuple[bytes, Item]] = []
    for name in path.split(b"/")[:-1]:
        above = join_path(above, name)
        local = os.path.join(top, above)
        if os.path.lexists(local):
            if not stat.S_ISDIR(os.lstat(local).st_mode):
                msg = f"{printable(above)} is no directory now"
                raise UsageError(msg, hint=f"restore {printable(above)} instead", subject=printable(above))
            continue
        item = original.find(above)
        if item is None or item.kind != "directory" or original.find(path) is None:
            raise _not_found(path)
        os.mkdir(local, item.mode | stat.S_IRWXU)
        missing.append((local, item))
    for local, item in reversed(missing):
        os.chmod(local, item.mode)


def _not_found(path: bytes) -> EntryNotFoundError:
    msg = f"there is no {printable(path)}, neither before nor now"
    return EntryNotFoundError(msg, subject=printable(path))


def _above(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path
