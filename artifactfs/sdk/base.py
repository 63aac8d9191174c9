"""The version that a draft begins as, and pages in memory that show what the draft would be.

Used by `draft.py`. Threading: as a Draft, each belongs to one thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from artifactfs.errors import AlreadyExistsError, EntryNotFoundError, UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import printable
from artifactfs.repository.over import Over, find_base
from artifactfs.repository.reading import HashingSink
from artifactfs.repository.treepacks import as_placement
from artifactfs.storedpage import StoredPage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.digest import Digest
    from artifactfs.manifest import Page
    from artifactfs.model import Entry, Placement, Root, Version
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.treepacks import AnyPlace
    from artifactfs.repository.trees import PageReader
    from artifactfs.sdk.workspace import Workspace


class Base:
    """A version, less what was removed from it. Belongs to one thread.

    Attributes:
        workspace: of the version.
        over: which version, and what is removed and may be replaced.
    """

    def __init__(self, workspace: Workspace, collection: str, version: Version) -> None:
        self.workspace = workspace
        self._collection = collection
        self.over = Over(version.number, version.root)

    @property
    def root(self) -> Root:
        """Its root, with its place as the log says it now."""
        return find_base(self.workspace.repository, self._collection, self.over)

    @property
    def reader(self) -> PageReader:
        """Reads its pages."""
        return self.workspace.repository.blobs

    def find(self, path: bytes) -> Entry | None:
        """Return what the version has at a path, unless that was removed."""
        if self._is_removed(path):
            return None
        try:
            return self.workspace.trees.find_entry(self.root, path)
        except EntryNotFoundError:
            return None

    def check_free(self, path: bytes, *, overwrite: bool) -> None:
        """Return if a file can be put at a path.

        Raises:
            AlreadyExistsError: the version has something there: a directory, or no leave was given to replace it.
        """
        names = path.split(b"/")
        for count in range(1, len(names)):
            above = self.find(b"/".join(names[:count]))
            if above is not None and not isinstance(above, DirectoryEntry):
                raise _taken(b"/".join(names[:count]), "remove it first")
        found = self.find(path)
        if isinstance(found, DirectoryEntry):
            raise _taken(path, "remove the directory first")
        if found is not None and not overwrite:
            raise _taken(path, "overwrite=True takes its place")

    def replace(self, path: bytes) -> None:
        """Let what is added at or below a path take the place of what is there."""
        self.over = replace(self.over, replaced=self.over.replaced | {path})

    def remove(self, path: bytes) -> None:
        """Take away what is at a path."""
        self.over = replace(self.over, removed=self.over.removed | {path})

    def describe(self, repository: Repository) -> Over:
        """Return what a commit to a repository needs to know.

        Raises:
            UsageError: the version lies in another one.
        """
        if repository.id != self.workspace.repository.id:
            name = f"{self._collection}:v{self.over.version}"
            msg = f"{name}, of which the draft was made, lies in {self.workspace.repository.location}"
            raise UsageError(msg, hint=f"log it there, not in {repository.location}", subject=name)
        return self.over

    def _is_removed(self, path: bytes) -> bool:
        return any(path == gone or path.startswith(gone + b"/") for gone in self.over.removed)


class Pages(HashingSink):
    """Keeps pages in memory, so that a directory of a draft can be looked up. Belongs to one thread.

    Args:
        reader: has the pages that are not kept here.
    """

    def __init__(self, reader: PageReader | None = None) -> None:
        self._reader = reader
        self._pages: dict[bytes, StoredPage] = {}

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        """Keep a page."""
        placements = tuple(map(as_placement, places)) or (None,) * len(page.items)
        self._pages[page.tree] = StoredPage(page, placements)
        return None

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        """Return a page that was kept, or else read it."""
        found = self._pages.get(digest.raw)
        if found is not None:
            return found
        assert self._reader is not None
        return self._reader.read_tree(digest, placement)


def _taken(path: bytes, hint: str) -> AlreadyExistsError:
    msg = f"{printable(path)!r} is in the draft already"
    return AlreadyExistsError(msg, hint=hint, subject=printable(path))
