"""The control socket: answers, errors of their class, and what a connection holds ends with it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.errors import ArtifactFSError, BusyError, MountError, UsageError
from artifactfs.mount.control import ControlServer, Message, decode_error, encode_error, find_client


class Holder:
    """A session that holds something while its connection lives."""

    held = threading.Semaphore(0)
    given_up = threading.Semaphore(0)

    def handle(self, request: Message) -> Message:
        if request["do"] == "refuse":
            raise BusyError("it is in use", hint="wait", subject="x")
        if request["do"] == "fail":
            raise ZeroDivisionError
        self.held.release()
        return {"echo": request}

    def close(self) -> None:
        self.given_up.release()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    server = ControlServer(str(tmp_path / "sock"), Holder)
    server.start()
    yield str(tmp_path / "sock")
    server.close()


def test_only_its_user_may_connect(path: str) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_socket_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    server = ControlServer(str(tmp_path / "none" / "sock"), Holder)
    with pytest.raises(MountError, match="cannot be made") as failed:
        server.start()
    server.close()
    assert "ARTIFACTFS_RUNTIME" in failed.value.hint


@pytest.mark.parametrize("length", [107, 108, 1000])
def test_its_path_may_be_long(tmp_path: Path, length: int) -> None:
    folder = str(tmp_path)
    while len(folder) < length - 210:
        folder += "/" + "d" * 200
    folder += "/" + "d" * (length - len(folder) - len("//sock"))
    os.makedirs(folder)
    server = ControlServer(f"{folder}/sock", Holder)
    server.start()
    client = find_client(f"{folder}/sock")
    assert client is not None
    with client:
        assert client.ask("hold")["ok"]
    server.close()
    assert stat.S_IMODE(os.stat(f"{folder}/sock").st_mode) == 0o600


def test_answers(path: str) -> None:
    client = find_client(path)
    assert client is not None
    with client:
        assert client.ask("hold", name="odd-\udcff")["echo"] == {"do": "hold", "name": "odd-\udcff"}
        assert client.ask("hold")["ok"] is True


def test_an_error_keeps_its_class(path: str) -> None:
    client = find_client(path)
    assert client is not None
    with client, pytest.raises(BusyError) as caught:
        client.ask("refuse")
    assert (caught.value.message, caught.value.hint, caught.value.subject) == ("it is in use", "wait", "x")


def test_a_bug_does_not_end_the_server(path: str) -> None:
    client = find_client(path)
    assert client is not None
    with client:
        with pytest.raises(ArtifactFSError, match="ZeroDivisionError"):
            client.ask("fail")
        assert client.ask("hold")["ok"] is True


def test_what_is_held_ends_with_the_connection(path: str) -> None:
    client = find_client(path)
    assert client is not None
    while Holder.given_up.acquire(blocking=False):
        pass
    client.ask("hold")
    assert not Holder.given_up.acquire(blocking=False)
    client.close()
    assert Holder.given_up.acquire(timeout=10)


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b'{"do": 1}\n', b"\xff\n"])
def test_malformed_requests_are_answered(path: str, line: bytes) -> None:
    client = find_client(path)
    assert client is not None
    with client:
        client._stream.write(line)
        client._stream.flush()
        assert b"UsageError" in client._stream.readline()


def test_nobody_listens(tmp_path: Path) -> None:
    assert find_client(str(tmp_path / "none")) is None


def test_errors_survive_the_way(path: str) -> None:
    error = decode_error(encode_error(UsageError("wrong", hint="right")))
    assert (type(error), error.message, error.hint) == (UsageError, "wrong", "right")
    assert isinstance(decode_error({"error": "Exception", "message": "?"}), MountError)
