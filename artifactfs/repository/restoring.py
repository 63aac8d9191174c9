"""Taking a path of a staging directory back to what it was, through the mount in which people work.

What is written goes through the mount, so whoever works there sees it at once, and each driver keeps its own marks.

Used by the command line. Threading: functions without state.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, Literal

from artifactfs.errors import EntryNotFoundError, UsageError, translate_os_error
from artifactfs.model import DirectoryEntry
from artifactfs.paths import join_path, printable
from artifactfs.repository.checkout import checkout
from artifactfs.repository.trees import Trees
from artifactfs.staging.files import remove_tree

if TYPE_CHECKING:
    from artifactfs.model import Root
    from artifactfs.repository.repository import Repository

Restored = Literal["restored", "removed"]
_MADE: Final = b".artifactfs-restore"


def restore_path(repository: Repository, root: Root | None, top: bytes, path: bytes) -> Restored:
    """Make what a staging directory shows at a path what a version has there.

    Args:
        repository: where the version is.
        root: of the version; None for nothing at all.
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
        _make_parents(repository, root, top, path)
        if root is None or not _has_path(repository, root, path):
            return _remove(local, path)
        _write(repository, root, local, path)
    except OSError as error:
        raise translate_os_error(error, doing=f"restoring {printable(path)}") from error
    return "restored"


def _has_path(repository: Repository, root: Root, path: bytes) -> bool:
    try:
        Trees(repository.blobs).find_placed(root, path)
    except EntryNotFoundError:
        return False
    return True


def _remove(local: bytes, path: bytes) -> Restored:
    if not os.path.lexists(local):
        msg = f"there is no {printable(path)}, neither before nor now"
        raise EntryNotFoundError(msg, subject=printable(path))
    remove_tree(local)
    return "removed"


def _write(repository: Repository, root: Root, local: bytes, path: bytes) -> None:
    entry, _ = Trees(repository.blobs).find_placed(root, path)
    if not isinstance(entry, DirectoryEntry):
        checkout(repository, root, local, path=path, replace=True)
        return
    # Written beside it first: what is damaged in the store must not cost what is there now. The two are not swapped
    # in one step, because the union's mount cannot.
    above, name = os.path.split(local)
    made = os.path.join(above, _MADE + name[-200:])
    remove_tree(made)
    try:
        checkout(repository, root, made, path=path)
        remove_tree(local)
        os.rename(made, local)
    finally:
        remove_tree(made)


def _make_parents(repository: Repository, root: Root | None, top: bytes, path: bytes) -> None:
    """Make directories above a path that are missing, as the version has them.

    Links are not followed: somebody may have put one there that leads out of the staging directory.
    """
    above = b""
    missing: list[tuple[bytes, DirectoryEntry]] = []
    for name in path.split(b"/")[:-1]:
        above = join_path(above, name)
        local = os.path.join(top, above)
        if os.path.lexists(local):
            if not stat.S_ISDIR(os.lstat(local).st_mode):
                msg = f"{printable(above)} is no directory now"
                raise UsageError(msg, hint=f"restore {printable(above)} instead", subject=printable(above))
            continue
        entry = Trees(repository.blobs).find_placed(root, above)[0] if root is not None else None
        if not isinstance(entry, DirectoryEntry):
            msg = f"there is no {printable(path)}, neither before nor now"
            raise EntryNotFoundError(msg, subject=printable(path))
        os.mkdir(local, entry.mode | stat.S_IRWXU)
        missing.append((local, entry))
    for local, entry in reversed(missing):
        os.chmod(local, entry.mode)
