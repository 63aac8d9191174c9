"""Adding references to a staging directory, through the mount in which people work.

Used by the command line. Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.errors import AlreadyExistsError, ArtifactFSError, EntryNotFoundError, UsageError, translate_os_error
from artifactfs.model import DirectoryEntry, ReferenceEntry
from artifactfs.paths import printable, split_path
from artifactfs.reference.base import Folder
from artifactfs.reference.uris import redact_uri
from artifactfs.repository.referring import list_referred
from artifactfs.repository.taking import take_entries
from artifactfs.staging.links import PREFIX, StagedReferences

if TYPE_CHECKING:
    from artifactfs.repository.referring import Referred
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.sources import Given
    from artifactfs.repository.staged import Staging


def stage_references(
    repository: Repository, staging: Staging, referred: Referred, *, top: bytes, replace: bool = False
) -> list[tuple[bytes, Given]]:
    """Put links that stand for references, or entries of a version, into a staging directory; return paths and entries.

    When it raises, nothing was added.

    Args:
        repository: of the staging directory.
        staging: where.
        referred: the URI, and where what it names goes.
        top: where the staging directory is mounted.
        replace: whether files of the same names are replaced.

    Raises:
        AlreadyExistsError: a name is taken.
        UsageError, SourceNotFoundError, RemoteError, AccessDeniedError: see `References.iter_entries`.
        NotFoundError, IntegrityError: see `take_entries`.
    """
    origin, folders, found, shown = _find(repository, referred)
    if not replace:
        for path, _ in found:
            if os.path.lexists(os.path.join(top, path)):
                name = printable(path)
                raise AlreadyExistsError(f"{name} is there already", hint="--replace replaces it", subject=name)
    entries = ((entry, uri) for (_, entry), uri in zip(found, shown, strict=True))
    targets = StagedReferences(staging.layout).add(entries, origin=origin)
    made: list[bytes] = []
    try:
        for path, _ in folders:
            _make_folders(top, path, made)
        for (path, _), target in zip(found, targets, strict=True):
            _make_link(top, path, target, made)
        _set_modes(top, folders, made)
    except (OSError, ArtifactFSError) as error:
        for local in reversed(made):
            with suppress(OSError):
                os.rmdir(local) if os.path.isdir(local) and not os.path.islink(local) else os.unlink(local)
        if isinstance(error, OSError):
            raise translate_os_error(error, doing=f"adding references to {staging}") from error
        raise
    return found


def unstage_reference(entry_path: bytes, *, top: bytes, is_reference: bool) -> None:
    """Remove a reference from a staging directory.

    Raises:
        EntryNotFoundError: there is nothing.
        UsageError: there is something else.
    """
    shown = printable(entry_path)
    local = os.path.join(top, entry_path)
    if not os.path.lexists(local):
        raise EntryNotFoundError(f"there is no {shown}", subject=shown)
    if not is_reference and not (os.path.islink(local) and is_reference_link(os.readlink(local))):
        raise UsageError(f"{shown} is no reference", hint="remove it as any file", subject=shown)
    try:
        os.unlink(local)
    except OSError as error:
        raise translate_os_error(error, doing=f"removing {shown}") from error


def is_reference_link(target: bytes) -> bool:
    """Return whether a link in a staging directory stands for a reference."""
    return target.startswith(PREFIX)


def _find(
    repository: Repository, referred: Referred
) -> tuple[str, list[tuple[bytes, int]], list[tuple[bytes, Given]], list[str]]:
    """Return the version that something is taken from, directories with their modes, other entries, and their URIs."""
    if not referred.is_artifact:
        found = list_referred(repository.references, referred)
        folders = [(path, 0o755) for path, entry in found if isinstance(entry, Folder) and path]
        entries = [(path, entry) for path, entry in found if not isinstance(entry, Folder)]
        shown = [
            redact_uri(entry.uri) if isinstance(entry, ReferenceEntry) else os.fsdecode(entry.target)
            for _, entry in entries
        ]
        return "", folders, list(entries), shown
    taken = take_entries(repository, referred)
    folders = [(path, entry.mode) for path, entry in taken.found if isinstance(entry, DirectoryEntry) and path]
    return taken.version, folders, taken.entries, [taken.find_uri(path) for path, _ in taken.entries]


def _set_modes(top: bytes, folders: list[tuple[bytes, int]], made: list[bytes]) -> None:
    """Give directories that were made the permission bits that they had; last, for they may forbid writing."""
    fresh = frozenset(made)
    for path, mode in reversed(folders):
        local = os.path.join(top, path)
        if local in fresh:
            os.chmod(local, mode)


def _make_folders(top: bytes, path: bytes, made: list[bytes]) -> bytes:
    """Make a directory and those that it is in, where they are missing, and return its local path."""
    above = top
    for name in split_path(path):
        above = os.path.join(above, name)
        if os.path.islink(above) or (os.path.lexists(above) and not os.path.isdir(above)):
            shown = printable(above[len(top) + 1 :])
            raise AlreadyExistsError(f"{shown} is no directory", hint="choose another path", subject=shown)
        if not os.path.lexists(above):
            os.mkdir(above, 0o755)
            made.append(above)
    return above


def _make_link(top: bytes, path: bytes, target: bytes, made: list[bytes]) -> None:
    above = _make_folders(top, path.rpartition(b"/")[0], made)
    local = os.path.join(top, path)
    if os.path.lexists(local):
        # In one step, so that whoever reads meanwhile finds the one or the other.
        beside = os.path.join(above, b".artifactfs-reference")
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(target, beside)
        os.rename(beside, local)
        return
    os.symlink(target, local)
    made.append(local)
