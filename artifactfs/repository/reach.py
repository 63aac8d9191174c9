"""What is reached from the roots of versions: pages, and the blobs, sums and packs that these name.

Each page is read once although versions share. Prune keeps what is reached, check looks at it, and a commit compares
it with what a prune has condemned.

Used by prune, check and commit. Threading: a Reach belongs to one thread.

Source: docs/format.md section 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from artifactfs.blobstore.keys import (
    BLOBS_PREFIX,
    PACKS_PREFIX,
    SUMS_PREFIX,
    TREEPACKS_PREFIX,
    TREES_PREFIX,
    digest_key,
    find_digest,
)
from artifactfs.digest import Digest
from artifactfs.errors import BlobMissingError
from artifactfs.model import DirectoryEntry, FileEntry, PageRef, Root
from artifactfs.repository.trees import root_placement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.blobstore.base import ObjectReader
    from artifactfs.model import Placement
    from artifactfs.repository.trees import PageReader
    from artifactfs.storedpage import StoredPage

PREFIXES: Final = (TREES_PREFIX, TREEPACKS_PREFIX, SUMS_PREFIX, BLOBS_PREFIX, PACKS_PREFIX)
"""Where objects lie that are reached, in the order in which they are deleted: first what names others."""
_FILES: Final = {FileEntry}
"""Types of the items of most pages."""


class Visitor(Protocol):
    """Is told what a walk meets."""

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page, or None if the walk shall not go below it: seen before, or not to be read."""

    def take_files(self, stored: StoredPage) -> None:
        """Take the files of a page that was entered: all at once, because a call for each costs more than its work."""


def walk(root: Root, visitor: Visitor) -> None:
    """Tell a visitor of everything below a root, pages before what they name."""
    waiting: list[tuple[bytes, Placement | None]] = [(root.as_entry().tree, root_placement(root))]
    while waiting:
        stored = visitor.enter_page(*waiting.pop())
        if stored is None:
            continue
        visitor.take_files(stored)
        if set(map(type, stored.page.items)) != _FILES:
            waiting += _iter_trees(stored)


class ObjectSet:
    """A set of objects by folder and raw digest. Belongs to one thread."""

    def __init__(self) -> None:
        self._digests: dict[str, set[bytes]] = {prefix: set() for prefix in PREFIXES}

    def __len__(self) -> int:
        """Return the number of objects."""
        return sum(map(len, self._digests.values()))

    def add(self, prefix: str, digest: bytes) -> bool:
        """Add an object and return whether it is new."""
        known = self._digests[prefix]
        before = len(known)
        known.add(digest)
        return len(known) != before

    def has(self, prefix: str, digest: bytes) -> bool:
        """Return whether an object is in the set."""
        return digest in self._digests[prefix]

    def iter_sorted(self, prefix: str) -> Iterator[bytes]:
        """Yield the digests in one folder in order."""
        yield from sorted(self._digests[prefix])

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys in one folder in order."""
        return (digest_key(prefix, digest) for digest in self.iter_sorted(prefix))


class Reach:
    """Collects what is reached. Belongs to one thread.

    Attributes:
        objects: what was reached so far.
    """

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self.objects = ObjectSet()
        self._placed: set[tuple[bytes, bytes, int]] = set()

    def add_root(self, root: Root) -> None:
        """Add what is reached from a root; what was reached before is not read again.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: a page cannot be read, so what lies below it is
                not known.
        """
        walk(root, self)

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page the first time that it is met."""
        return self._reader.read_tree(Digest(tree), placement) if self.is_new_page(tree, placement) else None

    def is_new_page(self, tree: bytes, placement: Placement | None) -> bool:
        """Add a page, or its tree pack, and return whether the page is met for the first time."""
        if placement is None:
            return self.objects.add(TREES_PREFIX, tree)
        # The same page may lie in several packs, and name other places there.
        self.objects.add(TREEPACKS_PREFIX, placement.pack)
        key = (tree, placement.pack, placement.offset)
        is_new = key not in self._placed
        self._placed.add(key)
        return is_new

    def take_files(self, stored: StoredPage) -> None:
        """Add the blobs or packs of files, and their sums."""
        for entry, placement in iter_files(stored):
            if placement is None:
                self.objects.add(BLOBS_PREFIX, entry.sha256)
            else:
                self.objects.add(PACKS_PREFIX, placement.pack)
            if entry.sums is not None:
                self.objects.add(SUMS_PREFIX, entry.sums)


def _iter_trees(stored: StoredPage) -> Iterator[tuple[bytes, Placement | None]]:
    for item, place in zip(stored.page.items, stored.placements, strict=True):
        if isinstance(item, (DirectoryEntry, PageRef)):
            yield item.tree, place


def iter_files(stored: StoredPage) -> Iterator[tuple[FileEntry, Placement | None]]:
    """Return the files of a page, and where they lie."""
    pairs = zip(stored.page.items, stored.placements, strict=True)
    if set(map(type, stored.page.items)) == _FILES:
        return cast("Iterator[tuple[FileEntry, Placement | None]]", pairs)
    return ((item, place) for item, place in pairs if isinstance(item, FileEntry))


def check_present(store: ObjectReader, reader: PageReader, root: Root) -> None:
    """Return if everything that is reached from a root is in the store; bytes of files are not looked at.

    Raises:
        BlobMissingError: something is not.
        DigestMismatchError, MalformedError: a page is damaged.
    """
    reach = Reach(reader)
    reach.add_root(root)
    for prefix in PREFIXES:
        for key in reach.objects.iter_keys(prefix):
            if store.find_size(key) is None:
                msg = f"the repository has no object {key}"
                raise BlobMissingError(msg, hint="store everything again", subject=key)


def find_object(key: str) -> tuple[str, bytes] | None:
    """Return folder and raw digest of an object that a tree may name, or None for any other key."""
    prefix = key[: key.find("/") + 1]
    digest = find_digest(key, prefix) if prefix in PREFIXES else None
    return None if digest is None else (prefix, digest)
