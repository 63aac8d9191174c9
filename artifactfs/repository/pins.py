"""The pins of all collections: which staging directories, on any machine, keep which versions from being pruned.

Used by the command line. Threading: functions over a Repository.

Source: docs/format.md section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.errors import InvalidNameError
from artifactfs.paths import check_collection_name
from artifactfs.repository import changes
from artifactfs.staging.layout import iter_infos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """A pin, and what it keeps.

    Attributes:
        id: of the pin, 32 hex digits.
        collection: whose version.
        version: its number.
        purpose: what it is for, such as `staging directory @staging`.
        author: who pinned it, `user@host`.
        time_ns: when, nanoseconds since 1970 UTC.
        is_here: whether a staging directory of this user on this machine uses it.
        is_deleted: whether the version was removed, so that only pins keep it.
    """

    id: str
    collection: str
    version: int
    purpose: str
    author: str
    time_ns: int
    is_here: bool
    is_deleted: bool


def iter_pins(repository: Repository) -> Iterator[PinnedVersion]:
    """Yield the pins of all collections, by collection and then by age.

    Collections that were removed have pins, too: these keep what is deleted.
    """
    here = {info.pin for info in iter_infos(repository.state_directory)}
    for name in sorted(repository.store.iter_children(COLLECTIONS_PREFIX)):
        try:
            check_collection_name(name)
        except InvalidNameError:
            continue  # not a collection of this format
        state = repository.load_state(name)
        for pin, found in sorted(state.pins.items(), key=lambda item: item[1].time_ns):
            yield PinnedVersion(
                id=pin,
                collection=name,
                version=found.version,
                purpose=found.purpose,
                author=found.author,
                time_ns=found.time_ns,
                is_here=pin in here,
                is_deleted=found.version not in state.versions,
            )


def break_pin(repository: Repository, pinned: PinnedVersion) -> None:
    """Take a pin away with a log record; the files of the staging directory are not touched.

    Raises:
        ArtifactFSError: the record could not be written.
    """
    message = f"broke the pin of {pinned.author} ({pinned.purpose})"
    repository.append(pinned.collection, partial(changes.unpin, pin=pinned.id), message=message)
