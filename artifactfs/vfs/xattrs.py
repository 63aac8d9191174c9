"""Extended attributes: what a version, a directory or a file is, as `user.artifactfs.*`.

Used by the views. Threading: pure functions.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from artifactfs.clock import format_time_ns
from artifactfs.digest import Digest
from artifactfs.reference.base import UNVERIFIED
from artifactfs.reference.uris import redact_uri
from artifactfs.vfs.base import XATTR_PREFIX, NoAttributeError
from artifactfs.vfs.node_records import CollectionNode, DirectoryNode, FileNode, ReferenceNode

if TYPE_CHECKING:
    from artifactfs.model import Collection, Version
    from artifactfs.vfs.node_records import Record


DRIFT: Final = XATTR_PREFIX + b"drift"
"""Of a reference: what differs from what was recorded, `none`, or `unverified: ` and what is the same. Not listed."""

STALE: Final = XATTR_PREFIX + b"stale"
"""Of a collection: since when the service does not answer, so that its last known state is shown."""


def describe_node(
    record: Record, *, source: str, collection: Collection | None, presence: str = "local"
) -> dict[bytes, bytes]:
    """Return the extended attributes of a node: names with their prefix, values as text.

    Args:
        record: what the node is.
        source: where the repository is.
        collection: the present state of the collection that a directory belongs to, for its type and aliases.
        presence: of a file, how much of its content is on this machine.
    """
    found: dict[str, str] = {}
    match record:
        case FileNode():
            found = {"digest": str(Digest(record.sha256)), "state": presence}
        case ReferenceNode():
            found = _describe_reference(record, presence)
        case DirectoryNode():
            found = {
                "version": f"{record.collection}:v{record.version}",
                "source": source,
            }
            if record.part is None:  # of a part, nobody has counted
                found |= {
                    "digest": str(Digest(record.content)),
                    "tree": str(Digest(record.tree)),
                    "size": str(record.size),
                    "count": str(record.count),
                }
            if collection is not None:
                found |= {"type": collection.type, "aliases": " ".join(collection.aliases_of(record.version))}
                found |= _describe_origin(collection.versions.get(record.version))
        case CollectionNode():
            found = {"source": source}
            if collection is not None:
                found |= {"type": collection.type, "versions": str(len(collection.versions))}
        case _:
            pass
    return {XATTR_PREFIX + name.encode(): os.fsencode(value) for name, value in found.items()}


def _describe_reference(record: ReferenceNode, presence: str) -> dict[str, str]:
    """Return where the bytes are, and by what it is known that they are the recorded ones.

    Whether they still are is the attribute `DRIFT`, which is asked for by name only: a program that copies all
    attributes, as `cp -a` does, would otherwise ask the service for every file.
    """
    found = {"digest": str(Digest(record.content)), "state": presence, "uri": redact_uri(record.uri)}
    if record.validator is not None:
        found["validator"] = f"{record.validator.kind} {record.validator.value}".rstrip()
        found["verified"] = "no" if record.validator.kind in UNVERIFIED else "yes"
    return found


def _describe_origin(version: Version | None) -> dict[str, str]:
    """Return who made a version, when, in which run and from what; what is not recorded is left out."""
    if version is None:
        return {}
    found = {"author": version.author, "created": format_time_ns(version.time_ns)}
    if version.run:
        found["run"] = version.run
    if version.inputs:
        found["inputs"] = " ".join(version.inputs)
    if version.message:
        found["message"] = version.message
    return found


def get_from(attributes: dict[bytes, bytes], name: bytes) -> bytes:
    """Return one of the attributes.

    Raises:
        NoAttributeError: there is none of this name.
    """
    try:
        return attributes[name]
    except KeyError:
        raise missing_attribute() from None


def missing_attribute() -> NoAttributeError:
    """Return the error of a node that has no attribute of this name."""
    return NoAttributeError(errno.ENODATA, os.strerror(errno.ENODATA))
