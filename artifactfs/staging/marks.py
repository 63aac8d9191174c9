"""Marks in an upper directory, exactly as overlayfs makes them: whiteouts, opaque directories, redirects.

- A *whiteout* is a character device 0/0: nothing shows under its name. Where such devices cannot be made, it is an
  empty file with the attribute `whiteout`, in a directory whose `opaque` is `x`.
- An *opaque* directory shows nothing of the lower one.
- A *redirect* on a directory says which lower directory shows below it: from the top, as `/a/b`, or by a name in the
  lower directory that shows where the directory is.

The attributes are `trusted.overlay.*` where the kernel's overlayfs made the upper directory, and `user.overlay.*` where
the union did, because ordinary users cannot write the former.

Used by the union and by commit. Threading: pure functions on the file system.

Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import InvalidPathError
from artifactfs.paths import join_path, printable, split_path
from artifactfs.staging.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

USER, TRUSTED = b"user.overlay.", b"trusted.overlay."
NODE_MARK: Final = b"user.artifactfs.ino"
"""Inode number that a copied-up file or directory goes on showing, in decimal."""
HIDDEN: Final = (USER, TRUSTED, NODE_MARK)
_OPAQUE, _REDIRECT, _METACOPY, _WHITEOUT = b"opaque", b"redirect", b"metacopy", b"whiteout"
_NONE: Final = frozenset({errno.ENODATA, errno.ENOTSUP})
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE, _RENAME_WHITEOUT = 2, 4
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM})


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether a file is a whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(path: bytes) -> None:
    """Make a whiteout. Anybody may, since Linux 5.8.

    Raises:
        FileExistsError: there is something under this name.
    """
    os.mknod(path, stat.S_IFCHR, 0)


def is_opaque(path: bytes, prefix: bytes = USER) -> bool:
    """Return whether a directory hides the lower one."""
    return _find_mark(path, prefix + _OPAQUE) == b"y"


def may_have_whiteout_files(path: bytes, prefix: bytes = USER) -> bool:
    """Return whether empty files in a directory can be whiteouts."""
    return _find_mark(path, prefix + _OPAQUE) == b"x"


def is_whiteout_file(path: bytes, prefix: bytes = USER) -> bool:
    """Return whether an empty file, in a directory that may have such, is a whiteout."""
    return find_xattr(path, prefix + _WHITEOUT) is not None


def set_opaque(path: bytes, prefix: bytes = USER) -> None:
    """Make a directory hide the lower one."""
    _set_mark(path, prefix + _OPAQUE, b"y")


def find_redirect(path: bytes, *, siblings: bytes | None, prefix: bytes = USER) -> bytes | None:
    """Return the entry path of the lower directory that a directory shows, or None when it has no redirect.

    Args:
        path: the upper directory.
        siblings: entry path of the lower directory in which a relative redirect is a name; None when there is none.
        prefix: of the attributes.

    Raises:
        InvalidPathError: the redirect is not a path.
    """
    value = _find_mark(path, prefix + _REDIRECT)
    if not value:
        return None
    if siblings is None and not value.startswith(b"/"):
        return None  # nothing is below the directory that it is in
    target = value[1:] if value.startswith(b"/") else join_path(siblings or b"", value)
    if not target:
        msg = f"the directory {printable(path)} has the redirect {printable(value)}"
        raise InvalidPathError(msg)
    return b"/".join(split_path(target))


def set_redirect(path: bytes, target: bytes, prefix: bytes = USER) -> None:
    """Make a directory show the lower directory at the entry path `target`."""
    _set_mark(path, prefix + _REDIRECT, b"/" + target)


def has_metacopy(path: bytes, prefix: bytes = USER) -> bool:
    """Return whether a file has attributes only, and its data is still in the lower one."""
    return find_xattr(path, prefix + _METACOPY) is not None


def copy_marks(path: bytes, *, source: bytes, target: bytes) -> bool:
    """Make the marks of a directory under one prefix those that it has under another; return whether it has any."""
    found = {name: _find_mark(path, source + name) for name in (_OPAQUE, _REDIRECT)}
    for name, value in found.items():
        if value is not None:
            _set_mark(path, target + name, value)
        else:
            _remove_xattr(path, target + name)
    return any(found.values())


def remove_marks(path: bytes, *, prefix: bytes) -> None:
    """Take the marks of a prefix away; the inode number that the union keeps goes with its own."""
    for name in (_OPAQUE, _REDIRECT):
        _remove_xattr(path, prefix + name)
    if prefix == USER:
        _remove_xattr(path, NODE_MARK)


def _remove_xattr(path: bytes, name: bytes) -> None:
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NONE | {errno.EPERM}:  # EPERM: a link or a whiteout, which never has user.* attributes
            raise


def find_xattr(path: bytes, name: bytes) -> bytes | None:
    """Return an extended attribute of a file, not following links; None when it has none."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


def with_permission(path: bytes, wanted: int, action: Callable[[], None]) -> None:
    """Do something that needs permissions on a file or directory that its owner has taken away from himself.

    Overlayfs does such things with the rights of the kernel, and so does root. An ordinary user's process lends itself
    the `wanted` permission bits meanwhile.

    Raises:
        OSError: whatever `action` raises; EPERM: the file is not the process's own.
    """
    try:
        action()
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode & wanted == wanted:
            raise
        os.chmod(path, mode | wanted)
        try:
            action()
        finally:
            with suppress(FileNotFoundError):  # it may have been moved, to be removed
                os.chmod(path, mode)


def _find_mark(path: bytes, name: bytes) -> bytes | None:
    found: list[bytes | None] = []
    with_permission(path, stat.S_IRUSR, lambda: found.append(find_xattr(path, name)))
    return found[0]


def _set_mark(path: bytes, name: bytes, value: bytes) -> None:
    with_permission(path, stat.S_IWUSR, lambda: os.setxattr(path, name, value, follow_symlinks=False))


def supports_marks(directory: bytes) -> bool:
    """Return whether the file system of a directory has what a union needs: whiteouts, attributes, exchange."""
    probe, other = os.path.join(directory, b".probe-1"), os.path.join(directory, b".probe-2")
    try:
        os.mkdir(probe)
        set_opaque(probe)
        make_whiteout(other)
        exchange(probe, other)
    except OSError:
        return False
    finally:
        remove_tree(probe)
        remove_tree(other)
    return True


_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2 if hasattr(ctypes.CDLL(None), "renameat2") else None


def exchange(first: bytes, second: bytes) -> None:
    """Swap two names in one step.

    Source: renameat2(2), RENAME_EXCHANGE.
    """
    _rename_with(first, second, _RENAME_EXCHANGE)


def rename_leaving_whiteout(source: bytes, target: bytes) -> None:
    """Rename over `target`, and leave a whiteout under the old name: in one step where the file system can.

    Source: renameat2(2), RENAME_WHITEOUT.
    """
    try:
        _rename_with(source, target, _RENAME_WHITEOUT)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # A crash in between shows the lower file again: something too much, nothing lost.
        os.rename(source, target)
        make_whiteout(source)


def _rename_with(source: bytes, target: bytes, flags: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(_AT_FDCWD, source, _AT_FDCWD, target, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(source))
