"""An epoch: node numbers and prepared directories, which a kernel holds on to while a mount lives.

A node number is the 20 random bits of its epoch and a counter: never used twice, and one of another epoch is
recognised. What the tables hold is up to the caller; here are numbers, keys and transactions.

Used by `vfs` and `epochs`. Threading: an Epoch may be shared by threads.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, Self

from artifactfs.errors import ConflictError
from artifactfs.index.environment import Environment

if TYPE_CHECKING:
    from artifactfs.index.environment import Writer

EPOCH_BITS: Final = 20
COUNTER_BITS: Final = 44
ROOT_NODE: Final = 1
NODES, NAMES, PAGES, SHARED, META = "nodes", "names", "pages", "shared", "meta"
WIRE: Final = "wire"
"""Directory pages as a transport sends them; what is in them is up to the transport."""
_COUNTER: Final = b"counter"
BEGUN: Final = b"begun"
"""Says that this is what was begun as the epoch, and not an empty file in its place."""
_NODE = struct.Struct(">Q")


class UnknownNodeError(ConflictError):
    """A node number that this epoch did not give out: ESTALE, never a guess."""


def node_key(node: int) -> bytes:
    """Return a node number as a key: 8 bytes, big-endian."""
    return _NODE.pack(node)


def name_key(parent: int, name: bytes) -> bytes:
    """Return the key of a name in a directory."""
    return _NODE.pack(parent) + name


def page_key(directory: int, ordinal: int) -> bytes:
    """Return the key of the directory page that begins with entry number `ordinal`."""
    return _NODE.pack(directory) + _NODE.pack(ordinal)


def read_node(value: bytes) -> int:
    """Return the node number that 8 bytes stand for."""
    number: int = _NODE.unpack_from(value)[0]
    return number


class Epoch:
    """One generation of node numbers. A context manager; may be shared by threads.

    Attributes:
        number: its 20 bits.
        environment: its tables `nodes`, `names`, `pages`, `shared`, `meta` and `wire`.
    """

    def __init__(self, number: int, *, environment: Environment, lock: int) -> None:
        self.number = number
        self.environment = environment
        self._lock: int | None = lock

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def name(self) -> str:
        """Five hex digits."""
        return f"{self.number:05x}"

    def get_node(self, node: int) -> bytes:
        """Return what was stored about a node.

        Raises:
            UnknownNodeError: this epoch did not give out the number.
        """
        found = self.environment.get(NODES, node_key(node))
        if found is None:
            msg = f"node {node:#x} is not of the epoch {self.name}"
            raise UnknownNodeError(msg, hint="the directory was opened under an earlier index")
        return found

    def allocate(self, writer: Writer, count: int) -> int:
        """Return the first of `count` new node numbers, inside a write transaction."""
        used = read_node(writer.get(META, _COUNTER) or _NODE.pack(ROOT_NODE))
        writer.put(META, _COUNTER, _NODE.pack(used + count))
        return (self.number << COUNTER_BITS) | (used + 1)

    def close(self) -> None:
        """Release the epoch; a later rebuild may then remove it."""
        self.environment.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
