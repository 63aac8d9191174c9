"""What the transport needs to answer requests: interfaces, in the kernel's terms.

The transport keeps nothing about nodes; a source answers each question by itself, from an index. One
implementation is made over an index (`index_source`), one over a plain directory for tests.

Errors are `ArtifactFSError` or `OSError`; their errno goes to the kernel. An unknown node is ESTALE.

Threading: a source is opened in the worker that uses it, after the fork, and belongs to its one thread.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final, Protocol

from msgspec import Struct

from artifactfs.errors import ConfigurationError

_OURS: Final = "artifactfs."


class Content(Protocol):
    """The bytes of one file, verified. `repository.open_file` returns such."""

    @property
    def size(self) -> int:
        """Bytes."""

    def extent(self) -> tuple[int, int] | None:
        """Return the descriptor of a file with these bytes, and where in it; None where only `read_at` works."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end."""

    def close(self) -> None:
        """Give the descriptor back."""


class NodeSource(Protocol):
    """Names and attributes, encoded."""

    def find_entry(self, parent: int, name: bytes) -> bytes | memoryview:
        """Return the `fuse_entry_out` of a name; one with node 0 when there is none."""

    def find_attributes(self, node: int) -> bytes | memoryview:
        """Return the `fuse_attr_out` of a node."""

    def read_link(self, node: int) -> bytes:
        """Return the target of a symbolic link."""

    def fill_directory(self, node: int, *, offset: int, into: memoryview) -> int:
        """Copy READDIRPLUS records of a directory from number `offset` on, whole ones only.

        Returns:
            Bytes copied; 0 at the end of the directory.
        """

    def open_content(self, node: int) -> Content:
        """Return the content of a file, to be closed."""


@dataclass(frozen=True, slots=True)
class Space:
    """What statvfs(3) tells: blocks of `block_size` bytes, and files."""

    blocks: int
    free: int
    available: int
    files: int
    files_free: int
    block_size: int = 4096


class DetailSource(Protocol):
    """Extended attributes and space."""

    @property
    def has_xattrs(self) -> bool:
        """Whether there are extended attributes at all; if not, the kernel is told so once."""

    def list_xattrs(self, node: int) -> list[bytes]:
        """Return the names of a node's attributes."""

    def find_xattr(self, node: int, name: bytes) -> bytes | None:
        """Return the value of an attribute; None when the node has none of this name."""

    def statfs(self) -> Space:
        """Return the space of the file system."""


class Source(NodeSource, DetailSource, Protocol):
    """All that a worker asks."""

    def close(self) -> None:
        """Close what is open."""


class FetchingSource(Source, Protocol):
    """What a thread of the fetcher asks: it may wait for a network."""

    def find_origin(self, node: int) -> str:
        """Return whom the content of a node comes from; what comes from different ones waits for nothing in common."""

    def note_read(self, node: int, offset: int) -> None:
        """Take content at an offset as read by a worker, so that what comes next can be fetched."""


class Sources(Protocol):
    """Makes sources that answer from the same open tables. May be shared by threads."""

    def make(self) -> FetchingSource:
        """Return a source for one thread."""

    def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that moved outside of versions, in nodes.

    Attributes:
        node: directory or symbolic link whose content changed.
        names: names of a directory that came or went.
    """

    node: int
    names: tuple[bytes, ...] = ()


class ChangeSource(Protocol):
    """What the notifier asks: it watches, the source says what the kernel must forget."""

    def watched_directories(self) -> list[str]:
        """Return the local directories in which a new file can mean a change."""

    def find_changes(self) -> list[Change]:
        """Return what changed since the last call; nothing at the first."""

    def close(self) -> None:
        """Close what is open."""


class SourceSpec(Struct, frozen=True):
    """How to open a source, in a form that survives exec: a module, and what its functions are given.

    The module has `open_source(arguments) -> Source` and `open_changes(arguments) -> ChangeSource | None`; for a mount
    with a fetcher also `open_sources(arguments) -> Sources`. One that survives damage to what it is opened from has
    `renew(arguments, is_damaged) -> arguments`.
    """

    module: str
    arguments: dict[str, Any]

    def open_source(self) -> Source:
        """Open the source. Called after the fork."""
        source: Source = self._load().open_source(self.arguments)
        return source

    def open_changes(self) -> ChangeSource | None:
        """Open what tells of changes; None when nothing ever changes. Called after the fork."""
        changes: ChangeSource | None = self._load().open_changes(self.arguments)
        return changes

    def open_sources(self) -> Sources:
        """Open what the fetcher answers from. Called after the fork, in a process that may wait for a network."""
        sources: Sources = self._load().open_sources(self.arguments)
        return sources

    @property
    def can_renew(self) -> bool:
        """Whether something else can be opened when this turns out to be damaged."""
        return self.module.startswith(_OURS) and hasattr(self._load(), "renew")

    def renew(self, *, is_damaged: bool) -> SourceSpec:
        """Return what to open instead; `is_damaged` when this was open, and cannot be used any more."""
        return SourceSpec(self.module, self._load().renew(self.arguments, is_damaged=is_damaged))

    def _load(self) -> Any:
        if not self.module.startswith(_OURS):
            msg = f"{self.module!r} is no module of artifactfs"
            raise ConfigurationError(msg)
        return importlib.import_module(self.module)
