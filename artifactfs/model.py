"""The things that artifactfs is about: entries, references, versions, collections.

All of them are frozen. They are msgspec structs rather than dataclasses because a version has up to
millions of entries, and these are made and encoded in C. Digests of entries are 32 raw bytes in the
field and a `Digest` from the property, for the same reason.

Field order and tags of the entries are the repository format (docs/format.md): never change them.

Threading: immutable values.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from artifactfs.digest import Digest

RawDigest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Name = Annotated[bytes, Meta(min_length=1, max_length=255)]
Mode = Annotated[int, Meta(ge=0, le=0o777)]
FIRST_NS: Final = -(2**63)
LAST_NS: Final = 2**63 - 1
"""The times that an entry can state: from 1677 to 2262. File systems know later ones."""
LARGEST: Final = 2**63 - 1
"""The largest size or number that an entry can state."""
TimeNs = Annotated[int, Meta(ge=FIRST_NS, le=LAST_NS)]
Size = Annotated[int, Meta(ge=0, le=LARGEST)]

DEFAULT_TYPE: Final = "dataset"
FILE, DIRECTORY, SYMLINK, REFERENCE = 1, 2, 3, 4
EXECUTABLE: Final = 0o100
"""The bit of a mode by which content differs: the owner may execute the file."""


def limit_time_ns(time_ns: int) -> int:
    """Return the time nearest to `time_ns` that an entry can state.

    >>> limit_time_ns(7), limit_time_ns(10**20) == LAST_NS
    (7, True)
    """
    return min(max(time_ns, FIRST_NS), LAST_NS)


class _Entry(Struct, gc=False, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What all entries have in common."""

    name: Name
    mode: Mode
    mtime_ns: TimeNs


class FileEntry(_Entry, gc=False, frozen=True, tag=FILE):
    """A file of `size` bytes whose SHA-256 is `sha256`; `sums` names its chunk digests, over 4 MiB."""

    size: Size
    sha256: RawDigest
    sums: RawDigest | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the content."""
        return Digest(self.sha256)

    @property
    def is_executable(self) -> bool:
        """Whether the owner may execute the file."""
        return bool(self.mode & EXECUTABLE)


class DirectoryEntry(_Entry, gc=False, frozen=True, tag=DIRECTORY):
    """A directory: `tree` names all of it, `content` its names, kinds, executable bits and content.

    `size` is the sum of the sizes of all files and references below, `count` the number of everything
    below that is not a directory.
    """

    tree: RawDigest
    content: RawDigest
    size: Size
    count: Size

    @property
    def digest(self) -> Digest:
        """The tree digest."""
        return Digest(self.tree)


class SymlinkEntry(_Entry, gc=False, frozen=True, tag=SYMLINK):
    """A symbolic link to `target`, which may point anywhere or nowhere."""

    target: Annotated[bytes, Meta(min_length=1, max_length=4095)]


class Validator(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What says whether an external object is still the recorded one.

    `kind` is `sha256`, `version`, `generation`, `etag`, `weak-etag`, `modified` or `none`.
    """

    kind: str
    value: str


class ReferenceEntry(_Entry, frozen=True, tag=REFERENCE):
    """A file whose bytes live at `uri`; `content` is their SHA-256 if `has_sha256`, else made from the rest."""

    size: Size
    uri: str
    validator: Validator
    content: RawDigest
    has_sha256: bool

    @property
    def digest(self) -> Digest:
        """The content digest."""
        return Digest(self.content)

    @property
    def is_executable(self) -> bool:
        """Whether the owner may execute the file."""
        return bool(self.mode & EXECUTABLE)


Entry = FileEntry | DirectoryEntry | SymlinkEntry | ReferenceEntry


class PageRef(Struct, gc=False, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One page of a large directory, as the page above lists it; `last` is the last name below it."""

    last: Name
    tree: RawDigest
    content: RawDigest
    size: Size
    count: Size
    entry_count: Size


class Placement(Struct, gc=False, frozen=True, array_like=True):
    """Where some bytes lie: in the object `pack`, `size` bytes from `offset`. Loose content has none."""

    pack: RawDigest
    offset: Size
    size: Size


class Root(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The top directory of a version, as its commit record states it. Digests are `sha256:<hex>`."""

    tree: str
    content: str
    mode: Mode
    mtime_ns: TimeNs
    size: Size
    count: Size
    placement: tuple[str, int, int] | None = None

    def as_entry(self, name: bytes = b"/") -> DirectoryEntry:
        """Return the root as a directory entry (the name is not one that a tree can hold)."""
        raw = bytes.fromhex(self.tree[7:]), bytes.fromhex(self.content[7:])
        return DirectoryEntry(name, self.mode, self.mtime_ns, *raw, self.size, self.count)


class Origin(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a version was made that was copied from another repository, whatever copies it went through.

    Attributes:
        repository: id of the repository, 32 hex digits.
        collection: the collection's name there.
        version: its number there.
        author: who committed it there.
        time_ns: when, nanoseconds since 1970 UTC.
        base: number of the version that it was made from there, if any.
        inputs: versions it was made from, each `NAME:vN`, of that repository.
        run: id of the run that made it, if any; the run is recorded there.
    """

    repository: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    collection: str
    version: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    author: str
    time_ns: TimeNs
    base: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    inputs: tuple[str, ...] = ()
    run: str | None = None

    def is_same(self, other: Origin) -> bool:
        """Return whether both name the same version of the same collection and repository."""
        return self.names(other) and self.version == other.version

    def names(self, other: Origin) -> bool:
        """Return whether both name a version of the same collection and repository."""
        return (self.repository, self.collection) == (other.repository, other.collection)


class Version(Struct, frozen=True, omit_defaults=True):
    """One immutable version of a collection.

    Attributes:
        number: N of `vN`.
        root: its top directory.
        seq: number of the log record that made it.
        time_ns: record time, nanoseconds since 1970 UTC.
        author: who committed it.
        message: the log message.
        description: free text about the data; can be edited.
        metadata: JSON values by key; can be edited.
        tags: sorted words; can be edited.
        base: the version that it was made from, if any.
        run: id of the run that made it, if any.
        inputs: versions it was made from, each `NAME:vN`.
        expires_ns: when `expire` may remove it, if ever.
        origin: where it was made, if it was copied from another repository.
    """

    number: int
    root: Root
    seq: int
    time_ns: int
    author: str
    message: str = ""
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    base: int | None = None
    run: str | None = None
    inputs: tuple[str, ...] = ()
    expires_ns: int | None = None
    origin: Origin | None = None

    @property
    def name(self) -> str:
        """`vN`."""
        return f"v{self.number}"


class Pin(Struct, frozen=True, omit_defaults=True):
    """Somebody's claim on a version, such as a staging directory's on its base: it is not pruned."""

    version: int
    purpose: str
    time_ns: int
    author: str


class Collection(Struct, frozen=True, omit_defaults=True):
    """The state of a collection after the log record `seq`.

    A collection that never had a record is `Collection(name)`: seq 0, nothing in it.

    Attributes:
        name: the collection's name.
        seq: number of the last record; records begin at 1.
        head: digest of the last record as `sha256:<hex>`; empty when there is none.
        time_ns: time of the last record.
        exists: False before the first commit and after the collection was deleted.
        type: what kind of artifact it holds.
        next_version: number that the next commit gets; never goes down.
        versions: live versions by number.
        deleted: numbers of deleted versions, with the time of deletion and the root they had.
        aliases: version number by alias.
        pins: by pin id.
    """

    name: str
    seq: int = 0
    head: str = ""
    time_ns: int = 0
    exists: bool = False
    type: str = DEFAULT_TYPE
    next_version: int = 0
    versions: dict[int, Version] = field(default_factory=dict)
    deleted: dict[int, tuple[int, Root]] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    pins: dict[str, Pin] = field(default_factory=dict)

    def aliases_of(self, number: int) -> list[str]:
        """Return the aliases of a version: `latest` first, then in order."""
        names = [alias for alias, target in self.aliases.items() if target == number]
        return sorted(names, key=lambda alias: (alias != "latest", alias))


NO_METADATA: Final = MappingProxyType[str, Any]({})
