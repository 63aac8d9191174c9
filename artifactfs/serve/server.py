"""Serving the application on a socket, until it is interrupted.

Used by the command line. Threading: the main thread; signals end it.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import uvicorn

from artifactfs.errors import ArtifactFSError, UsageError, translate_os_error
from artifactfs.repository.trees import Trees
from artifactfs.runs.history import RunLog
from artifactfs.runs.lineage import open_lineage
from artifactfs.serve.application import make_application
from artifactfs.serve.context import Context
from artifactfs.serve.guard import Access
from artifactfs.serve.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.mount.options import Places
    from artifactfs.repository.repository import Repository

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
TOKEN_BYTES: Final = 24
TREES_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Serving:
    """What is served where.

    Attributes:
        host: the address or name to listen on.
        port: the port; 0 takes one that is free.
        may_write: whether anything may be changed.
        token: what must be known; empty makes one where one is needed.
        hosts: further names that the server is called by.
    """

    host: str
    port: int
    may_write: bool
    token: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @cached_property
    def secret(self) -> str:
        """The token that is required; empty when none is."""
        if self.token or (self.is_local and not self.may_write):
            return self.token
        return secrets.token_urlsafe(TOKEN_BYTES)


def listen(serving: Serving) -> socket.socket:
    """Return a socket that listens where it is to.

    Raises:
        UsageError: there is no such host.
        ArtifactFSError: the port is taken, or may not be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(serving.host, serving.port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        msg = f"there is no host {serving.host!r}"
        raise UsageError(msg, hint="--host takes an address of this machine") from error
    # With the protocol: asyncio sets TCP_NODELAY on no other, and an answer of two writes then waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise translate_os_error(error, doing=f"listening on {serving.host}:{serving.port}") from error
    return listener


def format_url(serving: Serving, listener: socket.socket) -> str:
    """Return the address to open, with the token where one is required."""
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 (nothing is bound here)
    token = f"?token={serving.secret}" if serving.secret else ""
    return f"http://{host}:{listener.getsockname()[1]}/{token}"


@contextmanager
def open_context(
    repository: Repository, places: Places, *, cache: DiskCache | None, may_write: bool
) -> Iterator[Context]:
    """Open what the operations work on, and close it afterwards."""
    runs = RunLog(repository.store, clock=repository.clock, random=os.urandom, host=socket.gethostname())
    with open_lineage(repository, runs) as lineage:
        yield Context(
            repository=repository,
            trees=Trees(repository.blobs, cache_size=TREES_BYTES),
            runs=runs,
            lineage=lineage,
            places=places,
            cache=cache,
            csrf=secrets.token_urlsafe(TOKEN_BYTES),
            may_write=may_write,
            looks=Looks(repository),
        )


def serve(context: Context, serving: Serving, listener: socket.socket, *, on_start: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Args:
        context: what is served.
        serving: where.
        listener: from `listen`; closed at the end.
        on_start: called when connections are taken.
    """
    port = listener.getsockname()[1]
    names = {name.lower() for name in (*serving.hosts, serving.host)}
    access = Access(serving.secret, context.csrf, frozenset(names), cookie=f"artifactfs-{port}")
    config = uvicorn.Config(
        make_application(context, access),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    with closing(listener), looking_ahead(context.looks):
        on_start()
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def looking_ahead(looks: Looks) -> Iterator[None]:
    """Look at all collections meanwhile: whoever opens the first page need not wait until ten thousand were read."""
    ended = threading.Event()

    def look() -> None:
        with suppress(ArtifactFSError):  # whoever asks is told
            looks.look_ahead(lambda: not ended.is_set())

    thread = threading.Thread(target=look, name="looking ahead", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
