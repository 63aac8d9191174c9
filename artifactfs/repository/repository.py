"""A repository, open: its logs, its content, and what this machine remembers of it.

The store is the truth. The index and the memory of this process only save work: each answer about a
collection looks for a newer record first.

Used by everything above. Threading: a Repository may be shared by threads, not by forked processes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from artifactfs.blobstore.fetching import FetchingBlobs
from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.blobstore.local import LOCK
from artifactfs.blobstore.locations import is_remote
from artifactfs.blobstore.places import FILES, SEEN
from artifactfs.blobstore.remote import RangeReader
from artifactfs.blobstore.verifying import MemoryVerified, VerifyingBlobs
from artifactfs.clock import SystemClock
from artifactfs.errors import (
    BlobMissingError,
    CollectionNotFoundError,
    DigestMismatchError,
    MalformedError,
    NewerFormatError,
    UsageError,
)
from artifactfs.repository import changes
from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.exclusion import LockExclusion
from artifactfs.repository.format import PACKS, add_reader_feature
from artifactfs.repository.indexing import open_repository_index
from artifactfs.repository.log import Log
from artifactfs.repository.objects import ContentStore
from artifactfs.repository.outage import Outage
from artifactfs.repository.statedirectory import find_state_directory
from artifactfs.repository.states import States
from artifactfs.repository.stores import DEFAULT_REMOTE, open_store
from artifactfs.repository.survey import Survey
from artifactfs.repository.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from artifactfs.blobstore.base import Store
    from artifactfs.blobstore.blobs import BlobName
    from artifactfs.blobstore.connecting import RemoteOptions
    from artifactfs.blobstore.packs import PackPlace
    from artifactfs.blobstore.verifying import ReadableFile as ReadableFile  # noqa: PLC0414 (handed on to vfs)
    from artifactfs.clock import Clock
    from artifactfs.errors import IntegrityError
    from artifactfs.model import Collection, Placement, Version
    from artifactfs.paths import Ref
    from artifactfs.reference.references import References
    from artifactfs.repository.exclusion import Exclusion
    from artifactfs.repository.format import Format
    from artifactfs.repository.indexing import RepositoryIndex
    from artifactfs.repository.records import Body, Record


PACKED_BELOW: Final = 1 << 20
"""Files below this size are put into packs."""


class BlobOpener(Protocol):
    """Opens content so that only verified bytes come out."""

    def find_known_places(self, blobs: Iterable[BlobName]) -> Mapping[bytes, PackPlace]:
        """Return where files of packs are known to lie, by raw digest."""

    def open_file(
        self, blob: BlobName, place: PackPlace | None = None, *, known: Mapping[bytes, PackPlace] | None = None
    ) -> ReadableFile:
        """Return the content that an entry names."""


class Repository:
    """A repository, open. A context manager; may be shared by threads.

    Attributes:
        id: 32 hex digits that all copies of the repository share.
        location: where it lies: an absolute path, or a URL.
        state_directory: what this user keeps about it on this machine: index, staging directories, locks.
        format: its format.
        store: its objects.
        blobs: its content: blobs and trees.
        log: its logs.
        witness: what this user has seen of the logs on this machine.
        index: what is remembered; None when it is not used.
        clock: the time.
        exclusion: keeps commits and prunes apart.
    """

    def __init__(  # noqa: PLR0913 (all that it is made of)
        self,
        store: Store,
        *,
        repository_format: Format,
        location: str,
        state_directory: str,
        author: str,
        clock: Clock,
        random: Callable[[int], bytes],
        index: RepositoryIndex | None,
        exclusion: Exclusion | None = None,
        packed_below: int = PACKED_BELOW,
        references: Callable[[], References] | None = None,
        poll_seconds: float = 0.0,
        serves_last_known: bool = False,
    ) -> None:
        self.id = repository_format.repository
        self.location = location
        self.state_directory = state_directory
        self.author = author
        self.format = repository_format
        self.store = store
        self.index = index
        self.clock = clock
        verified = index if index is not None else MemoryVerified()
        places = index.places if index is not None else None
        self.blobs = ContentStore(
            store, verified, places=places, packed_below=packed_below, announce=lambda: self.announce(PACKS)
        )
        self.log = Log(store, clock=clock, author=author, random=random)
        self.witness = Witness(state_directory)
        self._outage = (
            Outage(
                lambda: next(store.iter_children(COLLECTIONS_PREFIX), None),
                location=location,
                directory=state_directory,
                clock=clock,
            )
            if serves_last_known and self.is_remote
            else None
        )
        self._states = States(
            store,
            self.log,
            witness=self.witness,
            index=index,
            poll_seconds=poll_seconds if self.is_remote else None,
            outage=self._outage,
        )
        self.survey = Survey(self.blobs, self._states.load_all)
        self.blobs.finder = self.survey
        self.exclusion = exclusion or ListExclusion(
            store, self.blobs.in_place, clock=clock, random=random, author=author
        )
        self._verifying: BlobOpener = (
            FetchingBlobs(store, self.blobs) if isinstance(store, RangeReader) else VerifyingBlobs(self.blobs, verified)
        )
        self._find_references = references
        self._references: References | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Release the index, close packs, and remove temporary files."""
        self.blobs.forget()
        if self.index is not None:
            self.index.close()
        _close(self.store)
        if self._outage is not None:
            self._outage.close()
        if self._references is not None:
            self._references.close()

    def collection_names(self) -> list[str]:
        """Return the names of all collections that exist, in order.

        One whose log is damaged is among them: `get_collection` then says what is wrong.
        """
        return self._states.names()

    def look_at_collections(self, *, with_deleted: bool = False) -> list[tuple[str, Collection | IntegrityError]]:
        """Return all collections that exist, in order of names, with their state, or what is wrong with their log.

        Args:
            with_deleted: also those that were deleted: their logs are kept.
        """
        return self._states.look_at_all(with_deleted=with_deleted)

    def find_collection(self, name: str) -> Collection | None:
        """Return the present state of a collection, or None when it does not exist.

        Raises:
            InvalidNameError: no collection can have this name.
            MalformedError, DigestMismatchError: its log is damaged.
        """
        state = self.load_state(name)
        return state if state.exists else None

    def get_collection(self, name: str) -> Collection:
        """Return the present state of a collection.

        Raises:
            CollectionNotFoundError: it does not exist; the hint names what is spelt nearly like it.
            InvalidNameError: no collection can have this name.
            MalformedError, DigestMismatchError: its log is damaged.
        """
        found = self.find_collection(name)
        if found is not None:
            return found
        msg = f"there is no collection {name!r} in {self.location}"
        hint = changes.suggest(name, self.collection_names()) or "`artifactfs ls` lists what there is"
        raise CollectionNotFoundError(msg, hint=hint, subject=name)

    def load_state(self, name: str) -> Collection:
        """Return the present state of a collection, also of one that was deleted or never existed.

        Raises:
            InvalidNameError: no collection can have this name.
            MalformedError, DigestMismatchError: its log is damaged.
        """
        return self._states.load(name)

    def refresh(self) -> None:
        """Ask the store again for whatever is looked at next, also where the poll interval has not passed."""
        self._states.refresh()

    @property
    def unanswered_since_ns(self) -> int | None:
        """Since when the service does not answer, and collections are shown as they were last known; None otherwise."""
        return None if self._outage is None else self._outage.since_ns

    @property
    def last_unanswered_ns(self) -> int:
        """When a process of this user last showed collections as they were last known; 0 if none ever did."""
        return 0 if self._outage is None else self._outage.find_last_ns()

    def resolve(self, ref: Ref) -> tuple[Collection, Version]:
        """Return the collection and the version that a reference names.

        Raises:
            CollectionNotFoundError, VersionNotFoundError, AliasNotFoundError: there is none.
            UsageError: it names a staging directory, which is no version.
        """
        if ref.staging is not None:
            msg = f"{ref} is a staging directory, not a version"
            raise UsageError(msg, subject=str(ref))
        collection = self.get_collection(ref.collection)
        if ref.version is not None:
            return collection, changes.get_version(collection, ref.version)
        return collection, changes.get_alias(collection, ref.alias or "")

    def append(
        self,
        name: str,
        change: Callable[[Collection], Body],
        *,
        message: str = "",
        run: str | None = None,
        change_id: str | None = None,
    ) -> tuple[Collection, Record]:
        """Record a change durably, and return the state after it and the record.

        What the change names (trees, blobs) must have been flushed before.

        Args:
            name: the collection's; it need not exist.
            change: says what to record, given the present state; see `Log.append`.
            message: the log message.
            run: id of the run that makes the change.
            change_id: of the record; see `Log.append`.

        Raises:
            NewerFormatError: the repository may be read by this release, but not written to.
            ArtifactFSError: see `Log.append`, and whatever `change` raises.
        """
        self.check_writable()
        return self._states.append(name, change, message=message, run=run, change_id=change_id)

    def find_known_places(self, entries: Iterable[BlobName]) -> Mapping[bytes, PackPlace]:
        """Return where files of packs are known to lie, by raw digest: for `open_file` of many, looked up at once."""
        return self._verifying.find_known_places(entries)

    def open_file(
        self, entry: BlobName, place: Placement | None = None, *, known: Mapping[bytes, PackPlace] | None = None
    ) -> ReadableFile:
        """Return the content of a file entry, of which only verified bytes can be read.

        Args:
            entry: which content.
            place: where it should be, when not as an object of its own. When it is not there, the logs are read
                again to find where it is now.
            known: what `find_known_places` returned for it and others; None looks it up.

        Raises:
            BlobMissingError: it is not in the store.
            DigestMismatchError, MalformedError: what is there is damaged.
        """
        try:
            return self._verifying.open_file(entry, place, known=known)
        except (BlobMissingError, DigestMismatchError, MalformedError):
            found = self._open_elsewhere(entry, place)
            if found is None:
                raise
            return found

    @property
    def references(self) -> References:
        """What reads references; made when it is first needed, by the process that reads."""
        if self._references is None:
            # Most commands follow none.
            from artifactfs.reference.references import References  # noqa: PLC0415

            self._references = self._find_references() if self._find_references else References()
        return self._references

    def learn_places(self) -> None:
        """Look through versions that others stored, so that what they have is not stored again."""
        if self.blobs.packed_below:
            self.survey.learn_new()

    def announce(self, feature: str) -> None:
        """Say in the format file that readers must know a feature, before it is used.

        Raises:
            ArtifactFSError: the format file could not be written.
        """
        if feature not in self.format.reader_features:
            self.format = add_reader_feature(self.store, feature)

    def _open_elsewhere(self, entry: BlobName, place: Placement | None) -> ReadableFile | None:
        for table in (FILES, SEEN):
            for other in [*self.survey.find_places(table, entry.sha256), None]:
                if other != place:
                    with suppress(BlobMissingError, DigestMismatchError, MalformedError):
                        return self._verifying.open_file(entry, other)
        return None

    def check_writable(self) -> None:
        """Return if this release may write to the repository.

        Raises:
            NewerFormatError: it may not.
        """
        unknown = self.format.unknown_to_writers
        if unknown:
            msg = f"writing to {self.location} needs {', '.join(unknown)}, which this release does not know"
            raise NewerFormatError(msg, hint="install a newer artifactfs", subject=self.location)

    @property
    def is_remote(self) -> bool:
        """Whether it lies in an object store."""
        return is_remote(self.location)

    @property
    def local_directory(self) -> str:
        """A directory on the disk that holds what it stores, or what this machine keeps of it."""
        return self.state_directory if self.is_remote else self.location


def open_repository(  # noqa: PLR0913 (all that a repository depends on)
    location: str,
    *,
    state: str,
    author: str,
    create: bool = True,
    clock: Clock | None = None,
    use_index: bool = True,
    packed_below: int = PACKED_BELOW,
    random: Callable[[int], bytes] = os.urandom,
    remote: RemoteOptions = DEFAULT_REMOTE,
    references: Callable[[], References] | None = None,
    like: Format | None = None,
) -> Repository:
    """Return the repository at a place, which is made if need be.

    Args:
        location: a local directory, or the URL of a place in an object store.
        state: directory for what this user keeps about all repositories on this machine.
        author: who makes the changes.
        create: whether to make a repository where there is none.
        clock: the time; None takes the system's.
        use_index: whether to remember things in the index.
        packed_below: files below this size are put into packs, up to 4 MiB; 0 writes no packs.
        random: source of change ids.
        remote: how to speak to object stores.
        references: returns what reads references; None follows those that everybody may.
        like: the format of a repository of which a new one is a clone; it gets the same id.

    Raises:
        NotFoundError: there is no repository and `create` is False.
        ConfigurationError: the place holds something else, or an object store cannot keep a repository.
        NewerFormatError, MalformedError: it cannot be read.
        RemoteError, AccessDeniedError, ReadOnlyError, StorageFullError: the system or the service refused.
    """
    clock = clock or SystemClock()
    store, spelled, found = open_store(location, create=create, clock=clock, random=random, remote=remote, like=like)
    try:
        directory = find_state_directory(state, repository_id=found.repository, location=spelled)
        return Repository(
            store,
            repository_format=found,
            location=spelled,
            state_directory=directory,
            author=author,
            clock=clock,
            random=random,
            index=open_repository_index(directory, found.repository) if use_index else None,
            exclusion=None if is_remote(spelled) else LockExclusion(os.path.join(spelled, LOCK), clock=clock),
            packed_below=packed_below,
            references=references,
            poll_seconds=remote.poll_seconds,
            serves_last_known=remote.serves_last_known,
        )
    except BaseException:
        _close(store)
        raise


def _close(store: Store) -> None:
    close = getattr(store, "close", None)
    if close is not None:
        close()
