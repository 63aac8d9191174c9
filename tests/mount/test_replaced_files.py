"""Open files that are replaced in staging directories: whoever looks finds the old one or the new one, at any time."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from artifactfs.errors import ArtifactFSError
from artifactfs.mount.fusepy import turns
from artifactfs.mount.fusepy.library import load_fuse
from artifactfs.repository.lower import Lower
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.staging.layout import UNION, serving
from artifactfs.vfs.union.gate import Gate
from artifactfs.vfs.union.union import Caller, Union
from tests.mount.staging_support import area, driver, staged, staging, transport

if TYPE_CHECKING:
    from artifactfs.mount.fusepy.writing import WriteOperations

__all__ = ["area", "driver", "staged", "staging", "transport"]

ME = Caller(os.getpid(), os.geteuid(), os.getegid())
FUSE_UNLINK, FUSE_RENAME = 10, 12
HIDDEN = b"/.fuse_hidden0000000200000001"
READER = """
import os, sys
held = open(sys.argv[1], "rb")
print("open", flush=True)
for number in range(int(sys.argv[2])):
    with open(sys.argv[1], "rb") as file:
        text = file.read()
    assert text.endswith(b"\\n") and len(set(text[:-1])) == 1, text
"""


@contextmanager
def served(repository: Repository, staging: Staging, requests: list[bytes]) -> Iterator[WriteOperations]:
    """Give what libfuse calls, for requests of the kernel that are made here."""
    try:
        load_fuse()
    except ArtifactFSError as error:
        pytest.skip(f"no libfuse: {error}")
    from artifactfs.mount.fusepy import writing

    with serving(staging.layout), pytest.MonkeyPatch.context() as patched:
        patched.setattr(writing, "_caller", lambda: ME)  # libfuse knows of none here
        gate = Gate(name=str(staging), describe_process=str)
        lower = Lower(repository, staging.info.root)
        with Union(staging.upper, staging.layout.work, lower, gate=gate) as union:
            yield writing.WriteOperations(union, uid=0, gid=0, on_ready=lambda: None, request=lambda: requests[-1])


def request(opcode: int, *names: bytes) -> bytes:
    return struct.pack("=II32x8x", 0, opcode) + b"".join(name + b"\0" for name in names)


def read(operations: WriteOperations, path: bytes) -> bytes:
    handle = operations.open(path, os.O_RDONLY)
    try:
        return operations.read(path, 100, 0, handle)
    finally:
        operations.release(path, handle)


def write(operations: WriteOperations, path: bytes, data: bytes) -> None:
    handle = operations.create(path, 0o644, os.O_WRONLY)
    operations.write(path, data, 0, handle)
    operations.release(path, handle)


@pytest.mark.parametrize("driver", [UNION])
@pytest.mark.parametrize("name", [b"/README", b"/written"], ids=["version", "upper"])
def test_what_is_replaced_has_its_name_until_the_other_has_it(
    repository: Repository, staging: Staging, name: bytes
) -> None:
    """A server that is killed in between leaves the old file."""
    requests = [request(FUSE_RENAME, b"new", name[1:])]
    with served(repository, staging, requests) as operations:
        write(operations, b"/written", b"hello\n")
        write(operations, b"/new", b"new\n")
        operations.rename(name, HIDDEN)  # as libfuse, which has seen that the file is open
        assert read(operations, name) == b"hello\n"
        assert read(operations, HIDDEN) == b"hello\n"  # whom the kernel has found it for, just before
        operations.rename(b"/new", name)
        assert read(operations, name) == b"new\n"
        assert read(operations, HIDDEN) == b"hello\n"
        operations.unlink(HIDDEN)
        assert read(operations, name) == b"new\n"


@pytest.mark.parametrize("driver", [UNION])
def test_what_is_removed_can_be_opened_by_who_has_it_open(repository: Repository, staging: Staging) -> None:
    """As through /proc/self/fd."""
    requests = [request(FUSE_UNLINK, b"written")]
    with served(repository, staging, requests) as operations:
        write(operations, b"/written", b"hello\n")
        operations.rename(b"/written", HIDDEN)
        with pytest.raises(OSError, match="No such file"):
            operations.open(b"/written", os.O_RDONLY)
        handle = operations.open(HIDDEN, os.O_RDWR)
        operations.write(HIDDEN, b"J", 0, handle)
        assert read(operations, HIDDEN) == b"Jello\n"
        operations.release(HIDDEN, handle)
        operations.unlink(HIDDEN)


class Library:
    """Makes channels, as libfuse does: the descriptor is kept here."""

    fuse_kern_chan_new = Mock(side_effect=lambda descriptor: descriptor)
    fuse_chan_destroy = Mock(side_effect=lambda channel: os.close(channel.value))


@pytest.mark.parametrize(("error", "told"), [(0, 0), (errno.ENOENT, errno.ESTALE), (errno.EACCES, errno.EACCES)])
def test_the_kernel_looks_again_for_what_another_has_replaced(error: int, told: int) -> None:
    reading, device = os.pipe()
    try:
        aside = turns._Aside(Library(), device)
        os.write(aside.channel.value or -1, struct.pack("=IiQ", 16, -error, 7))
        aside.hand_on()
        assert struct.unpack("=IiQ", os.read(reading, 100)) == (16, -told, 7)
        aside.hand_on()  # without an answer it does nothing
        aside.close()
    finally:
        os.close(reading)
        os.close(device)


@pytest.mark.mounted
@pytest.mark.parametrize("name", ["README", "written"])
def test_readers_always_find_the_old_or_the_new_one(staged: Path, name: str) -> None:
    (staged / name).write_text("hhh\n")
    command = [sys.executable, "-c", READER, str(staged / name), "60"]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
    number = 0
    while any(reader.poll() is None for reader in readers):
        time.sleep(0.02)  # who finds the old one just before, and then that of a moment ago, is told ESTALE
        (staged / "made").write_text("abcdefgh"[number % 8] * 1000 + "\n")
        os.rename(staged / "made", staged / name)
        number += 1
    assert [reader.communicate() and reader.returncode for reader in readers] == [0, 0, 0]
