"""Repair of format files: features that none announces are announced, and superseded ones are written anew.

The newest one says all that is in force, and so does whatever takes the place of an earlier one. The newest itself
cannot be made again: it may have announced what this release does not know.

Used by repair. Threading: functions over a Repository.

Source: docs/format.md section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import find_format_number, format_key
from artifactfs.errors import ArtifactFSError, DigestMismatchError, IntegrityError, MalformedError
from artifactfs.repository.format import add_reader_feature, decode_format, encode_format, find_numbered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.repository.check import Damage
    from artifactfs.repository.repository import Repository


def can_rebuild(repository: Repository, item: Damage) -> bool:
    """Return whether a damaged object is a format file that can be made again."""
    if item.unannounced:
        return True
    number = find_format_number(item.key)
    if number is None:
        return False
    try:
        newest, _ = find_numbered(repository.store)
    except IntegrityError:
        return False
    return number < newest and (is_missing(repository, item.key) or _is_unreadable(repository, item.key))


def is_missing(repository: Repository, key: str) -> bool:
    """Return whether there is no such object."""
    return repository.store.find_size(key) is None


def rebuild_formats(repository: Repository, items: Iterable[Damage]) -> tuple[str, ...]:
    """Write format files that are missing, and return their keys.

    Args:
        repository: where.
        items: those for which `can_rebuild` holds; what is still there is left.

    Raises:
        NewerFormatError: the repository may not be written to.
    """
    written: list[str] = []
    for item in items:
        repository.check_writable()
        for feature in item.unannounced:
            before, _ = find_numbered(repository.store)
            repository.format = add_reader_feature(repository.store, feature)
            after, _ = find_numbered(repository.store)
            written += [format_key(number) for number in range(before + 1, after + 1)]
        if not item.unannounced and is_missing(repository, item.key):
            _, newest = find_numbered(repository.store)
            repository.store.create(item.key, encode_format(newest))
            written.append(item.key)
    return tuple(written)


def _is_unreadable(repository: Repository, key: str) -> bool:
    """Return whether nobody can read a format file; one of a newer release, or another repository, is none such."""
    try:
        decode_format(repository.store.read(key), key=key)
    except (MalformedError, DigestMismatchError):
        return True
    except ArtifactFSError:
        return False
    return False
