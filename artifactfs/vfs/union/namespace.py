"""Changing names in a union: making, removing, renaming, linking.

Each change is one step on the upper directory where the file system offers one (rename over a whiteout, rename leaving
a whiteout, exchange), so a crash shows the state before or after. What is made is made in the work directory first.

Used by the union, which holds its lock on names around each call.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.staging.marks import (
    exchange,
    make_whiteout,
    rename_leaving_whiteout,
    set_opaque,
    set_redirect,
    with_permission,
)
from artifactfs.vfs.union.resolving import directory_of, fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Create = Callable[[bytes, bytes], None]

    from artifactfs.vfs.union.copyup import Copier
    from artifactfs.vfs.union.resolving import Found, Resolver
    from artifactfs.vfs.union.room import Room


class Namespace:
    """Changes names. Guarded by the union's lock on names."""

    def __init__(self, resolver: Resolver, copier: Copier, room: Room) -> None:
        self._resolver = resolver
        self._copier = copier
        self._room = room

    def make(self, path: bytes, create: Create, *, size: int = 0) -> bytes:
        """Make something that is no directory under a free name, and return its path in the upper directory.

        Args:
            path: its entry path.
            create: makes it at the path that it is given, for the directory that it is given.
            size: bytes that are written.

        Raises:
            OSError: EEXIST, ENOENT, ENOTDIR, ENOSPC, EDQUOT.
        """
        found = self._find_free(path)
        upper = self._upper_for(path)
        above = directory_of(upper)
        with self._room.changing(above, *([upper] if size else []), names=found.upper is None, size=size):
            if found.upper is None:
                create(upper, above)
                return upper
            temporary = self._copier.new_path()
            create(temporary, above)
            os.rename(temporary, upper)
            return upper

    def make_directory(self, path: bytes, create: Create) -> bytes:
        """Make a directory under a free name, and return its path in the upper directory.

        What the version has there stays hidden.

        Raises:
            OSError: EEXIST, ENOENT, ENOTDIR, ENOSPC, EDQUOT.
        """
        found = self._find_free(path)
        upper = self._upper_for(path)
        above = directory_of(upper)
        with self._room.changing(above, upper, names=found.upper is None, size=1):
            if found.upper is None:
                create(upper, above)
                return upper
            temporary = self._copier.new_path()
            create(temporary, above)
            set_opaque(temporary)
            exchange(temporary, upper)
            os.unlink(temporary)
            return upper

    def remove_file(self, path: bytes) -> None:
        """Remove a name that is no directory's.

        Raises:
            OSError: ENOENT, EISDIR.
        """
        found = self._resolver.get(path)
        if found.is_directory:
            raise fail(errno.EISDIR, path)
        upper = self._upper_for(path)
        with self._room.dropping(found.upper):
            if found.lower is None:
                os.unlink(upper)
            else:
                self._whiteout_over(upper, exists=found.in_upper)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOTEMPTY, EBUSY for the top.
        """
        if not path:
            raise fail(errno.EBUSY)
        found = self._resolver.get(path)
        if not found.is_directory:
            raise fail(errno.ENOTDIR, path)
        if self._resolver.list_names(path):
            raise fail(errno.ENOTEMPTY, path)
        upper = self._upper_for(path)
        if not found.in_upper:
            self._whiteout_over(upper, exists=False)
        elif found.lower is None:
            self._take_away(upper)
        else:
            self._swap_for_whiteout(upper)
        self._resolver.forget(path)

    def rename(self, old: bytes, new: bytes, *, may_replace: bool) -> bool:
        """Move `old` to `new`, over what is there. A directory of the version gets a redirect; nothing is copied.

        Returns:
            False when `old` is a file of the version, which must be copied up first; nothing was done then.

        Raises:
            OSError: ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL, EBUSY, ENOSPC.
        """
        for path in (old, new):  # as rename(2): both parents before either name
            self._resolver.get_directory(path.rpartition(b"/")[0])
        source = self._resolver.get(old)
        target = self._resolver.find(new)
        if not self._check_rename(old, new, source, target, may_replace=may_replace):
            return True
        if source.is_directory:
            self._rename_directory(old, new, source, target)
            self._resolver.forget_all()
            return True
        if source.in_upper:
            self._rename_file(old, new, source, target)
        return source.in_upper

    def link(self, old_upper: bytes, new: bytes) -> None:
        """Give a file in the upper directory the second name `new`.

        Raises:
            OSError: EEXIST, ENOENT, ENOTDIR, EMLINK.
        """
        self.make(new, lambda path, _: os.link(old_upper, path, follow_symlinks=False))

    def _find_free(self, path: bytes) -> Found:
        found = self._resolver.find(path)
        if not path or found.exists:
            raise fail(errno.EEXIST, path)
        return found

    def _upper_for(self, path: bytes) -> bytes:
        self._copier.ensure_directory(path.rpartition(b"/")[0])
        return self._resolver.upper_path(path)

    def _whiteout_over(self, upper: bytes, *, exists: bool) -> None:
        if not exists:
            with self._room.changing(directory_of(upper), names=1):
                make_whiteout(upper)
            return
        temporary = self._copier.new_path()
        make_whiteout(temporary)
        os.rename(temporary, upper)

    def _take_away(self, upper: bytes) -> None:
        """Remove an upper directory that shows nothing: it may hold whiteouts."""
        temporary = self._copier.new_path()
        with_permission(upper, stat.S_IWUSR, lambda: os.rename(upper, temporary))
        self._copier.throw_away(temporary)

    def _swap_for_whiteout(self, upper: bytes) -> None:
        """Put a whiteout in the place of an upper directory that shows nothing."""
        temporary = self._copier.new_path()
        make_whiteout(temporary)
        with_permission(upper, stat.S_IWUSR, lambda: exchange(temporary, upper))
        self._copier.throw_away(temporary)

    def _check_rename(self, old: bytes, new: bytes, source: Found, target: Found, *, may_replace: bool) -> bool:
        """Refuse what rename(2) refuses; return False when there is nothing to do."""
        if not old or not new:
            raise fail(errno.EBUSY)
        # In the order of do_renameat2 in fs/namei.c.
        if target.exists and not may_replace:
            raise fail(errno.EEXIST, new)
        if new.startswith(old + b"/"):
            raise fail(errno.EINVAL, new)
        if old.startswith(new + b"/"):
            raise fail(errno.ENOTEMPTY, new)
        if not target.exists:
            return True
        if old == new or _is_same(source, target):
            return False
        if source.is_directory and not target.is_directory:
            raise fail(errno.ENOTDIR, new)
        if target.is_directory and not source.is_directory:
            raise fail(errno.EISDIR, new)
        if target.is_directory and self._resolver.list_names(new):
            raise fail(errno.ENOTEMPTY, new)
        return True

    def _rename_file(self, old: bytes, new: bytes, source: Found, target: Found) -> None:
        upper = self._upper_for(new)
        origin = self._resolver.upper_path(old)
        with self._naming(upper, target), self._room.dropping(target.upper):
            if source.lower is None:
                os.rename(origin, upper)
            else:
                rename_leaving_whiteout(origin, upper)

    def _naming(self, upper: bytes, target: Found) -> AbstractContextManager[None]:
        """Count what the directory grows by in which something gets the path `upper`."""
        return self._room.changing(directory_of(upper), names=target.upper is None)

    def _rename_directory(self, old: bytes, new: bytes, source: Found, target: Found) -> None:
        origin = self._copier.ensure_directory(old)
        below = self._resolver.get_directory(old).lower
        upper = self._upper_for(new)
        with self._room.changing(origin):
            if below is not None:
                set_redirect(origin, below.path)
            elif target.lower is not None:
                set_opaque(origin)
        with self._naming(upper, target):
            if target.upper is not None or source.lower is not None:
                self._exchange_with_whiteout(origin, upper, target)
                if source.lower is None:
                    # What stands at the old name now is a whiteout over nothing.
                    os.unlink(origin)
            else:
                os.rename(origin, upper)

    def _exchange_with_whiteout(self, origin: bytes, upper: bytes, target: Found) -> None:
        """Put a directory under its new name, and a whiteout under its old one, in one step."""
        if target.in_upper:
            # An empty directory makes room first: a crash here loses nothing but it.
            self._swap_for_whiteout(upper)
        elif target.upper is None:
            with suppress(FileExistsError):
                make_whiteout(upper)
        exchange(origin, upper)


def _is_same(source: Found, target: Found) -> bool:
    """Return whether two names are links to one file: rename(2) then does nothing."""
    if source.upper is None or target.upper is None or stat.S_ISDIR(source.upper.st_mode):
        return False
    return (source.upper.st_dev, source.upper.st_ino) == (target.upper.st_dev, target.upper.st_ino)
