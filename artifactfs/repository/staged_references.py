"""Adding references to a staging directory, through the mount in which people work.

Used by the command line. Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.errors import AlreadyExistsError, ArtifactFSError, EntryNotFoundError, UsageError, translate_os_error
from artifactfs.paths import printable, split_path
from artifactfs.reference.uris import redact_uri
from artifactfs.repository.referring import iter_referred
from artifactfs.staging.links import PREFIX, StagedReferences

if TYPE_CHECKING:
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.references import References
    from artifactfs.repository.referring import Referred
    from artifactfs.repository.staged import Staging


def stage_references(
    staging: Staging, references: References, referred: Referred, *, top: bytes, replace: bool = False
) -> list[tuple[bytes, ReferenceEntry]]:
    """Put links that stand for references into a staging directory, and return paths and entries.

    When it raises, nothing was added.

    Args:
        staging: where.
        references: looks what a URI names.
        referred: the URI, and where what it names goes.
        top: where the staging directory is mounted.
        replace: whether files of the same names are replaced.

    Raises:
        AlreadyExistsError: a name is taken.
        UsageError, SourceNotFoundError, RemoteError, AccessDeniedError: see `References.iter_entries`.
    """
    found = list(iter_referred(references, referred))
    if not replace:
        for path, _ in found:
            if os.path.lexists(os.path.join(top, path)):
                shown = printable(path)
                raise AlreadyExistsError(f"{shown} is there already", hint="--replace replaces it", subject=shown)
    targets = StagedReferences(staging.layout).add((entry, redact_uri(entry.uri)) for _, entry in found)
    made: list[bytes] = []
    try:
        for (path, _), target in zip(found, targets, strict=True):
            _make_link(top, path, target, made)
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
    if not is_reference:
        raise UsageError(f"{shown} is no reference", hint="remove it as any file", subject=shown)
    try:
        os.unlink(local)
    except OSError as error:
        raise translate_os_error(error, doing=f"removing {shown}") from error


def is_reference_link(target: bytes) -> bool:
    """Return whether a link in a staging directory stands for a reference."""
    return target.startswith(PREFIX)


def _make_link(top: bytes, path: bytes, target: bytes, made: list[bytes]) -> None:
    above = top
    for name in split_path(path)[:-1]:
        above = os.path.join(above, name)
        if os.path.islink(above) or (os.path.lexists(above) and not os.path.isdir(above)):
            shown = printable(above[len(top) + 1 :])
            raise AlreadyExistsError(f"{shown} is no directory", hint="choose another path", subject=shown)
        if not os.path.lexists(above):
            os.mkdir(above, 0o755)
            made.append(above)
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
