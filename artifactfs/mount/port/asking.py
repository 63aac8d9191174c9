"""Asking through the socket in a mount that somebody else has made.

Used by `api`, for the command line. Threading: functions and immutable values.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from artifactfs.errors import MountError
from artifactfs.mount.control import decode_error, encode_line
from artifactfs.mount.mountinfo import FSTYPE, read_mounts
from artifactfs.mount.port.messages import BEGUN, ChangesAnswer, CommitAnswer, encode_options
from artifactfs.mount.port.place import NAME, SOCKET
from artifactfs.mount.sockets import connect_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from artifactfs.mount.control import Message
    from artifactfs.repository.commit import CommitOptions

CONNECT_SECONDS: Final = 15.0
"""For this long nobody may listen: a keeper is started again."""
_PAUSE_SECONDS: Final = 0.05
_Answer = TypeVar("_Answer", CommitAnswer, ChangesAnswer)


@dataclass(frozen=True, slots=True)
class Port:
    """The socket of a mount.

    Attributes:
        mountpoint: the mount's root, as it is seen from here.
    """

    mountpoint: str

    def commit(
        self, collection: str, staging: str, options: CommitOptions, *, expect_base: bool, close: bool, run: str = ""
    ) -> CommitAnswer:
        """Commit a staging directory, in the run `run` if the other end believes that; see `attributing`.

        Raises:
            AccessDeniedError: this user may not write its root directory.
            ArtifactFSError: as `StagingArea.commit`.
            MountError: nobody answers.
        """
        said = self._ask(
            {
                "do": "commit",
                "collection": collection,
                "staging": staging,
                "options": encode_options(options),
                "expect_base": expect_base,
                "close": close,
                "run": run,
            }
        )
        return _convert(said, CommitAnswer)

    def find_changes(self, collection: str, staging: str) -> ChangesAnswer:
        """Return what differs in a staging directory from the version that it is compared with.

        Raises:
            AccessDeniedError: this user may not read its root directory.
            ArtifactFSError: as `StagingArea.changes`.
            MountError: nobody answers.
        """
        said = self._ask({"do": "changes", "collection": collection, "staging": staging})
        return _convert(said, ChangesAnswer)

    def discard(self, collection: str, staging: str, *, sure: bool) -> int:
        """Remove a staging directory, or unless `sure` return how many uncommitted changes would be lost.

        Raises:
            AccessDeniedError: this user does not own its root directory.
            BusyError: a process uses it.
            MountError: nobody answers.
        """
        said = self._ask({"do": "discard", "collection": collection, "staging": staging, "sure": sure})
        return int(said.get("changes", 0))

    def _ask(self, request: Message) -> Message:
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            with _connect(self.mountpoint, deadline=deadline) as connection, connection.makefile("rb") as stream:
                # Who refuses may have said so, and gone, before it was asked: that is read in any case.
                with suppress(OSError):
                    connection.sendall(encode_line(request))
                first = _read_line(stream)
                if first:
                    return _read_answer(json.loads(first), stream, self.mountpoint)
            # Whoever listened was killed before anything was done; another will.
            if time.monotonic() > deadline:
                msg = f"nobody answers in {self.mountpoint}"
                raise MountError(msg, hint="its server may have ended; commit outside", subject=self.mountpoint)
            time.sleep(_PAUSE_SECONDS)


def _read_line(stream: BufferedReader) -> bytes:
    """Return the next line; b"" when the other end has gone."""
    try:
        line = stream.readline()
    except OSError:
        return b""
    return line if line.endswith(b"\n") else b""


def _read_answer(answer: Message, stream: BufferedReader, mountpoint: str) -> Message:
    if answer == BEGUN:
        line = _read_line(stream)
        if not line:
            msg = f"whoever answers in {mountpoint} ended before it had answered"
            raise MountError(msg, hint="what was asked may have been done: see `artifactfs status`")
        answer = json.loads(line)
    if "error" in answer:
        raise decode_error(answer)
    return answer


def find_port(directory: str) -> Port | None:
    """Return the socket of the mount that a directory lies in; None when there is none.

    Only what is mounted where the socket belongs counts: a directory that anybody may write can have such a name, too.
    """
    places = {line.mountpoint for line in read_mounts() if line.is_port}
    while places:
        if os.path.join(directory, NAME) in places and _has_socket(directory):
            return Port(directory)
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above
    return None


def iter_ports() -> Iterator[Port]:
    """Yield the sockets of all mounts that can be seen from here, in the order of their mount points."""
    mounts = read_mounts()
    places = {line.mountpoint for line in mounts if line.is_port}
    for mountpoint in sorted({line.mountpoint for line in mounts if line.fstype == FSTYPE}):
        if os.path.join(mountpoint, NAME) in places and _has_socket(mountpoint):
            yield Port(mountpoint)


def _has_socket(directory: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(os.path.join(directory, NAME, SOCKET)).st_mode)
    except OSError:
        return False


def _connect(mountpoint: str, *, deadline: float) -> socket.socket:
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connect_socket(connection, os.path.join(mountpoint, NAME, SOCKET))
        except OSError as error:
            connection.close()
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > deadline:
                msg = f"nobody listens in {mountpoint}: {error.strerror}"
                raise MountError(msg, hint="its server may have ended; commit outside", subject=mountpoint) from error
        else:
            return connection
        time.sleep(_PAUSE_SECONDS)


def _convert(said: dict[str, Any], kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.convert(said.get("answer"), kind)
    except msgspec.ValidationError as error:
        msg = f"the answer does not decode: {error}"
        raise MountError(msg, hint="the programs inside and outside are of different releases") from error
