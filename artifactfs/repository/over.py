"""A new version over an old one: what is added, replaced and removed; all else stays as it is and is not read.

Used by put and the SDK. Threading: an Over is immutable; functions without state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import AlreadyExistsError
from artifactfs.model import FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import printable
from artifactfs.repository.joining import Joiner, gather_removed, place_root, place_stored
from artifactfs.repository.reach import check_present
from artifactfs.repository.treebuilder import TreeBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Entry, Root
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treebuilder import PageWriter, StoredDirectory
    from artifactfs.repository.trees import Placed, Trees


@dataclass(frozen=True, slots=True)
class Over:
    """The version over which another is made.

    Attributes:
        version: its number.
        root: its tree.
        removed: entry paths that are taken away.
        replaced: entry paths at and below which what is added may take the place of what is there.
    """

    version: int
    root: Root
    removed: frozenset[bytes] = frozenset()
    replaced: frozenset[bytes] = frozenset()

    def settle(self, path: bytes, found: Sequence[Placed]) -> Placed:
        """Return what is to be at a path that the version has and that is added, too.

        Raises:
            AlreadyExistsError: it is different, and may not be replaced.
        """
        there, added = found[0], found[-1]
        if _has_same_content(there[0], added[0]):
            return there
        if any(path == given or path.startswith(given + b"/") or not given for given in self.replaced):
            return added
        msg = f"{printable(path)!r} is in v{self.version}, and what is added there is different"
        raise AlreadyExistsError(msg, hint="overwrite=True takes its place", subject=printable(path))


def _has_same_content(one: Entry, other: Entry) -> bool:
    match one, other:
        case FileEntry(), FileEntry():
            return (one.sha256, one.is_executable) == (other.sha256, other.is_executable)
        case SymlinkEntry(), SymlinkEntry():
            return one.target == other.target
        case ReferenceEntry(), ReferenceEntry():
            return (one.uri, one.content, one.is_executable) == (other.uri, other.content, other.is_executable)
    return False


def find_base(repository: Repository, name: str, over: Over) -> Root:
    """Return the root of the old version as the log has it now: a prune may have moved it.

    Raises:
        BlobMissingError: it was deleted meanwhile, and pruned.
    """
    state = repository.load_state(name)
    version = state.versions.get(over.version)
    if version is not None and version.root.tree == over.root.tree:
        return version.root
    root = state.deleted.get(over.version, (0, over.root))[1]
    check_present(repository.store, repository.blobs.in_place, root)
    return root


def lay_over(trees: Trees, sink: PageWriter, base: Root, added: StoredDirectory | None, over: Over) -> StoredDirectory:
    """Store the pages that differ from the old version's, and return the new top directory.

    Args:
        trees: reads both.
        sink: gets the pages; whoever owns it flushes it.
        base: root of the old version.
        added: what is added, stored and flushed; None adds nothing.
        over: what else to do.

    Raises:
        AlreadyExistsError: see `Over.settle`.
        BlobMissingError, DigestMismatchError, MalformedError: something cannot be read.
    """
    joiner = Joiner(trees, TreeBuilder(sink, trees), settle=over.settle)
    others = [] if added is None else [place_stored(added)]
    return joiner.join(place_root(base), others, gather_removed(over.removed))
