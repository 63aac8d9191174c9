"""Requests as raw bytes, on a socket in place of the device: whatever comes, the worker answers and lives."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.mount.kernel.buffers import Buffers
from artifactfs.mount.kernel.codes import CHANGES, UNIQUE_RESEND, Opcode
from artifactfs.mount.kernel.contents import Contents
from artifactfs.mount.kernel.encoding import NO_ENTRY
from artifactfs.mount.kernel.requests import Requests
from artifactfs.mount.kernel.shared import BY_OPCODE, ERRORS, RESENT, create_counters
from artifactfs.mount.kernel.structures import (
    ATTR_OUT,
    BATCH_FORGET_IN,
    ENTRY_OUT,
    GETXATTR_IN,
    IN_HEADER,
    OUT_HEADER,
    READ_IN,
)
from artifactfs.mount.kernel.worker import Worker
from artifactfs.mount.wakeups import Wakeups
from artifactfs.testing.tree_source import XATTR, open_source


class Device:
    """A worker behind a socket."""

    def __init__(self, root: Path) -> None:
        self._kernel, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
        self._device.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
        self._kernel.setblocking(False)
        self.source = open_source({"root": str(root), "uid": 5, "gid": 6})
        buffers = Buffers(1 << 20)
        self.row = create_counters().row(0)
        self.contents = Contents(self.source)
        handlers = Requests(self.source, buffers=buffers, contents=self.contents).handlers()
        self._worker = Worker(
            self._device.fileno(), buffers=buffers, handlers=handlers, row=self.row, wakeups=Wakeups(hasten=False)
        )

    def send(self, data: bytes) -> bytes | None:
        """Return the whole answer, None when there is none."""
        self._kernel.send(data)
        assert self._worker._serve_one()
        try:
            return self._kernel.recv(1 << 21)
        except BlockingIOError:
            return None

    def ask(self, opcode: int, node: int = 1, body: bytes = b"", unique: int = 77) -> tuple[int, bytes]:
        """Return (errno, payload)."""
        head = IN_HEADER.packer.pack(IN_HEADER.size + len(body), opcode, unique, node, 0, 0, 1, 0, 0)
        answer = self.send(head + body)
        assert answer is not None
        length, error, echoed = OUT_HEADER.packer.unpack_from(answer)
        assert (length, echoed) == (len(answer), unique)
        return -error, answer[OUT_HEADER.size :]

    def node(self, *names: bytes) -> int:
        node = 1
        for name in names:
            error, entry = self.ask(Opcode.LOOKUP, node, name + b"\0")
            assert error == 0
            node = ENTRY_OUT.packer.unpack(entry)[0]
            assert node, name
        return node

    def close(self) -> None:
        self.contents.close()
        self.source.close()
        self._kernel.close()
        self._device.close()


@pytest.fixture
def device(tree: Path) -> Iterator[Device]:
    device = Device(tree)
    yield device
    device.close()


def read_body(offset: int, size: int) -> bytes:
    return READ_IN.packer.pack(0, offset, size, 0, 0, 0)


def test_a_name_that_does_not_exist_has_node_0(device: Device) -> None:
    assert device.ask(Opcode.LOOKUP, 1, b"no\0") == (0, NO_ENTRY)


def test_a_name_over_255_bytes(device: Device) -> None:
    assert device.ask(Opcode.LOOKUP, 1, b"n" * 256 + b"\0") == (errno.ENAMETOOLONG, b"")
    assert device.ask(Opcode.LOOKUP, 1, b"n" * 4095 + b"\0") == (errno.ENAMETOOLONG, b"")


@pytest.mark.parametrize("body", [b"", b"\0", b"cat.txt"], ids=["none", "empty", "without-nul"])
def test_a_malformed_name(device: Device, body: bytes) -> None:
    assert device.ask(Opcode.LOOKUP, 1, body) == (errno.EINVAL, b"")


def test_an_unknown_node_is_stale(device: Device) -> None:
    for opcode, body in (
        (Opcode.LOOKUP, b"x\0"),
        (Opcode.GETATTR, bytes(16)),
        (Opcode.READLINK, b""),
        (Opcode.READ, read_body(0, 10)),
        (Opcode.READDIRPLUS, read_body(0, 4096)),
        (Opcode.LISTXATTR, GETXATTR_IN.packer.pack(0)),
    ):
        assert device.ask(opcode, 987654321, body) == (errno.ESTALE, b"")


def test_attributes_are_the_entry_s(device: Device, tree: Path) -> None:
    node = device.node(b"cat.txt")
    error, data = device.ask(Opcode.GETATTR, node, bytes(16))
    attr = dict(zip(ATTR_OUT.fields, ATTR_OUT.packer.unpack(data), strict=True))
    assert (error, attr["ino"], attr["size"], attr["uid"], attr["gid"]) == (0, node, 6000, 5, 6)
    assert attr["mtime"] * 10**9 + attr["mtimensec"] == 1_234_567_890_123_456_789


def test_reading_is_slicing(device: Device, tree: Path) -> None:
    node, data = device.node(b"images", b"large.bin"), (tree / "images/large.bin").read_bytes()
    for offset, size in ((0, 10), (5, 1 << 20), (len(data) - 3, 4096), (len(data), 10), (len(data) + 10**12, 10)):
        assert device.ask(Opcode.READ, node, read_body(offset, size)) == (0, data[offset : offset + size])


def test_reading_more_than_was_agreed_on(device: Device) -> None:
    assert device.ask(Opcode.READ, device.node(b"cat.txt"), read_body(0, 2 << 20)) == (errno.EINVAL, b"")


def test_a_file_cut_short_underneath_is_an_error_not_zeros(device: Device, tree: Path) -> None:
    node = device.node(b"cat.txt")
    with (tree / "cat.txt").open("r+b") as file:
        file.truncate(100)
    assert device.ask(Opcode.READ, node, read_body(0, 4096)) == (errno.EIO, b"")
    (tree / "cat.txt").unlink()
    assert device.ask(Opcode.READ, node, read_body(0, 4096)) == (errno.ENOENT, b"")


def test_forget_has_no_answer(device: Device) -> None:
    def request(opcode: int, body: bytes) -> bytes:
        return IN_HEADER.packer.pack(IN_HEADER.size + len(body), opcode, 0, 1, 0, 0, 0, 0, 0) + body

    assert device.send(request(Opcode.FORGET, bytes(8))) is None
    assert device.send(request(Opcode.BATCH_FORGET, BATCH_FORGET_IN.packer.pack(2) + bytes(32))) is None


@pytest.mark.parametrize("opcode", [Opcode.OPEN, Opcode.OPENDIR, Opcode.FLUSH, Opcode.INTERRUPT, Opcode.ACCESS])
def test_what_the_kernel_is_to_do_by_itself(device: Device, opcode: Opcode) -> None:
    assert device.ask(opcode, 1, bytes(32)) == (errno.ENOSYS, b"")


@pytest.mark.parametrize("opcode", [0, 7, 54, 63, 64, 4096, 436207616, 2**32 - 1])
def test_unknown_operations(device: Device, opcode: int) -> None:
    assert device.ask(opcode, 1, b"whatever") == (errno.ENOSYS, b"")


@pytest.mark.parametrize("opcode", sorted(CHANGES))
def test_changes_are_refused(device: Device, opcode: int) -> None:
    assert device.ask(opcode, 1, bytes(64)) == (errno.EROFS, b"")


def test_attributes_by_name(device: Device) -> None:
    def ask(name: bytes, room: int) -> tuple[int, bytes]:
        return device.ask(Opcode.GETXATTR, 1, GETXATTR_IN.packer.pack(room) + name + b"\0")

    assert ask(XATTR, 0) == (0, struct.pack("=II", 1, 0))
    assert ask(XATTR, 1) == (0, b"1")
    assert ask(b"user.artifactfs.other", 100) == (errno.ENODATA, b"")
    assert ask(b"system.posix_acl_access", 100) == (errno.ENODATA, b"")
    listing = XATTR + b"\0"
    assert device.ask(Opcode.LISTXATTR, 1, GETXATTR_IN.packer.pack(0)) == (0, struct.pack("=II", len(listing), 0))
    assert device.ask(Opcode.LISTXATTR, 1, GETXATTR_IN.packer.pack(100)) == (0, listing)
    assert device.ask(Opcode.LISTXATTR, 1, GETXATTR_IN.packer.pack(3)) == (errno.ERANGE, b"")


def test_space(device: Device) -> None:
    error, data = device.ask(Opcode.STATFS)
    assert (error, struct.unpack_from("=QQQ", data)) == (0, (1000, 500, 400))


def test_short_requests(device: Device) -> None:
    assert device.send(b"\0") is None
    assert device.send(bytes(IN_HEADER.size - 1)) is None
    for opcode in (Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.GETXATTR, Opcode.LISTXATTR):
        assert device.ask(opcode, 1, b"1234") == (errno.EINVAL, b"")


def test_a_length_that_is_not_true(device: Device) -> None:
    head = IN_HEADER.packer.pack(4000, Opcode.GETATTR, 5, 1, 0, 0, 1, 0, 0)
    answer = device.send(head)
    assert answer is not None
    assert OUT_HEADER.packer.unpack(answer) == (OUT_HEADER.size, -errno.EIO, 5)


def test_a_request_that_is_sent_again_is_answered_under_its_new_name(device: Device) -> None:
    error, _ = device.ask(Opcode.GETATTR, 1, bytes(16), unique=UNIQUE_RESEND | 6)
    assert error == 0
    assert device.row[RESENT] == 1


def test_counts(device: Device) -> None:
    device.ask(Opcode.GETATTR, 1, bytes(16))
    device.ask(Opcode.GETATTR, 5555, bytes(16))
    assert (device.row[BY_OPCODE + Opcode.GETATTR], device.row[ERRORS]) == (2, 0)


def test_errors_are_those_that_are_logged(
    device: Device, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ask in (
        (Opcode.GETXATTR, 1, GETXATTR_IN.packer.pack(0) + b"system.posix_acl_access\0"),
        (Opcode.OPENDIR, 1, bytes(8)),
        (Opcode.UNLINK, 1, b"cat.txt\0"),
        (Opcode.LOOKUP, 5555, b"a\0"),
    ):
        assert device.ask(*ask)[0]
    assert device.row[ERRORS] == 0

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr(type(device.source), "find_attributes", fail)
    assert device.ask(Opcode.GETATTR, 1, bytes(16))[0] == errno.EIO
    monkeypatch.undo()
    assert device.ask(Opcode.GETATTR, 1, bytes(16))[0] == 0  # an error counts once
    assert device.row[ERRORS] == 1 == sum(record.levelname == "ERROR" for record in caplog.records)


def test_directories_in_pieces(device: Device, tree: Path) -> None:
    for opcode in (Opcode.READDIR, Opcode.READDIRPLUS):
        names, offset = [], 0
        while True:
            error, data = device.ask(opcode, 1, read_body(offset, 460))
            assert error == 0
            if not data:
                break
            found = list(_names(data, plus=opcode == Opcode.READDIRPLUS))
            names += [name for name, _ in found]
            offset = found[-1][1]
        assert names == [b".", b"..", *sorted(os_names(tree))]


def os_names(tree: Path) -> list[bytes]:
    import os

    return os.listdir(os.fsencode(tree))


def _names(data: bytes, *, plus: bool) -> Iterator[tuple[bytes, int]]:
    skip = 128 if plus else 0
    position = 0
    while position < len(data):
        _, offset, length, _ = struct.unpack_from("=QQII", data, position + skip)
        start = position + skip + 24
        yield data[start : start + length], offset
        position += (skip + 24 + length + 7) & ~7


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(st.integers(0, 60), st.integers(0, 20), st.binary(max_size=200))
def test_no_body_ends_the_worker(device: Device, opcode: int, node: int, body: bytes) -> None:
    data = IN_HEADER.packer.pack(IN_HEADER.size + len(body), opcode, 3, node, 0, 0, 1, 0, 0) + body
    answer = device.send(data)
    if opcode in (Opcode.FORGET, Opcode.BATCH_FORGET):
        assert answer is None
    else:
        assert answer is not None
        assert OUT_HEADER.packer.unpack_from(answer)[0] == len(answer)
