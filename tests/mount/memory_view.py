"""A view made of Python values, to test the transport without a repository."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from artifactfs.errors import ArtifactFSError, DigestMismatchError, EntryNotFoundError
from artifactfs.vfs.base import ROOT_NODE, Attributes, Kind, NoAttributeError, StatFs

TIME_NS = 1_600_000_000_123_456_789


@dataclass
class Node:
    kind: Kind
    mode: int
    content: bytes = b""
    children: dict[bytes, int] = field(default_factory=dict)


class MemoryView:
    """Directories are dicts, files bytes, symbolic links str; a callable as a file raises when read."""

    def __init__(self, tree: dict) -> None:
        self.nodes: dict[int, Node] = {}
        self.failures: dict[int, BaseException] = {}
        self._add(tree)

    def _add(self, value: object) -> int:
        number = len(self.nodes) + ROOT_NODE
        if isinstance(value, dict):
            node = self.nodes[number] = Node(Kind.DIRECTORY, 0o755)
            for name, child in value.items():
                node.children[name] = self._add(child)
        elif isinstance(value, str):
            self.nodes[number] = Node(Kind.SYMLINK, 0o777, os.fsencode(value))
        elif isinstance(value, BaseException):
            self.nodes[number] = Node(Kind.FILE, 0o644, b"x" * 100)
            self.failures[number] = value
        else:
            assert isinstance(value, bytes)
            executable = value.startswith((b"#!", b"\x7fELF"))
            self.nodes[number] = Node(Kind.FILE, 0o755 if executable else 0o644, value)
        return number

    def getattr(self, node: int) -> Attributes:
        found = self.nodes[node]
        return Attributes(node, found.kind, found.mode, len(found.content), TIME_NS)

    def lookup(self, parent: int, name: bytes) -> Attributes:
        try:
            return self.getattr(self.nodes[parent].children[name])
        except KeyError:
            raise EntryNotFoundError("no such entry") from None

    def read_directory(self, node: int) -> list[tuple[bytes, Attributes]]:
        return [(name, self.getattr(child)) for name, child in self.nodes[node].children.items()]

    def readlink(self, node: int) -> bytes:
        return self.nodes[node].content

    def read(self, node: int, *, offset: int, size: int) -> bytes:
        if node in self.failures:
            raise self.failures[node]
        return self.nodes[node].content[offset : offset + size]

    def list_xattrs(self, node: int) -> list[bytes]:
        return [b"user.artifactfs.digest"]

    def get_xattr(self, node: int, name: bytes) -> bytes:
        if name == b"user.artifactfs.digest":
            return b"sha256:%d" % node
        raise NoAttributeError(errno.ENODATA, "no such attribute")

    def statfs(self) -> StatFs:
        found = os.statvfs("/")
        return StatFs(
            block_size=found.f_frsize,
            blocks=found.f_blocks,
            blocks_free=found.f_bfree,
            blocks_available=found.f_bavail,
            files=found.f_files,
            files_free=found.f_ffree,
        )


class NoReasonError(ArtifactFSError):
    errno = errno.EIO


SAMPLE = {
    b"README": b"hello\n",
    b"empty": b"",
    b"not-\xff-utf8": b"odd name",
    "größe".encode(): b"umlaut",
    b"new\nline": b"line",
    b"link": "README",
    b"dangling": "nowhere/at all",
    b"run.sh": b"#!/bin/sh\necho ran $1\n",
    b"images": {b"cat.png": bytes(range(256)) * 4000, b"deep": {b"deeper": {b"file": b"deep"}}},
    b"many": {b"f%04d" % number: b"content %d" % number for number in range(1000)},
    b"empty-directory": {},
    b"faults": {
        b"damaged": DigestMismatchError("sha256:abc does not match", subject="sha256:abc"),
        b"bug": ZeroDivisionError("a bug"),
        b"no-errno": OSError("an OSError without errno"),
        b"stale": OSError(errno.ESTALE, "stale"),
        b"exits": SystemExit(3),
    },
}
