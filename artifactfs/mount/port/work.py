"""One request through the socket in a mount: `python -m artifactfs.mount.port.work ORDER REPOSITORY-ID DESCRIPTOR`.

It finds out who asks, asks the kernel whether that user may, does it with the repository and the credentials of the
mount's server, answers and ends. When whoever asked has gone, what was begun is finished all the same.

Run by `listening`. Threading: one thread until the user has been checked.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import AccessDeniedError, ArtifactFSError, BusyError, MountError, UsageError
from artifactfs.mount.control import answer_line, encode_line
from artifactfs.mount.following import references_of, remote_of
from artifactfs.mount.freezing import MountFreezer
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.orders import Order
from artifactfs.mount.port.attributing import find_run
from artifactfs.mount.port.messages import BEGUN, decode_options, encode_changes, encode_commit
from artifactfs.mount.port.peers import Peer, may_access, read_peer
from artifactfs.mount.registry import staging_mountpoint
from artifactfs.mount.staging_ending import end_staging
from artifactfs.paths import check_collection_name, check_staging_name
from artifactfs.repository.repository import open_repository
from artifactfs.repository.staged import describe, expecting_base
from artifactfs.repository.staging import StagingArea
from artifactfs.repository.sweeping import sweep_scratch
from artifactfs.runs.history import RunLog
from artifactfs.runs.outputs import in_run, note_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.mount.control import Message
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

REQUEST_SECONDS: Final = 10.0
REQUEST_LIMIT: Final = 1 << 20


class PortSession:
    """What one connection asks; a `control.Session`. Belongs to the only thread."""

    def __init__(self, order: Order, *, repository_id: str, peer: Peer) -> None:
        self._order = order
        self._repository_id = repository_id
        self._peer = peer

    def handle(self, request: Message) -> Message:
        """Answer `commit`, `changes`, `describe` and `discard`."""
        collection = check_collection_name(str(request.get("collection", "")))
        name = check_staging_name(str(request.get("staging", "")))
        do = request["do"]
        with self._checked(collection, name) as (may_read, may_write, is_owner):
            if do == "commit":
                _require(may_write, "commit", collection, name)
                _require(is_owner or not request.get("close"), "close", collection, name)
            elif do in ("changes", "describe"):
                _require(may_read, "look into", collection, name)
            elif do == "discard":
                _require(is_owner, "discard", collection, name)
            else:
                msg = f"the socket in this mount does not know {do!r}"
                raise UsageError(msg)
        with self._opened() as repository:
            area = StagingArea(repository)
            staging = area.get(collection, name)
            return getattr(self, f"_{do}")(repository, area, staging, request)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Hold nothing."""

    @contextmanager
    def _checked(self, collection: str, name: str) -> Iterator[tuple[bool, bool, bool]]:
        """Give whether the user may read and write the staging directory's root, and whether it owns it."""
        own = self._find_top(collection, name)
        if find_mount(own) is None:
            msg = f"there is no staging directory {collection}:@{name} in this mount"
            raise MountError(msg, hint="it is made outside, by `artifactfs stage`")
        descriptor = os.open(own, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            owner = os.fstat(descriptor).st_uid
            reading = may_access(self._peer, descriptor, os.R_OK | os.X_OK)
            try:
                writing = may_access(self._peer, descriptor, os.W_OK | os.X_OK)
            except OSError as error:
                msg = f"{collection}:@{name} is being committed already"
                raise BusyError(msg, hint="wait for the other commit") from error
            yield reading, writing, self._peer.uid in (owner, 0)
        finally:
            os.close(descriptor)

    def _find_top(self, collection: str, name: str) -> str:
        return staging_mountpoint(self._order, self._repository_id, collection=collection, name=name)

    @contextmanager
    def _opened(self) -> Iterator[Repository]:
        order = self._order
        is_other = self._peer.uid != os.geteuid()
        author = f"{self._peer.name}@{os.uname().nodename}" if is_other else order.author
        with open_repository(
            order.repository,
            state=order.state,
            author=author,
            remote=remote_of(order),
            references=references_of(order),
        ) as repository:
            yield repository

    def _commit(self, repository: Repository, area: StagingArea, staging: Staging, request: Message) -> Message:
        options = decode_options(request.get("options"))
        if request.get("expect_base"):
            options = expecting_base(options, staging)
        runs = RunLog(repository.store, clock=repository.clock, random=os.urandom, host=socket.gethostname())
        run, refused = find_run(repository.state_directory, runs, self._peer, str(request.get("run") or ""))
        if run is not None:
            options = in_run(repository.state_directory, runs, run, options)
            area = StagingArea(repository, run=run)
        done = area.commit(staging, options, freezer=MountFreezer(self._order, repository.id))
        # As whoever serves it: what another user's restore has left goes, too.
        sweep_scratch(os.fsencode(self._find_top(staging.collection, staging.name)), done.scratch)
        if run is not None:
            note_output(runs, run, done.result)
        closed = False
        if request.get("close"):
            end_staging(self._order, repository, done.staging, area, unless_changed=True)
            closed = True
        return encode_commit(done, location=repository.location, closed=closed, run=run, run_refused=refused)

    def _changes(self, repository: Repository, area: StagingArea, staging: Staging, request: Message) -> Message:
        del repository, request
        return encode_changes(area.changes(staging), since=_find_compared(staging), fields=describe(staging))

    def _describe(self, repository: Repository, area: StagingArea, staging: Staging, request: Message) -> Message:
        del repository, area, request
        return encode_changes([], since=_find_compared(staging), fields=describe(staging))

    def _discard(self, repository: Repository, area: StagingArea, staging: Staging, request: Message) -> Message:
        if not request.get("sure"):
            with suppress(ArtifactFSError):  # a damaged one must be possible to discard, too
                return {"changes": len(area.changes(staging))}
        end_staging(self._order, repository, staging, area)
        return {"removed": str(staging)}


def _find_compared(staging: Staging) -> str | None:
    """Return the version that a staging directory is compared with, as `NAME:vN`; None for nothing."""
    number = staging.info.present
    return None if number is None else f"{staging.collection}:v{number}"


def _require(allowed: bool, doing: str, collection: str, name: str) -> None:  # noqa: FBT001 - the only argument
    if not allowed:
        who = {"commit": "who may write", "look into": "who may read"}.get(doing, "who owns")
        msg = f"this user may not {doing} {collection}:@{name}"
        raise AccessDeniedError(msg, hint=f"only {who} its root directory may do that")


def _converse(connection: socket.socket, session_of: Any) -> None:
    connection.settimeout(REQUEST_SECONDS)
    with connection, connection.makefile("rwb") as stream:
        line = stream.readline(REQUEST_LIMIT)
        if not line.endswith(b"\n"):
            return
        connection.settimeout(None)
        stream.write(encode_line(BEGUN))
        stream.flush()
        stream.write(answer_line(session_of, line))
        stream.flush()


def main(arguments: list[str]) -> int:
    """Answer one connection; return the exit code."""
    text, repository_id, descriptor = arguments
    connection = socket.socket(fileno=int(descriptor))
    order = replace(Order.decode(text), ready_descriptor=None)
    with suppress(OSError):  # it has gone
        session = PortSession(order, repository_id=repository_id, peer=read_peer(connection))
        _converse(connection, session)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
