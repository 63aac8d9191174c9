"""Trees as bytes: the canonical encoding and the pages of large directories.

The format is described in docs/format.md and fixed by golden vectors. A page is MessagePack
`[level, items]`; level 0 holds entries sorted by name, higher levels hold page references. The digest of
a directory is that of its top page. A decoder encodes what it read again and compares, so that each
value has exactly one encoding.

Threading: pure functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import attrgetter, lt
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.digest import Digest, hash_bytes
from artifactfs.errors import DigestMismatchError, InvalidNameError, MalformedError
from artifactfs.model import (
    DIRECTORY,
    EXECUTABLE,
    FILE,
    FIRST_NS,
    LARGEST,
    LAST_NS,
    REFERENCE,
    SYMLINK,
    DirectoryEntry,
    Entry,
    FileEntry,
    PageRef,
    ReferenceEntry,
    SymlinkEntry,
)
from artifactfs.paths import are_names, check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_LIMIT: Final = 1024
"""A level of up to this many items is one page, whatever their names."""
BOUNDARY_MASK: Final = 0x1FF
"""Above that, a page ends after an item when these low bits of SHA-256(level byte, name) are zero."""

_encoder = msgspec.msgpack.Encoder()
_size_of = attrgetter("size")
_name_of = attrgetter("name")
_decode_level = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_decode_entries = msgspec.msgpack.Decoder(tuple[Entry, ...])
_decode_pages = msgspec.msgpack.Decoder(tuple[PageRef, ...])


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a directory, decoded.

    Attributes:
        level: 0 for entries, higher for page references.
        items: entries, or page references, in name order.
        data: the canonical bytes.
        tree: SHA-256 of `data`.
        content: SHA-256 of the content encoding: names, kinds, executable bits and content only.
        size: bytes in all files and references below.
        count: everything below that is not a directory.
        entry_count: entries of the directory in this page and below.
    """

    level: int
    items: tuple[Entry, ...] | tuple[PageRef, ...]
    data: bytes
    tree: bytes
    content: bytes
    size: int
    count: int
    entry_count: int

    @property
    def digest(self) -> Digest:
        """The tree digest."""
        return Digest(self.tree)

    @property
    def last(self) -> bytes:
        """The last name in the page; b"" in an empty one."""
        return _key(self.items[-1]) if self.items else b""


def _key(item: Entry | PageRef) -> bytes:
    return item.last if isinstance(item, PageRef) else item.name


def _content_items(items: Sequence[Entry] | Sequence[PageRef]) -> list[object]:
    # Nearly all items are files: for them there is no call of a function, and of `is_executable`.
    return [
        (FILE, item.name, item.mode & EXECUTABLE != 0, item.sha256) if type(item) is FileEntry else _content_item(item)
        for item in items
    ]


def _content_item(item: Entry | PageRef) -> object:
    match item:
        case FileEntry():
            return (FILE, item.name, item.mode & EXECUTABLE != 0, item.sha256)
        case DirectoryEntry():
            return (DIRECTORY, item.name, item.content)
        case SymlinkEntry():
            return (SYMLINK, item.name, item.target)
        case ReferenceEntry():
            # A reference whose SHA-256 is known is the same content as the file it stands for.
            return (FILE if item.has_sha256 else REFERENCE, item.name, item.is_executable, item.content)
        case PageRef():
            return item.content


def _totals(items: Sequence[Entry] | Sequence[PageRef]) -> tuple[int, int, int]:
    if set(map(type, items)) == {FileEntry}:  # most pages, and quicker
        return sum(map(_size_of, items)), len(items), len(items)
    size = count = entry_count = 0
    for item in items:
        match item:
            case PageRef():
                size, count, entry_count = size + item.size, count + item.count, entry_count + item.entry_count
            case DirectoryEntry():
                size, count, entry_count = size + item.size, count + item.count, entry_count + 1
            case SymlinkEntry():
                count, entry_count = count + 1, entry_count + 1
            case _:
                size, count, entry_count = size + item.size, count + 1, entry_count + 1
    return size, count, entry_count


def build_page(level: int, items: tuple[Entry, ...] | tuple[PageRef, ...]) -> Page:
    """Return the page that holds `items`, which must be in strictly rising name order."""
    data = _encoder.encode((level, items))
    content = hashlib.sha256(_encoder.encode((level, _content_items(items)))).digest()
    return Page(level, items, data, hashlib.sha256(data).digest(), content, *_totals(items))


def check_range(page: Page) -> None:
    """Return if a page has only numbers that a decoder takes.

    Raises:
        MalformedError: a time or a size is too large; nobody could read the page.
    """
    times = [item.mtime_ns for item in page.items if not isinstance(item, PageRef)]
    if page.size > LARGEST or (times and not FIRST_NS <= min(times) <= max(times) <= LAST_NS):
        msg = f"a directory cannot state the size {page.size}, or one of the times in it"
        raise MalformedError(msg)


def is_boundary(level: int, name: bytes) -> bool:
    """Return whether a page of `level` ends after the item called `name`, in a level that is split."""
    tail = hashlib.sha256(bytes((level,)) + name).digest()[-2:]
    return int.from_bytes(tail, "big") & BOUNDARY_MASK == 0


def split_level(level: int, items: Sequence[Entry] | Sequence[PageRef]) -> list[Page]:
    """Return the pages into which one level of a directory falls; a single one for up to 1,024 items."""
    if len(items) <= PAGE_LIMIT:
        return [build_page(level, tuple(items))]  # type: ignore[arg-type]
    pages: list[Page] = []
    start = 0
    for index, item in enumerate(items, 1):
        if index == len(items) or is_boundary(level, _key(item)):
            pages.append(build_page(level, tuple(items[start:index])))  # type: ignore[arg-type]
            start = index
    return pages


def build_directory(entries: Sequence[Entry]) -> list[Page]:
    """Return the pages of a directory, lower levels first; the last one is the top.

    The same entries give the same pages, however the directory came about.

    Args:
        entries: in any order, names unique.

    Raises:
        MalformedError: two entries have one name.
        InvalidPathError, NameTooLongError: a name that no tree may hold.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    _check_names(ordered)
    pages = split_level(0, ordered)
    found = list(pages)
    level = 0
    while len(pages) > 1:
        level += 1
        pages = split_level(level, [page_ref(page) for page in pages])
        found += pages
    return found


def page_ref(page: Page) -> PageRef:
    """Return how the page above lists `page`, which must not be empty."""
    return PageRef(page.last, page.tree, page.content, page.size, page.count, page.entry_count)


def _check_names(items: Sequence[Entry] | Sequence[PageRef]) -> None:
    names = list(map(_key if items and isinstance(items[0], PageRef) else _name_of, items))
    if all(map(lt, names, names[1:])) and are_names(names):
        return
    previous = b""
    for name in map(check_name, names):
        if name <= previous:
            msg = f"the names {previous!r} and {name!r} in one directory are not in rising order"
            raise MalformedError(msg)
        previous = name


def decode_page(data: bytes) -> Page:
    """Return the page that canonical bytes stand for.

    Raises:
        MalformedError: they are not MessagePack, have unknown or missing fields, names out of order or
            invalid, or are not the canonical encoding of what they say.
    """
    try:
        level, rest = _decode_level.decode(data)
        items = _decode_entries.decode(rest) if level == 0 else _decode_pages.decode(rest)
        _check_names(items)
    except (msgspec.MsgspecError, InvalidNameError) as error:
        msg = f"a stored tree does not decode: {error}"
        raise MalformedError(msg) from error
    if not 0 <= level <= 255:
        msg = f"a stored tree has the level {level}"
        raise MalformedError(msg)
    page = build_page(level, items)
    if page.data != data:
        msg = "a stored tree is not in canonical form"
        raise MalformedError(msg)
    return page


def encode_sums(chunks: Sequence[bytes]) -> bytes:
    """Return the stored form of chunk digests: 32 bytes each, in order."""
    return b"".join(chunks)


def decode_sums(data: bytes, *, expected: Digest) -> tuple[bytes, ...]:
    """Return the SHA-256 of each 4 MiB chunk of a blob.

    Raises:
        DigestMismatchError: `data` does not hash to `expected`.
        MalformedError: it is not a multiple of 32 bytes.
    """
    if hash_bytes(data) != expected:
        msg = f"the sums {expected} are damaged"
        raise DigestMismatchError(msg, subject=str(expected))
    if len(data) % 32:
        msg = f"the sums {expected} are cut short"
        raise MalformedError(msg, subject=str(expected))
    return tuple(data[start : start + 32] for start in range(0, len(data), 32))
