r"""Names and entry paths: what may be one, parsing and printing.

Names in a tree are bytes, any but NUL and `/`, up to 255; `.` and `..` are refused. An entry path is
names joined by `/`, without a leading or trailing slash; `b""` is the root. Collection and alias names,
and references to versions (REF), have rules of their own, below.

Threading: pure functions.

>>> parse_ref("animals:best/images/cat.png")
Ref(collection='animals', selector='best', path=b'images/cat.png')
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import InvalidNameError, InvalidPathError, NameTooLongError

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_MAX: Final = 255
PATH_MAX: Final = 4096
ALIAS_MAX: Final = 128
LATEST: Final = "latest"
DEFAULT_STAGING: Final = "staging"

_COLLECTION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})")
_LOOKS_LIKE_VERSION = re.compile(r"v[0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: bytes) -> bytes:
    """Return `name`, which may be one name in a tree.

    Raises:
        InvalidPathError: it is empty, `.` or `..`, or has a NUL or a slash.
        NameTooLongError: it is over 255 bytes.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        msg = f"{format_path(name)!r} cannot be the name of a file"
        raise InvalidPathError(msg, subject=format_path(name))
    if len(name) > NAME_MAX:
        msg = f"the name {format_path(name)[:40]!r}... has {len(name)} bytes, over the limit of {NAME_MAX}"
        raise NameTooLongError(msg, subject=format_path(name))
    return name


def are_names(names: Sequence[bytes]) -> bool:
    """Return whether `check_name` takes each of `names`; for many it is much quicker."""
    joined = b"/".join(names)
    return (
        joined.count(b"/") == max(len(names) - 1, 0)
        and b"\0" not in joined
        and not {b"", b".", b".."} & set(names)
        and max(map(len, names), default=0) <= NAME_MAX
    )


def split_path(path: bytes) -> tuple[bytes, ...]:
    """Return the names of an entry path; `b""` gives none.

    Raises:
        InvalidPathError: an empty, `.` or `..` name, a NUL, or a leading slash.
        NameTooLongError: a name over 255 bytes or a path over 4,096.
    """
    if len(path) > PATH_MAX:
        msg = f"the path {format_path(path)[:40]!r}... has {len(path)} bytes, over the limit of {PATH_MAX}"
        raise NameTooLongError(msg)
    if not path:
        return ()
    return tuple(check_name(name) for name in path.split(b"/"))


def parse_path(text: str | bytes | os.PathLike[str]) -> bytes:
    """Return the entry path that a person wrote: `./` in front and a trailing slash are dropped.

    Raises:
        InvalidPathError: an absolute path, or one that leaves the tree.
        NameTooLongError: a name over 255 bytes or a path over 4,096.
    """
    path = os.fsencode(text)
    if path.startswith(b"/"):
        msg = f"the path {format_path(path)!r} is absolute"
        raise InvalidPathError(msg, hint="paths inside an artifact are relative", subject=format_path(path))
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    return b"/".join(split_path(b"/".join(names)))


def format_path(path: bytes) -> str:
    """Return bytes of a name or path as text that prints; `os.fsencode` gives the bytes back."""
    return os.fsdecode(path)


def printable(path: bytes) -> str:
    r"""Return a path for a person's eyes: what is not UTF-8 or controls the terminal is escaped.

    >>> printable(b"a\xff\x1bb")
    'a\\xff\\x1bb'
    """
    text = path.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def join_path(parent: bytes, name: bytes) -> bytes:
    """Return `name` inside the entry path `parent`."""
    return parent + b"/" + name if parent else name


def check_collection_name(name: str) -> str:
    """Return `name`, which a collection may have.

    Raises:
        InvalidNameError: it is not 1-128 of `A-Z a-z 0-9 _ . -`, or begins with a dot.
    """
    if _COLLECTION.fullmatch(name) is None:
        msg = f"{name!r} cannot be the name of a collection"
        raise InvalidNameError(
            msg, hint="use 1 to 128 letters, digits, '_', '-' and '.', not beginning with a dot", subject=name
        )
    return name


def check_alias_name(name: str) -> str:
    """Return `name`, which an alias may have.

    Raises:
        InvalidNameError: it is empty, over 128 bytes, not UTF-8, has `/`, `:`, or control characters,
            begins with `.` or `@`, or looks like a version number.
    """
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    bad = not 1 <= size <= ALIAS_MAX or name[0] in ".@" or _CONTROL.search(name) or "/" in name or ":" in name
    if bad or _LOOKS_LIKE_VERSION.fullmatch(name):
        msg = f"{name!r} cannot be an alias"
        raise InvalidNameError(
            msg,
            hint="use 1 to 128 bytes without '/', ':' and control characters, not beginning with '.' or '@', "
            "and not of the form v0",
            subject=name,
        )
    return name


def check_staging_name(name: str) -> str:
    """Return `name`, which a staging directory may have (without its `@`): the rule of collections.

    Raises:
        InvalidNameError: it breaks the rule.
    """
    if _COLLECTION.fullmatch(name) is None:
        msg = f"{name!r} cannot be the name of a staging directory"
        raise InvalidNameError(msg, hint="use letters, digits, '_', '-' and '.', not beginning with a dot")
    return name


def format_version(number: int) -> str:
    """Return `v<number>`."""
    return f"v{number}"


def find_version_number(text: str) -> int | None:
    """Return the number in `v<number>`, or None when the text has another form."""
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Ref:
    """What a person writes to name a version: NAME, NAME:vN, NAME:ALIAS or NAME:@STAGING, and a path.

    Attributes:
        collection: the collection's name.
        selector: `vN`, an alias, or `@NAME`; None when nothing was written, which means `latest`.
        path: entry path inside the version; b"" is its root.
    """

    collection: str
    selector: str | None = None
    path: bytes = b""

    @property
    def staging(self) -> str | None:
        """The staging directory's name without `@`, or None."""
        return self.selector[1:] if self.selector and self.selector.startswith("@") else None

    @property
    def version(self) -> int | None:
        """The version number, when the selector is one."""
        return find_version_number(self.selector) if self.selector else None

    @property
    def alias(self) -> str | None:
        """The alias, when the selector is one or is absent."""
        if self.staging is not None or self.version is not None:
            return None
        return self.selector or LATEST

    def __str__(self) -> str:
        """Return the text that parses to this."""
        text = f"{self.collection}:{self.selector}" if self.selector else self.collection
        return f"{text}/{printable(self.path)}" if self.path else text


def parse_ref(text: str) -> Ref:
    """Return what `NAME[:vN|:ALIAS|:@STAGING][/PATH]` names; the first `:` or `/` ends NAME.

    Raises:
        InvalidNameError: the collection, alias or staging name breaks its rule.
        InvalidPathError: the path is not one, or leaves the tree.
    """
    end = re.search(r"[:/]", text)
    name, rest = (text[: end.start()], text[end.start() :]) if end else (text, "")
    check_collection_name(name)
    selector: str | None = None
    if rest.startswith(":"):
        selector, slash, tail = rest[1:].partition("/")
        rest = slash + tail
        if selector.startswith("@"):
            check_staging_name(selector[1:])
        elif find_version_number(selector) is None:
            check_alias_name(selector)
    return Ref(name, selector, parse_path(rest[1:]) if rest else b"")
