"""What one run of the command line was told by its global options and by the environment.

Threading: belongs to the main thread.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import click

from .interrupting import end_soon_when_interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from artifactfs.blobstore.connecting import RemoteOptions
    from artifactfs.mount.spare import Spare
    from artifactfs.places import Places
    from artifactfs.reference.references import References
    from artifactfs.repository.format import Format
    from artifactfs.repository.repository import Repository


@dataclass(slots=True)
class Session:
    """The global options of one run, and what follows from them.

    Attributes:
        repo: location of the repository; None takes that of the environment or configuration.
        offline: never use the network.
        json: print JSON.
        quiet: print no notes.
        verbose: print more notes, and the traceback of errors.
        yes: take every question as answered with yes.
    """

    repo: str | None = None
    offline: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    yes: bool = False
    _places: Places | None = field(default=None, repr=False)

    @property
    def places(self) -> Places:
        """Where things are on this machine."""
        if self._places is None:
            from artifactfs.places import find_places

            self._places = find_places(os.environ, uid=os.getuid(), repository=self.repo)
        return self._places

    def use_repository(self, location: str) -> None:
        """Use the repository at `location` from now on."""
        self.repo = location
        self._places = None

    def find_author(self) -> str:
        """Return who this run's changes are recorded as made by."""
        from artifactfs.places import find_author
        from artifactfs.settings import load_settings

        return find_author(os.environ, load_settings(os.environ), user=_user_name(), host=os.uname().nodename)

    def find_remote(self, location: str | None = None, *, keeps: bool = True) -> RemoteOptions:
        """Return how to speak to the object store of a repository. What services' files say goes into the environment.

        Args:
            location: of a repository; None is the one of this session.
            keeps: whether what was fetched is kept, and taken instead of what the store has.

        Raises:
            ConfigurationError: the settings of the service cannot be used.
        """
        from artifactfs.blobstore.connecting import RemoteOptions
        from artifactfs.blobstore.locations import is_remote

        self._export_offline()
        where = location or self.places.repository
        if not is_remote(where):
            return RemoteOptions()
        end_soon_when_interrupted()
        options = self.find_served(keeps=keeps)
        if not options.offline:
            options.check_usable(where.partition("://")[0])
        return options

    def find_served(self, *, keeps: bool = True) -> RemoteOptions:
        """Return how a server of this user speaks to services: also one of a local repository reads references.

        What services' files say goes into the environment, where a server finds it.
        """
        from artifactfs.credentials import find_remote_options
        from artifactfs.settings import load_settings

        self._export_offline()
        places = self.places
        cache = places.cache if keeps else ""
        options = find_remote_options(os.environ, load_settings(os.environ), cache=cache, state=places.state)
        os.environ.update({name.upper(): value for name, value in options.config.items()})
        return options

    def _export_offline(self) -> None:
        """Tell servers, and what reads references, of which a local repository has some, too."""
        os.environ.update({"ARTIFACTFS_OFFLINE": "1"} if self.offline else {})

    def find_followed(self, *, for_others: bool) -> tuple[str, ...]:
        """Return the URI prefixes below which a server of this user follows references."""
        from artifactfs.credentials import find_followed
        from artifactfs.settings import load_settings

        return find_followed(load_settings(os.environ), for_others=for_others)

    @contextmanager
    def open_repository(
        self, location: str | None = None, *, create: bool = False, keeps: bool = True, like: Format | None = None
    ) -> Iterator[Repository]:
        """Open a repository, and close it afterwards; `location` and `keeps` are as in `find_remote`.

        Args:
            location: of the repository.
            create: whether to make it where there is none.
            keeps: whether what was fetched is kept.
            like: the format of a repository of which a new one is a clone.

        Raises:
            NotFoundError: there is none, and `create` is False.
            ArtifactFSError: it cannot be opened.
        """
        from artifactfs.repository.repository import open_repository
        from artifactfs.settings import find_packed_below, load_settings

        places = self.places
        repository = open_repository(
            location or places.repository,
            state=places.state,
            author=self.find_author(),
            create=create,
            like=like,
            packed_below=find_packed_below(load_settings(os.environ)),
            remote=self.find_remote(location, keeps=keeps),
            references=partial(_find_references, places.cache if keeps else ""),
        )
        repository.exclusion.tell = self.note
        with repository:
            self.explain(f"repository {repository.location}")
            yield repository

    def start_ahead(self, kind: str, *, is_wanted: bool) -> AbstractContextManager[Spare | None]:
        """Start a server beside this command, which finds out meanwhile what is to be served; it ends if not taken.

        Not for a remote repository: what it needs is in the environment only when that has been opened.

        Args:
            kind: what it will serve: `repository` or `staging`.
            is_wanted: whether to start one at all.
        """
        from artifactfs.blobstore.locations import is_remote

        if not is_wanted or is_remote(self.places.repository):
            return nullcontext()
        from artifactfs.mount.spare import start_spare

        self.find_served()  # its environment
        return start_spare(kind)

    def note(self, text: str) -> None:
        """Print a line for people on standard error, unless --quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def explain(self, text: str) -> None:
        """Print a line on standard error with --verbose."""
        if self.verbose:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Print a line on standard error that --quiet does not silence."""
        click.echo(f"artifactfs: {text}", err=True)

    def confirm(self, question: str) -> None:
        """Return if the user says yes.

        Raises:
            UsageError: nobody is there to be asked, and --yes was not given.
            InterruptedByUserError: the answer was no.
        """
        from artifactfs.errors import InterruptedByUserError, UsageError

        if self.yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            msg = f"not asked without a terminal: {question}"
            raise UsageError(msg, hint="--yes answers it")
        if not click.confirm(question, err=True):
            msg = "not confirmed; nothing was done"
            raise InterruptedByUserError(msg)


def current_session() -> Session:
    """Return the session of the command that is running."""
    return click.get_current_context().find_root().ensure_object(Session)


def _find_references(cache: str) -> References:
    from artifactfs.credentials import find_references
    from artifactfs.settings import load_settings

    return find_references(os.environ, load_settings(os.environ), cache=cache)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER") or str(os.getuid())
