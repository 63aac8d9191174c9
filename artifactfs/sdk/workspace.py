"""The repository that a program works with: found from the environment, opened when first needed.

Used by the classes of the SDK. Threading: a Workspace may be shared by threads. After a fork the child opens the
repository anew.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.locations import is_remote
from artifactfs.credentials import find_references, find_remote_options
from artifactfs.errors import ArtifactFSError
from artifactfs.interop.lockfile import find_locked, read_lock
from artifactfs.places import find_author, find_places
from artifactfs.repository.repository import open_repository
from artifactfs.repository.runviews import pin_ref
from artifactfs.repository.trees import Trees
from artifactfs.runs.history import RunLog
from artifactfs.runs.inputs import note_read
from artifactfs.settings import PACKED_BELOW, find_packed_below, load_settings
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from artifactfs.interop.lockfile import Lock
    from artifactfs.model import Collection, Version
    from artifactfs.paths import Ref
    from artifactfs.places import Places
    from artifactfs.reference.references import References
    from artifactfs.repository.repository import Repository

MOUNT_VARIABLE: Final = "ARTIFACTFS_MOUNT"
"""Where a program of `artifactfs run` sees its view of the mount."""


LOCK_VARIABLE: Final = "ARTIFACTFS_LOCK"
"""Path of the lock file that says what names mean; other versions are not given."""


class Workspace:
    """A repository, and who works with it. May be shared by threads.

    Attributes:
        places: where things are on this machine.
        author: who changes are recorded as made by.
        run: id of the run that they are recorded as made in, if any.
    """

    def __init__(
        self,
        places: Places,
        *,
        author: str,
        run: str | None = None,
        packed_below: int = PACKED_BELOW,
        lock: Lock | None = None,
    ) -> None:
        """Store where it is; with `lock`, no other versions than those are found."""
        self._lock = lock
        self.places = places
        self.author = author
        self.run = run
        self._packed_below = packed_below
        self._guard = threading.Lock()
        self._repository: Repository | None = None
        self._pid = 0
        self._runs: RunLog | None = None
        self._runs_of: Repository | None = None
        self._recorded: set[tuple[str, str]] = set()

    @property
    def repository(self) -> Repository:
        """The repository, open; made where there is none.

        Raises:
            ArtifactFSError: it cannot be opened.
        """
        with self._guard:
            if self._repository is None or self._pid != os.getpid():
                self._repository = open_repository(
                    self.places.repository,
                    state=self.places.state,
                    author=self.author,
                    packed_below=self._packed_below,
                    remote=self._find_remote(),
                    references=self.find_references,
                )
                self._pid = os.getpid()
            return self._repository

    def find_references(self) -> References:
        """Return what reads references for this user; what it fetches is kept where mounts and commands keep it.

        Raises:
            ConfigurationError: the configuration file has a prefix that cannot be one.
        """
        return find_references(os.environ, load_settings(os.environ), cache=self.places.cache)

    def resolve(self, ref: Ref) -> tuple[Collection, Version]:
        """Return the collection and the version that a reference names, or that the lock or the run says it names.

        Raises:
            ArtifactFSError: see `Repository.resolve`; or there is a lock that has it not, or cannot be kept.
        """
        repository = self.repository
        if self._lock is None or self._lock.repository != repository.id:
            return repository.resolve(ref if self.run is None else pin_ref(repository, ref, self.run))
        return find_locked(repository, self._lock.find(ref))

    @property
    def is_locked(self) -> bool:
        """Whether a lock says what names mean."""
        return self._lock is not None and self._lock.repository == self.repository.id

    def _find_remote(self) -> RemoteOptions:
        if not is_remote(self.places.repository):
            return RemoteOptions()
        return find_remote_options(
            os.environ, load_settings(os.environ), cache=self.places.cache, state=self.places.state
        )

    @property
    def trees(self) -> Trees:
        """Reads the directories of versions."""
        return Trees(self.repository.blobs)

    @property
    def runs(self) -> RunLog:
        """What is recorded of runs."""
        repository = self.repository
        with self._guard:
            if self._runs is None or self._runs_of is not repository:
                self._runs_of = repository
                self._runs = RunLog(
                    repository.store, clock=repository.clock, random=os.urandom, host=socket.gethostname()
                )
            return self._runs

    def note_read(self, artifact: str, path: bytes = b"", size: int | None = None) -> None:
        """Record that the run, if there is one, reads something of a version, `NAME:vN`; see `runs.inputs.note_read`.

        What cannot be recorded does not keep the program from reading.
        """
        if self.run is None or (self.run, artifact) in self._recorded:
            return
        with suppress(ArtifactFSError, OSError):
            if not note_read(self.repository.state_directory, self.runs, self.run, artifact, path=path, size=size):
                self._recorded.add((self.run, artifact))  # the version is all that is recorded

    def close(self) -> None:
        """Release the repository; it is opened again when it is needed."""
        with self._guard:
            repository, self._repository = self._repository, None
            self._runs = self._runs_of = None
        if repository is not None and self._pid == os.getpid():
            repository.close()


def find_workspace(repository: str | os.PathLike[str] | None = None) -> Workspace:
    """Return the workspace that the environment says, or the one of the repository at a given place.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    settings = load_settings(os.environ)
    chosen = None if repository is None else os.fspath(repository)
    places = find_places(os.environ, uid=os.getuid(), repository=chosen, settings=settings)
    author = find_author(os.environ, settings, user=find_user(), host=socket.gethostname())
    lock = os.environ.get(LOCK_VARIABLE)
    return Workspace(
        places,
        author=author,
        run=os.environ.get(RUN_VARIABLE) or None,
        packed_below=find_packed_below(settings),
        lock=read_lock(lock) if lock else None,
    )


def find_user() -> str:
    """Return the name of this user; the number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's user need not have a name
