"""Freezing a staging directory while it is committed, through the process that serves it.

Used by `api`; the repository's commit calls it as its `Freezer`.

Threading: any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from artifactfs.errors import BusyError, MountError, UsageError
from artifactfs.mount.control import ControlClient, find_client
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.options import Places
from artifactfs.mount.overlay.lingering import LINGERING_HINT, is_lingering
from artifactfs.mount.registry import is_served, slot_for, staging_mountpoint
from artifactfs.repository.staged import Staging


class MountFreezer:
    """Freezes a staging directory through the process that serves it, if one does.

    Threading: any thread.
    """

    def __init__(self, places: Places, repository_id: str) -> None:
        """Store where the sockets are."""
        self._places = places
        self._repository_id = repository_id

    @contextmanager
    def freeze(self, staging: Staging) -> Iterator[Callable[[], None] | None]:
        """Keep everything in a staging directory as it is for as long as the context lasts.

        Programs that change something wait. If this process dies the server goes on by itself. Gives what verifies
        that the freeze has held until now (BusyError: it has not), or None when nothing serves the staging directory.

        Raises:
            BusyError: files are open for writing; the message names process, command and file.
            MountError: the server does not answer.
        """
        own = staging_mountpoint(self._places, self._repository_id, collection=staging.collection, name=staging.name)
        slot = slot_for(self._places, own)
        client = find_client(slot.socket)
        if client is None:
            line = find_mount(own)
            if is_served(slot) or (line is not None and line.is_overlay):
                msg = f"the server of {staging.collection}:@{staging.name} is just starting or ending"
                raise BusyError(msg, hint="run the same command again")
            if is_lingering(staging):
                msg = f"{staging.collection}:@{staging.name} was unmounted, and is still in use by who stood inside"
                raise BusyError(msg, hint=LINGERING_HINT)
            yield None
            return
        with client:
            client.ask("freeze", asker=os.getpid())
            try:
                yield lambda: _verify(client, staging)
            finally:
                # Awaited, or who writes next would find an overlay read-only still.
                with suppress(MountError):  # a server that has ended meanwhile holds nothing; what was done is done
                    client.ask("thaw")


def _verify(client: ControlClient, staging: Staging) -> None:
    """Return if the server that froze still does: the connection is that server's, and the freeze ends with it.

    Raises:
        BusyError: it has ended, or what it serves is not frozen.
    """
    try:
        client.ask("verify")
    except UsageError:
        return  # a server of an earlier release: it lives, and holds the freeze
    except MountError as error:
        msg = f"the server of {staging.collection}:@{staging.name} ended during the commit; there is no new version"
        raise BusyError(msg, hint="run the same command again: what is in it is as it was") from error
