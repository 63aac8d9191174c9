"""Listings above versions, which can change between two requests for one of them.

Their offsets tell the node of the entry before, not its number: with numbers, a listing in pieces would lack a name, or
have one twice, as soon as an entry before it comes or goes. Where that entry is gone itself, the epoch still knows its
name, after which the listing goes on.

Threading: functions without state.
"""

from __future__ import annotations

import stat
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from artifactfs.index.epoch import COUNTER_BITS
from artifactfs.mount.kernel.encoding import NO_ATTRIBUTES, encode_record
from artifactfs.mount.kernel.pages import copy_records, encode_page
from artifactfs.mount.kernel.prepared import DOTS, node_attributes
from artifactfs.mount.kernel.structures import DIRENT, ENTRY_OUT, align
from artifactfs.paths import format_version
from artifactfs.vfs.base import UnknownNodeError
from artifactfs.vfs.node_records import AliasNode, CollectionNode, DirectoryNode, StagingNode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.nodes import NodeTable

_SHORTEST: Final = align(ENTRY_OUT.size + DIRENT.size + 1)
_COUNTER: Final = (1 << COUNTER_BITS) - 1


def fill_changing(
    nodes: NodeTable,
    directory: int,
    entries: Sequence[tuple[bytes, Attributes]],
    *,
    encode: Callable[[Attributes], bytes],
    offset: int,
    into: memoryview,
) -> int:
    """Copy records of a directory, of which no two entries have one node, from after an offset on.

    Args:
        nodes: of the epoch.
        directory: its node.
        entries: names and attributes as they are now, in name order.
        encode: returns what `fuse_entry_out` is sent of an entry.
        offset: that of the last record that was sent, or 0.
        into: where to; as many as fit.

    Raises:
        UnknownNodeError: the offset is none that was sent.
    """
    passed = 0 if offset <= DOTS else _count_passed(nodes, entries, offset - DOTS)
    records = [
        encode_record(name, NO_ATTRIBUTES, mode=stat.S_IFDIR, node=directory, offset=place)
        for place, name in enumerate((b".", b".."), 1)
    ]
    for name, found in entries[passed : passed + len(into) // _SHORTEST + 1]:
        attributes, place = node_attributes(found), DOTS + (found.node & _COUNTER)
        records.append(encode_record(name, encode(found), mode=attributes.mode, node=found.node, offset=place))
    return copy_records([(0, memoryview(encode_page(records)))], offset=min(offset, DOTS), into=into)


def _count_passed(nodes: NodeTable, entries: Sequence[tuple[bytes, Attributes]], counter: int) -> int:
    """Return how many entries come up to the one whose node has this counter, itself among them if it is there."""
    for number, (_, found) in enumerate(entries, 1):
        if found.node & _COUNTER == counter:
            return number
    name = _find_name(nodes, nodes.epoch.number << COUNTER_BITS | counter)
    return bisect_right([each for each, _ in entries], name)


def _find_name(nodes: NodeTable, node: int) -> bytes:
    match nodes.get(node) if node >> COUNTER_BITS == nodes.epoch.number else None:
        case CollectionNode(name=name) | AliasNode(name=name):
            return name.encode()
        case StagingNode(name=name):
            return b"@" + name.encode()
        case DirectoryNode(version=number):
            return format_version(number).encode()
        case _:
            msg = f"node {node:#x} is no entry of a listing"
            raise UnknownNodeError(msg)
