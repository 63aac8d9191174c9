"""What is at a path of a version, as a mount would show it: links inside the version are followed.

Used by the fsspec file system and the export. Threading: an Entries may be shared by threads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import EntryNotFoundError
from artifactfs.model import DirectoryEntry, SymlinkEntry
from artifactfs.paths import check_name, join_path, parse_ref, printable, split_path
from artifactfs.repository.trees import Trees, root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.model import Collection, Entry, Placement, Root, Version
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed

LINKS_MAX: Final = 40
"""How many links are followed for one path, as the kernel does. Source: path_resolution(7)."""


@dataclass(frozen=True, slots=True)
class Located:
    """An entry of a version.

    Attributes:
        ref: what was asked for, with the path.
        artifact: the version, `NAME:vN`.
        root: of the version.
        entry: what is there; behind links.
        place: of its content.
        link: the link that stands at the path itself, if one does.
        version: all of the version.
    """

    ref: Ref
    artifact: str
    root: Root
    entry: Entry
    place: Placement | None
    link: SymlinkEntry | None
    version: Version

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return isinstance(self.entry, DirectoryEntry)


class Entries:
    """Looks into the versions of a repository. May be shared by threads.

    Args:
        repository: gives the repository; in a forked child another one.
        resolve: returns what a reference names.
    """

    def __init__(
        self, repository: Callable[[], Repository], *, resolve: Callable[[Ref], tuple[Collection, Version]]
    ) -> None:
        self._find_repository = repository
        self.resolve = resolve
        self._guard = threading.Lock()
        self._opened: tuple[Repository, Trees] | None = None

    @property
    def repository(self) -> Repository:
        """The repository, open."""
        return self._open()[0]

    @property
    def trees(self) -> Trees:
        """Reads its directories."""
        return self._open()[1]

    def locate(self, text: str) -> Located:
        """Return what `NAME[:vN|:ALIAS]/PATH` names.

        Raises:
            EntryNotFoundError: nothing, or a link that leads nowhere in the version.
            InvalidNameError, InvalidPathError: it cannot be the name of anything.
            ArtifactFSError: there is no such version; or a directory cannot be read.
        """
        ref = parse_ref(text)
        collection, version = self.resolve(ref)
        placed, link = follow(self.trees, version.root, ref.path)
        artifact = f"{collection.name}:{version.name}"
        return Located(ref, artifact, version.root, *placed, link, version)

    def iter_children(self, located: Located) -> Iterator[tuple[bytes, Entry, Entry | None]]:
        """Yield name and entry of all in a directory, in name order; of a link also what it leads to, or None.

        Raises:
            ArtifactFSError: the directory cannot be read.
        """
        assert isinstance(located.entry, DirectoryEntry)
        for entry, _ in self.trees.load_entries(located.entry, located.place):
            path = join_path(located.ref.path, entry.name)
            yield entry.name, entry, self._find_target(located.root, path) if isinstance(entry, SymlinkEntry) else entry

    def iter_below(self, located: Located) -> Iterator[tuple[bytes, Entry, Entry | None]]:
        """Yield the same of all below a directory, by its path there, depth first; links are not entered.

        Raises:
            ArtifactFSError: a directory cannot be read.
        """
        assert isinstance(located.entry, DirectoryEntry)
        for below, entry in self.trees.iter_below(located.entry, b"", located.place):
            path = join_path(located.ref.path, below)
            yield below, entry, self._find_target(located.root, path) if isinstance(entry, SymlinkEntry) else entry

    def _find_target(self, root: Root, path: bytes) -> Entry | None:
        try:
            return follow(self.trees, root, path)[0][0]
        except EntryNotFoundError:
            return None

    def _open(self) -> tuple[Repository, Trees]:
        repository = self._find_repository()
        with self._guard:
            if self._opened is None or self._opened[0] is not repository:
                self._opened = repository, Trees(repository.blobs)
            return self._opened


def follow(trees: Trees, root: Root, path: bytes) -> tuple[Placed, SymlinkEntry | None]:
    """Return what is at a path with the place of its content, links followed, and the link at the path itself, if any.

    Raises:
        EntryNotFoundError: there is nothing, or a link leaves the version, leads nowhere or in a circle.
        InvalidPathError: it is not an entry path.
        IntegrityError: a directory cannot be read.
    """
    waiting = list(reversed(split_path(path)))
    walked: list[Placed] = [(root.as_entry(), root_placement(root))]
    link: SymlinkEntry | None = None
    followed, is_inside = 0, True
    while waiting:
        name = waiting.pop()
        is_last, is_inside = is_inside and not waiting, is_inside and bool(waiting)
        if name in (b"", b"."):
            continue
        directory, place = walked[-1]
        if not isinstance(directory, DirectoryEntry):
            raise _missing(path, f"{printable(directory.name)!r} is not a directory")
        if name == b"..":
            if len(walked) == 1:
                raise _missing(path, "a link leads out of the version")
            walked.pop()
            continue
        found = trees.find_child(directory, check_name(name), place)
        if found is None:
            raise _missing(path, f"there is no {printable(name)!r}")
        if not isinstance(found[0], SymlinkEntry):
            walked.append(found)
            continue
        followed += 1
        link = found[0] if is_last else link
        if followed > LINKS_MAX or found[0].target.startswith(b"/"):
            raise _missing(path, "a link leads out of the version, or in a circle")
        waiting += reversed(found[0].target.split(b"/"))
    return walked[-1], link


def _missing(path: bytes, why: str) -> EntryNotFoundError:
    shown = printable(path)
    return EntryNotFoundError(f"there is no {shown!r} in this version: {why}", subject=shown)
