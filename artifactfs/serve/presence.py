"""How much of a version or directory is on this machine, and which references are another by now.

Counting goes on from one request to the next, a short while each time, so that a million files hold nobody up.

Part of the API. Threading: a Count may be shared by threads.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, TypedDict, cast

from msgspec import Meta, Struct

from artifactfs.errors import ArtifactFSError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.reference.asking import Asking
from artifactfs.repository.described import name_fields
from artifactfs.repository.presence import Presence, find_presence
from artifactfs.serve.answers import clean
from artifactfs.serve.looking import look
from artifactfs.serve.operations import Path, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Entry, Placement
    from artifactfs.serve.context import Context

LOOK_SECONDS: Final = 0.4
DRIFTED_SHOWN: Final = 1000


class Part(TypedDict):
    """Files, and their bytes."""

    files: int
    size: int


class Drifted(TypedDict):
    """A reference that is another by now, and how."""

    path: str
    path_base64: NotRequired[str]
    drift: str


class PresenceFields(TypedDict):
    """What was counted so far: `counts` by where the bytes are. Ask again while `is_done` is false.

    `links` are symbolic links, which have no bytes.
    `checked` references were looked at where they lead, `drift_count` of them have changed; the first are in `drifted`.
    `failed` could not be looked at, `problem` says why the first of them could not.
    """

    counts: dict[str, Part]
    links: int
    references: int
    checked: int
    drifted: list[Drifted]
    drift_count: int
    failed: int
    problem: str
    is_done: bool


class PresenceParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A version or directory; with `check`, references are looked at where they lead."""

    ref: Ref
    path: Path = ""
    check: bool = False
    count: Annotated[
        int, Meta(ge=0, le=2**53 - 1, description="A number of the caller's: the same goes on, another begins anew.")
    ] = 0


def count_presence(context: Context, wanted: PresenceParameters) -> PresenceFields:
    """How many files of a version or directory are here, partly here or remote; and which references have changed."""
    place = look(context, wanted.ref, wanted.path)

    def iter_files() -> Iterator[tuple[bytes, Entry, Placement | None]]:
        if isinstance(place.entry, DirectoryEntry):
            return place.viewed.trees.iter_placed(place.entry, place.path, place.placement)
        return iter([(place.path, place.entry, place.placement)])

    key = ("presence", place.viewed.ref, place.path, wanted.check, wanted.count)
    count = context.memo.get(key, lambda: Count(context, iter_files(), check=wanted.check))
    return count.go_on(time.monotonic() + LOOK_SECONDS)


class Count:
    """A count under way. May be shared by threads, of which one counts at a time."""

    def __init__(
        self, context: Context, files: Iterator[tuple[bytes, Entry, Placement | None]], *, check: bool
    ) -> None:
        """Store what is counted."""
        self._context = context
        self._files = files
        self._check = check
        self._guard = threading.Lock()
        self._counts: dict[Presence, Part] = {}
        self._links = self._references = self._checked = self._drift_count = self._failed = 0
        self._asking: Asking | None = None
        self._problem = ""
        self._drifted: list[Drifted] = []
        self._is_done = False

    def go_on(self, end: float) -> PresenceFields:
        """Count until a time of the monotonic clock, and return what was counted so far.

        Raises:
            ArtifactFSError: a directory cannot be read.
        """
        with self._guard:
            while not self._is_done and time.monotonic() < end:
                following = next(self._files, None)
                if following is None:
                    self._is_done = True
                else:
                    self._add(*following)
            return {
                "counts": {str(where): {**part} for where, part in self._counts.items()},
                "links": self._links,
                "references": self._references,
                "checked": self._checked,
                "drifted": list(self._drifted),
                "drift_count": self._drift_count,
                "failed": self._failed,
                "problem": self._problem,
                "is_done": self._is_done,
            }

    def _add(self, path: bytes, entry: Entry, placement: Placement | None) -> None:
        if not isinstance(entry, FileEntry | ReferenceEntry):
            self._links += isinstance(entry, SymlinkEntry)
            return
        part = self._counts.setdefault(
            find_presence(self._context.repository, entry, placement), {"files": 0, "size": 0}
        )
        part["files"] += 1
        part["size"] += entry.size
        if isinstance(entry, ReferenceEntry):
            self._references += 1
            if self._check:
                self._look_at(path, entry)

    def _look_at(self, path: bytes, entry: ReferenceEntry) -> None:
        try:
            self._asking = self._asking or Asking(self._context.repository.references)
            drift = self._asking.find_drift(entry)
        except ArtifactFSError as error:
            self._failed += 1
            self._problem = self._problem or clean(error.message)
            return
        self._checked += 1
        if drift is not None:
            self._drift_count += 1
            if len(self._drifted) < DRIFTED_SHOWN:
                fields: dict[str, Any] = {**name_fields("path", path), "drift": drift}
                self._drifted.append(cast("Drifted", fields))
