"""Versions, entries, changes and records as members of JSON objects: what `--json` prints, and the web API answers.

Members are only ever added. Times are RFC 3339 in UTC. A name or path that is not UTF-8 is given twice: escaped for
people, and in `<member>_base64` for programs.

Used by the command line and by `serve`. Threading: pure functions.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.digest import Digest
from artifactfs.model import DirectoryEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import printable
from artifactfs.reference.base import is_unverified
from artifactfs.reference.uris import redact_uri
from artifactfs.repository import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Collection, Entry, Origin, Version
    from artifactfs.repository.diff import Change
    from artifactfs.repository.records import Body, Record


class ValidatorFields(TypedDict):
    """What says whether an external object is still the recorded one."""

    kind: str
    value: str


class EntryFields(TypedDict):
    """An entry: `files`, `content_digest` of a directory, `target` of a link, the last three of a reference."""

    path: str
    path_base64: NotRequired[str]
    kind: str
    mode: str
    modified: str
    size: NotRequired[int]
    digest: NotRequired[str]
    files: NotRequired[int]
    content_digest: NotRequired[str]
    target: NotRequired[str]
    target_base64: NotRequired[str]
    uri: NotRequired[str]
    validator: NotRequired[ValidatorFields]
    unverified: NotRequired[bool]


class OriginFields(TypedDict):
    """Where a version was made that was copied from another repository."""

    repository: str
    ref: str
    author: str
    created: str
    base: str | None
    inputs: list[str]
    run: str | None


class VersionFields(TypedDict):
    """A version."""

    ref: str
    collection: str
    version: str
    type: str
    aliases: list[str]
    digest: str
    content_digest: str
    size: int
    files: int
    created: str
    author: str
    message: str
    description: str
    metadata: dict[str, Any]
    tags: list[str]
    base: str | None
    run: str | None
    inputs: list[str]
    expires: str | None
    origin: OriginFields | None


class ChangeFields(TypedDict):
    """A path that differs; `old_path` of one that was renamed."""

    change: str
    path: str
    path_base64: NotRequired[str]
    old_path: NotRequired[str]
    old_path_base64: NotRequired[str]
    old: EntryFields | None
    new: EntryFields | None


class RecordFields(TypedDict):
    """A record of a collection's log; `change` is its body."""

    seq: int
    time: str
    author: str
    message: str
    run: str | None
    change: dict[str, Any]


def name_fields(member: str, name: str | bytes) -> dict[str, str]:
    r"""Return a name or path as members of a JSON object.

    >>> name_fields("path", b"a\xff")
    {'path': 'a\\xff', 'path_base64': 'Yf8='}
    """
    data = os.fsencode(name)
    try:
        return {member: data.decode()}
    except UnicodeDecodeError:
        return {member: printable(data), f"{member}_base64": base64.b64encode(data).decode()}


def kind_of(entry: Entry) -> str:
    """Return the word for an entry's kind."""
    if isinstance(entry, DirectoryEntry):
        return "directory"
    if isinstance(entry, SymlinkEntry):
        return "symlink"
    return "reference" if isinstance(entry, ReferenceEntry) else "file"


def entry_fields(path: bytes, entry: Entry) -> EntryFields:
    """Return an entry as members of a JSON object."""
    fields: dict[str, Any] = {
        **name_fields("path", path),
        "kind": kind_of(entry),
        "mode": f"{entry.mode:04o}",
        "modified": format_time_ns(entry.mtime_ns, digits=9),
    }
    if isinstance(entry, SymlinkEntry):
        fields |= name_fields("target", entry.target)
    else:
        fields |= {"size": entry.size, "digest": str(entry.digest)}
    if isinstance(entry, DirectoryEntry):
        fields |= {"files": entry.count, "content_digest": str(Digest(entry.content))}
    if isinstance(entry, ReferenceEntry):
        validator = {"kind": entry.validator.kind, "value": entry.validator.value}
        fields |= {"uri": redact_uri(entry.uri), "validator": validator, "unverified": is_unverified(entry)}
    return cast("EntryFields", fields)


def version_fields(collection: Collection, version: Version) -> VersionFields:
    """Return a version as members of a JSON object."""
    root = version.root
    return {
        "ref": f"{collection.name}:{version.name}",
        "collection": collection.name,
        "version": version.name,
        "type": collection.type,
        "aliases": collection.aliases_of(version.number),
        "digest": root.tree,
        "content_digest": root.content,
        "size": root.size,
        "files": root.count,
        "created": format_time_ns(version.time_ns),
        "author": version.author,
        "message": version.message,
        "description": version.description,
        "metadata": version.metadata,
        "tags": list(version.tags),
        "base": None if version.base is None else f"{collection.name}:v{version.base}",
        "run": version.run,
        "inputs": list(version.inputs),
        "expires": None if version.expires_ns is None else format_time_ns(version.expires_ns),
        "origin": None if version.origin is None else _origin_fields(version.origin),
    }


def _origin_fields(origin: Origin) -> OriginFields:
    return {
        "repository": origin.repository,
        "ref": f"{origin.collection}:v{origin.version}",
        "author": origin.author,
        "created": format_time_ns(origin.time_ns),
        "base": None if origin.base is None else f"{origin.collection}:v{origin.base}",
        "inputs": list(origin.inputs),
        "run": origin.run,
    }


def change_fields(change: Change) -> ChangeFields:
    """Return a change as members of a JSON object."""
    old_path = change.path if change.old_path is None else change.old_path
    fields: dict[str, Any] = {
        "change": change.kind,
        **name_fields("path", change.path),
        **({} if change.old_path is None else name_fields("old_path", change.old_path)),
        "old": None if change.old is None else entry_fields(old_path, change.old),
        "new": None if change.new is None else entry_fields(change.path, change.new),
    }
    return cast("ChangeFields", fields)


def record_fields(record: Record, changed: Sequence[Change] | None = None) -> dict[str, Any]:
    """Return a record as members of a JSON object; with the paths that it changed, when these are given."""
    body = msgspec.to_builtins(record.body)
    for member in ("version", "base"):
        if body.get(member) is not None:
            body[member] = f"v{body[member]}"
    if "expires_ns" in body:
        body["expires"] = format_time_ns(body.pop("expires_ns"))
    if isinstance(record.body, records.Commit):
        root = record.body.root
        body["root"] = {"digest": root.tree, "content_digest": root.content, "size": root.size, "files": root.count}
    return {
        "seq": record.seq,
        "time": format_time_ns(record.time_ns),
        "author": record.author,
        "message": record.message,
        "run": record.run,
        "change": body,
        **({} if changed is None else {"paths": [change_fields(change) for change in changed]}),
    }


def _describe_edit(edit: records.Edit) -> str:
    """Return what a version has since an edit: `: tags a, b; metadata accuracy; "Cats"`."""
    description = edit.description.partition("\n")[0]
    parts = (
        f"tags {', '.join(edit.tags)}" if edit.tags else "",
        f"metadata {', '.join(sorted(edit.metadata))}" if edit.metadata else "",
        f'"{description}"' if description else "",
    )
    said = "; ".join(part for part in parts if part)
    return f": {said}" if said else ""


def describe_body(body: Body) -> str:  # noqa: PLR0911 (one for each kind)
    """Return what a record's body says, as a line for people."""
    match body:
        case records.Commit():
            return f"committed v{body.version} ({', '.join(body.aliases)})"
        case records.SetAliases():
            return f"set {', '.join(body.aliases)} to v{body.version}"
        case records.RemoveAliases():
            return f"removed the alias {', '.join(body.aliases)}"
        case records.DeleteVersion():
            return f"deleted v{body.version}"
        case records.DeleteCollection():
            return "deleted the collection"
        case records.Edit():
            return f"edited v{body.version}{_describe_edit(body)}"
        case records.Pin():
            return f"pinned v{body.version}: {body.purpose}"
        case records.Unpin():
            return f"removed the pin {body.pin}"
        case records.Relocate():
            return f"moved the stored tree of v{body.version}"
