"""The plugin's socket, and what goes on behind it.

Used by the command line. Threading: `run` in the main thread; calls in threads of grpc.

Source: Container Storage Interface 1.11, "RPC Protocol"; the messages are built by `schema`.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from concurrent import futures
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from artifactfs.errors import ArtifactFSError, BusyError, UsageError
from artifactfs.serve.csi.daemon import OneMount
from artifactfs.serve.csi.publishing import Publisher
from artifactfs.serve.csi.schema import PACKAGE, SERVICES, Messages
from artifactfs.serve.csi.services import Services
from artifactfs.serve.csi.table import Table

if TYPE_CHECKING:
    from artifactfs.mount.options import MountOptions, Places
    from artifactfs.repository.repository import Repository
    from artifactfs.serve.csi.services import Names

_log = logging.getLogger(__name__)
_SCHEME: Final = "unix://"
_THREADS: Final = 8
_LOOK_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 5.0
FOLDER: Final = "csi"


def parse_endpoint(text: str) -> str:
    """Return the path of an endpoint.

    Raises:
        UsageError: it is no Unix socket.

    >>> parse_endpoint("unix:///csi/csi.sock")
    '/csi/csi.sock'
    """
    path = text.removeprefix(_SCHEME) if text.startswith(_SCHEME) else text.removeprefix("unix:")
    if not os.path.isabs(path):
        msg = f"the endpoint {text} is not a Unix socket"
        raise UsageError(msg, hint="write unix:///PATH")
    return path


class Server:
    """The plugin.

    Threading: see the module.
    """

    def __init__(
        self, places: Places, repository: Repository, *, names: Names, mountpoint: str, options: MountOptions
    ) -> None:
        self._messages = Messages()
        mount = OneMount(places, mountpoint, options)
        table = Table(os.path.join(repository.state_directory, FOLDER))
        publisher = Publisher(places, repository, mount, table)
        self._ahead = publisher.ahead
        self._services = Services(self._messages, names, repository, mount, publisher)
        self._stopping = threading.Event()
        self._orphans: set[int] = set()

    def run(self, endpoint: str) -> None:
        """Mount, bind again what was published, and answer until SIGTERM or SIGINT.

        What is published stays when it ends.

        Raises:
            UsageError: the endpoint is no Unix socket.
            BusyError: another process answers there.
            ArtifactFSError: the repository cannot be mounted.
        """
        path = parse_endpoint(endpoint)
        _clear_socket(path)
        self._services.repair()
        self._ahead.prepare()
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS), handlers=[self._handlers(name) for name in SERVICES])
        server.add_insecure_port(f"unix:{path}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        server.start()
        os.chmod(path, 0o600)
        _log.info("answering at %s", path)
        while not self._stopping.wait(_LOOK_SECONDS):
            self._orphans = reap_orphans(self._orphans)
            try:
                self._services.watch()
            except ArtifactFSError as error:
                _log.error("the mount cannot be made again: %s", error)
        server.stop(_GRACE_SECONDS).wait()
        self._ahead.close()
        with suppress(FileNotFoundError):
            os.unlink(path)

    def _handlers(self, service: str) -> Any:
        handlers = {
            call: grpc.unary_unary_rpc_method_handler(
                partial(self._services.handle, call),
                request_deserializer=self._messages[f"{call}Request"].FromString,
                response_serializer=self._messages[f"{call}Response"].SerializeToString,
            )
            for call in SERVICES[service]
        }
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)


def reap_orphans(seen: set[int]) -> set[int]:
    """Reap ended processes that nobody waits for; return those that ended just now.

    The first process of a container inherits servers of mounts. Who is waited for is gone at the next look.

    Args:
        seen: what the last look returned.
    """
    ended = {pid for pid in _children() if _has_ended(pid)}
    for pid in ended & seen:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return ended - seen


def _children() -> list[int]:
    pids: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            pids += [int(word) for word in path.read_text().split()]
    return pids


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _clear_socket(path: str) -> None:
    """Remove the socket of an earlier process.

    Raises:
        BusyError: somebody answers at it.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except OSError:
            os.unlink(path)
            return
    msg = f"another process answers at {path}"
    raise BusyError(msg, subject=path)
