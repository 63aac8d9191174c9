"""Finding what a request names: a version or a staging directory, and a path in it.

Used by the parts of the API. Threading: functions without state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from artifactfs.errors import UsageError
from artifactfs.model import FileEntry, ReferenceEntry
from artifactfs.paths import parse_path, parse_ref
from artifactfs.repository.viewing import Viewed, view

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.model import Entry, Placement
    from artifactfs.serve.context import Context

FileLike: TypeAlias = FileEntry | ReferenceEntry


@dataclass(frozen=True, slots=True)
class Place:
    """Something in a version.

    Attributes:
        viewed: the version or staging directory.
        path: where; `b""` is the whole.
        entry: what is there.
        placement: where its content lies.
        is_fixed: whether the same request always means the same: it names a version by its number.
    """

    viewed: Viewed
    path: bytes
    entry: Entry
    placement: Placement | None
    is_fixed: bool

    @property
    def name(self) -> str:
        """Its last name, for people and for the kind that it tells."""
        return os.fsdecode(self.path.rpartition(b"/")[2])

    def open(self) -> ReadableFile:
        """Return the content of a file; the caller closes it."""
        return self.viewed.open_file(self.path)

    def get_file(self) -> FileLike:
        """Return the entry.

        Raises:
            UsageError: it is no file.
        """
        if isinstance(self.entry, FileLike):
            return self.entry
        msg = f"{self.viewed.ref}/{self.name} is no file"
        raise UsageError(msg, subject=self.name)


def look(context: Context, ref: str, path: str) -> Place:
    """Return what a request names.

    Args:
        context: of the server.
        ref: a version or a staging directory, without a path.
        path: in it, as `os.fsdecode` gives it.

    Raises:
        NotFoundError: there is none.
        InvalidNameError, UsageError: these are no names.
        IntegrityError, RemoteError: it cannot be read.
    """
    parsed = parse_ref(ref)
    if parsed.path:
        msg = f"{ref} names a path: that is a parameter of its own"
        raise UsageError(msg)
    viewed = find_viewed(context, ref)
    where = parse_path(path.strip("/")) if path.strip("/") else b""
    entry, placement = viewed.get_placed(where)
    return Place(viewed, where, entry, placement, parsed.version is not None)


def find_viewed(context: Context, ref: str) -> Viewed:
    """Return the version or staging directory that a REF names; all versions share the pages that were read before."""
    parsed = parse_ref(ref)
    if parsed.staging is not None:
        return view(context.repository, parsed)
    collection, version = context.repository.resolve(parsed)
    return Viewed(f"{collection.name}:{version.name}", version.root, context.trees, None, context.repository)
