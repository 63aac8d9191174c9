"""The control socket: one JSON object a line, asked and answered, on a Unix socket of mode 0600.

A request is `{"do": NAME, ...}`, an answer `{"ok": true, ...}` or `{"error": CLASS, "message": ..., "hint": ...}`.
What a connection holds (a freeze) ends with it, so a client that dies leaves nothing behind.

Used by `daemon` (the server), `freezing` and `launch` (clients).

Threading: the server has a thread for itself and one for each connection.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, Self

from artifactfs import errors
from artifactfs.errors import ArtifactFSError, MountError
from artifactfs.mount.sockets import bind_socket, connect_socket

_log = logging.getLogger(__name__)

Message = dict[str, Any]
_LINE_LIMIT = 1 << 20
# libfuse waits for these in the main thread; delivered to another they would be seen too late.
MAIN_THREAD_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Session(Protocol):
    """What one connection can ask."""

    def handle(self, request: Message) -> Message:
        """Return the answer's fields; an `ArtifactFSError` becomes an error answer."""

    def close(self) -> None:
        """Give up what the connection held."""


class ControlServer:
    """Answers on a socket until it is closed.

    Threading: `start` and `close` from one thread; sessions run in threads of their own.
    """

    def __init__(self, path: str, make_session: Callable[[], Session]) -> None:
        """Store where to listen and what makes the session of a connection."""
        self._path = path
        self._make_session = make_session
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        """Listen, and answer in the background.

        Raises:
            MountError: the socket cannot be made.
        """
        listen_at(self._socket, self._path)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Connections end with the process."""
        # shutdown wakes the thread that waits in accept; close alone does not.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_THREAD_SIGNALS)
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), name="control-session", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        session = self._make_session()
        try:
            with connection, connection.makefile("rwb") as stream:
                while line := stream.readline(_LINE_LIMIT):
                    stream.write(answer_line(session, line))
                    stream.flush()
        except OSError:
            _log.debug("a control connection broke off")
        finally:
            session.close()


def listen_at(listener: socket.socket, path: str) -> None:
    """Make `listener` listen at a path that only this user may connect to.

    Raises:
        MountError: the socket cannot be made.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        previous = os.umask(0o177)
        try:
            bind_socket(listener, path)
        finally:
            os.umask(previous)
        listener.listen(64)
    except OSError as error:
        msg = f"the control socket {path} cannot be made: {error.strerror or error}"
        raise MountError(msg, hint="ARTIFACTFS_RUNTIME says where sockets are made", subject=path) from error


def answer_line(session: Session, line: bytes) -> bytes:
    """Return the line that answers a line."""
    return encode_line(_answer(session, line))


def _answer(session: Session, line: bytes) -> Message:
    try:
        request = json.loads(line)
        if not isinstance(request, dict) or not isinstance(request.get("do"), str):
            return {"error": "UsageError", "message": "a request is an object with the member do", "hint": ""}
        return {"ok": True, **session.handle(request)}
    except ValueError:
        return {"error": "UsageError", "message": "the request is not JSON", "hint": ""}
    except ArtifactFSError as error:
        return encode_error(error)
    except Exception as error:  # noqa: BLE001  (a bug must not end the server)
        _log.exception("a control request failed unexpectedly")
        return {"error": "ArtifactFSError", "message": f"{type(error).__name__}: {error}", "hint": ""}


def encode_line(message: Message) -> bytes:
    """Return a request or an answer as a line."""
    return json.dumps(message).encode("ascii") + b"\n"


def encode_error(error: ArtifactFSError) -> Message:
    """Return an error as the fields of an answer."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "subject": error.subject}


def decode_error(message: Message) -> ArtifactFSError:
    """Return the error that an answer's fields stand for."""
    kind = getattr(errors, str(message.get("error")), None)
    error_class = kind if isinstance(kind, type) and issubclass(kind, ArtifactFSError) else MountError
    return error_class(
        str(message.get("message", "")), hint=str(message.get("hint", "")), subject=str(message.get("subject", ""))
    )


class ControlClient:
    """One connection to a control socket; a context manager.

    Threading: one thread at a time.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Store the connection."""
        self._connection = connection
        self._stream = connection.makefile("rwb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and with it what it holds at the server."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._connection.close()

    def ask(self, do: str, **fields: str | float) -> Message:
        """Return the answer to a request.

        Raises:
            ArtifactFSError: what the server answered, of its class.
            MountError: the server went away or did not answer in time.
        """
        try:
            self._stream.write(encode_line({"do": do, **fields}))
            self._stream.flush()
            line = self._stream.readline(_LINE_LIMIT)
        except OSError as error:
            msg = f"the server of the mount did not answer {do!r}: {error.strerror or error}"
            raise MountError(msg) from error
        if not line:
            msg = f"the server of the mount ended while it was asked {do!r}"
            raise MountError(msg, hint="mount again; nothing was lost")
        answer: Message = json.loads(line)
        if "error" in answer:
            raise decode_error(answer)
        return answer


def find_client(path: str, *, timeout_seconds: float = 30.0) -> ControlClient | None:
    """Return a connection to a control socket, or None when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_seconds)
    try:
        connect_socket(connection, path)
    except OSError:
        connection.close()
        return None
    return ControlClient(connection)
