"""Where a path of a version comes from, and which versions changed certain paths.

A version is compared with the one that it was made from, else with the live one of the next lower number. Trees of
deleted versions may be gone, so these are passed over.

Used by the command line and the SDK. Threading: functions without state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import EntryNotFoundError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry
from artifactfs.paths import join_path
from artifactfs.repository.diff import diff_trees, same_content
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from artifactfs.model import Collection, Entry, Version
    from artifactfs.repository.diff import Change
    from artifactfs.repository.ignore import Patterns


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry comes from.

    Attributes:
        path: the entry path.
        entry: the entry.
        version: the version that last changed its content, kind or permission bits; the whole below, of a directory.
        is_first: whether no version before that had the path.
    """

    path: bytes
    entry: Entry
    version: Version
    is_first: bool


def find_before(collection: Collection, version: Version) -> Version | None:
    """Return the version that this one was made from, else the live one with the next lower number."""
    if version.base is not None and version.base in collection.versions:
        return collection.versions[version.base]
    lower = [number for number in collection.versions if number < version.number]
    return collection.versions[max(lower)] if lower else None


def find_origin(trees: Trees, collection: Collection, version: Version, path: bytes) -> Origin:
    """Return which version last changed what is at a path.

    Raises:
        EntryNotFoundError: there is nothing.
        IntegrityError: a tree cannot be read.
    """
    entry = trees.find_entry(version.root, path)
    current = version
    while (before := find_before(collection, current)) is not None:
        try:
            earlier = trees.find_entry(before.root, path)
        except EntryNotFoundError:
            return Origin(path, entry, current, is_first=True)
        if not _is_same(earlier, entry):
            return Origin(path, entry, current, is_first=False)
        current = before
    return Origin(path, entry, current, is_first=True)


def find_origins(trees: Trees, collection: Collection, version: Version, path: bytes) -> list[Origin]:
    """Return the origin of a file, or of each entry of a directory, in order of names.

    Raises:
        EntryNotFoundError: there is nothing.
        IntegrityError: a tree cannot be read.
    """
    entry, placement = trees.get_placed(version.root, path)
    if not isinstance(entry, DirectoryEntry):
        return [find_origin(trees, collection, version, path)]
    names = [child.name for child, _ in trees.load_entries(entry, placement)]
    return [find_origin(trees, collection, version, join_path(path, name)) for name in names]


def find_changes(trees: Trees, collection: Collection, version: Version, patterns: Patterns) -> list[Change]:
    """Return what a version changed at paths that the patterns choose, in order of paths.

    Raises:
        IntegrityError: a tree cannot be read.
    """
    before = find_before(collection, version)
    found = diff_trees(trees, before.root if before else None, version.root)
    return [
        change
        for change in found
        if patterns.chooses_below(change.path) or (change.old_path and patterns.chooses_below(change.old_path))
    ]


def _is_same(old: Entry, new: Entry) -> bool:
    executable = (FileEntry, ReferenceEntry, DirectoryEntry)
    same_mode = old.mode == new.mode or not isinstance(new, executable)
    return type(old) is type(new) and same_content(old, new) and same_mode
