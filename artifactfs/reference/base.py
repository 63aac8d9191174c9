"""What a source of references can do, and the errors that all of them give.

Used by the sources and by `references.py`. Threading: sources may be shared by threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.clock import format_time_ns
from artifactfs.errors import ReferenceChangedError, SourceNotFoundError
from artifactfs.reference.uris import redact_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import ReferenceEntry, Validator

_COMPARED: Final = {"weak-etag": "its size and weak ETag", "modified": "its size and time", "none": "its size"}
UNVERIFIED: Final = frozenset(_COMPARED)
"""Validators that do not say for sure that the bytes are the same."""


@dataclass(frozen=True, slots=True)
class Described:
    """An external object as it is now.

    Attributes:
        uri: where it is.
        size: bytes.
        validator: the best that the source gives.
        modified_ns: when it was changed; 0 when that is not known.
    """

    uri: str
    size: int
    validator: Validator
    modified_ns: int


@dataclass(frozen=True, slots=True)
class LocalLink:
    """A symbolic link below a local directory.

    Attributes:
        uri: where it is.
        target: where it leads, as it says.
        modified_ns: when it was changed.
    """

    uri: str
    target: bytes
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Special:
    """A socket, FIFO or device below a local directory, of which no entry can be made.

    Attributes:
        uri: where it is.
        path: the same as a local path.
        mode: its kind, as stat(2) says it.
    """

    uri: str
    path: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory, for which an object without bytes stands whose key ends in a slash.

    Attributes:
        uri: where it is, without the slash.
        modified_ns: when the object was made.
    """

    uri: str
    modified_ns: int


Listed = Described | LocalLink | Special | Folder
"""What a source finds below a URI; links and special files among local files alone, folders in buckets alone."""


class Source(Protocol):
    """Reads what lies at URIs of some schemes. May be shared by threads."""

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Return what is at a URI.

        Args:
            uri: in its one spelling.
            checksum: whether to ask for, or compute, more than size and time.

        Raises:
            SourceNotFoundError: there is no object.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Listed]:
        """Yield everything below a URI, in pages; none when there is nothing.

        Raises:
            UsageError: the source cannot list.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of what a reference names, which it says it has.

        Raises:
            ReferenceChangedError: what is there is something else, or nothing.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """


def is_unverified(entry: ReferenceEntry) -> bool:
    """Return whether what is read from a reference may be something else without anybody noticing."""
    return entry.validator.kind in UNVERIFIED


def describe_sameness(entry: ReferenceEntry) -> str:
    """Return what is known of a reference of which nothing differs: `none` differs, or what could be compared at all.

    >>> from artifactfs.model import ReferenceEntry, Validator
    >>> describe_sameness(ReferenceEntry(b"a", 0o644, 0, 3, "http://host/a", Validator("none", ""), bytes(32), False))
    'unverified: only its size could be compared'
    """
    compared = _COMPARED.get(entry.validator.kind)
    return f"unverified: only {compared} could be compared" if compared else "none"


def describe_object(size: int, validator: Validator) -> str:
    """Return size and validator for people: `12 bytes, etag "abc"`."""
    value = validator.value
    if validator.kind == "modified" and value.lstrip("-").isdigit():
        value = format_time_ns(int(value))
    return f"{size} bytes" + (f", {validator.kind} {value}" if value else "")


def changed(entry: ReferenceEntry, found: Described | None) -> ReferenceChangedError:
    """Return the error that says what was recorded and what is there; `found` is None for nothing."""
    shown = redact_uri(entry.uri)
    there = "nothing" if found is None else describe_object(found.size, found.validator)
    recorded = describe_object(entry.size, entry.validator)
    msg = f"{shown} is not what was recorded: recorded were {recorded}; there is {there}"
    return ReferenceChangedError(msg, hint="add it again, or bring the object back", subject=shown)


def missing(uri: str) -> SourceNotFoundError:
    """Return the error that says that nothing is at a URI."""
    shown = redact_uri(uri)
    return SourceNotFoundError(f"there is nothing at {shown}", hint="check the name", subject=shown)
