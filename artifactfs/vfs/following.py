"""What will be read after a file, as far as node numbers tell: a directory's are given out in the order of its names.

Used by the fetcher. Threading: a pure function of the node table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError
from artifactfs.vfs.node_records import FileNode

if TYPE_CHECKING:
    from artifactfs.vfs.nodes import NodeTable

LOOK_AHEAD: Final = 16
"""Powers of two: so far it is looked for."""


def find_next_pack(nodes: NodeTable, node: int, pack: bytes) -> bytes | None:
    """Return the first other pack in which a file after `node` lies; None when none is known.

    A guess, which costs some thirty looks into the index: what was put in one go lies in packs in the order of its
    directories, and was prepared in the same order if it was listed so.
    """
    near, found = node, None
    for power in range(LOOK_AHEAD + 1):
        found = _find_pack(nodes, node + (1 << power))
        if found not in (None, pack):
            break
        near = node + (1 << power)
    else:
        return None
    far = node + (1 << power)
    while far - near > 1:
        middle = (near + far) // 2
        between = _find_pack(nodes, middle)
        if between in (None, pack):
            near = middle
        else:
            far, found = middle, between
    return found


def _find_pack(nodes: NodeTable, node: int) -> bytes | None:
    try:
        record = nodes.get(node)
    except ArtifactFSError:
        return None  # not given out yet
    return record.placement.pack if isinstance(record, FileNode) and record.placement is not None else None
