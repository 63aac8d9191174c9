r"""Patterns that choose paths, in the language of gitignore(5): `.artifactignore`, `--exclude`, `--path`.

A pattern without a slash matches a name at any depth; with one, other than at its end, it is anchored where it was
written. A slash at the end matches directories only. `*` and `?` do not match a slash, `**/` any directories, `/**`
everything inside. `!` takes back, but not what lies in a directory that is left out. The last match counts.

Used by put, checkout and the SDK. Threading: immutable values, pure functions.

>>> patterns = parse_patterns([b"*.tmp", b"!keep.tmp", b"/build/"])
>>> [patterns.find_verdict(path, is_directory=False) for path in (b"a/b.tmp", b"a/keep.tmp", b"build")]
[True, False, None]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import UsageError
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

IGNORE_FILE: Final = b".artifactignore"

_CLASSES: Final = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"digit": rb"0-9",
    b"lower": rb"a-z",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\s",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
_TRAILING_SPACE = re.compile(rb"(?<!\\) +$")
_BRACKET = re.compile(rb"\[([!^]?)(\]?(?:\\.|\[:[a-z]+:\]|[^\]\\])*)\]", re.DOTALL)
_BRACKET_PART = re.compile(rb"\[:([a-z]+):\]|\\(.)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern.

    Attributes:
        expression: matches a path relative to `base`, or a name when it is not `anchored`.
        anchored: whether it is about paths.
        directory_only: whether it ended in a slash.
        negated: whether it began with `!`.
        base: entry path of the directory where it was written.
    """

    expression: re.Pattern[bytes]
    anchored: bool
    directory_only: bool
    negated: bool
    base: bytes = b""

    def matches(self, path: bytes, *, is_directory: bool) -> bool:
        """Return whether it matches this entry path."""
        if self.directory_only and not is_directory:
            return False
        if not self.anchored:
            return self.expression.fullmatch(path.rpartition(b"/")[2]) is not None
        relative = path[len(self.base) + 1 :] if self.base else path
        return self.expression.fullmatch(relative) is not None


@dataclass(frozen=True, slots=True)
class Patterns:
    """Patterns in order."""

    items: tuple[Pattern, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.items)

    def find_verdict(self, path: bytes, *, is_directory: bool) -> bool | None:
        """Return whether the last pattern that matches chooses the path; None when none matches."""
        for pattern in reversed(self.items):
            if pattern.matches(path, is_directory=is_directory):
                return not pattern.negated
        return None

    def chooses_below(self, path: bytes) -> bool:
        """Return whether a path that is no directory, or a directory above it, is chosen."""
        end = 0
        while (end := path.find(b"/", end + 1)) > 0:
            if self.find_verdict(path[:end], is_directory=True):
                return True
        return bool(self.find_verdict(path, is_directory=False))


@dataclass(frozen=True, slots=True)
class Ignored:
    """What is left out in a directory: what the caller excluded, and what ignore files on the way say."""

    excluded: Patterns = Patterns()
    ignored: Patterns = Patterns()

    def enter(self, data: bytes, base: bytes) -> Ignored:
        """Return this with the patterns of an ignore file that lies in the directory `base`."""
        found = parse_patterns(data.splitlines(), base=base)
        return Ignored(self.excluded, Patterns(self.ignored.items + found.items))

    def leaves_out(self, path: bytes, *, is_directory: bool) -> bool:
        """Return whether an entry path is left out. What the caller said comes before ignore files."""
        verdict = self.excluded.find_verdict(path, is_directory=is_directory) if self.excluded else None
        if verdict is None and self.ignored:
            verdict = self.ignored.find_verdict(path, is_directory=is_directory)
        return bool(verdict)


def parse_patterns(lines: Iterable[bytes], *, base: bytes = b"") -> Patterns:
    """Return the patterns in these lines; empty ones and comments are dropped.

    Raises:
        UsageError: a pattern has a bracket expression that means nothing.
    """
    return Patterns(tuple(found for line in lines if (found := _find_pattern(line, base)) is not None))


def _find_pattern(line: bytes, base: bytes) -> Pattern | None:
    text = _TRAILING_SPACE.sub(b"", line.rstrip(b"\r\n"))
    if not text or text.startswith(b"#"):
        return None
    negated = text.startswith(b"!")
    text = text[1:] if negated else text
    directory_only = text.endswith(b"/")
    text = text[:-1] if directory_only else text
    anchored = b"/" in text
    text = text.removeprefix(b"/")
    if not text:
        return None
    try:
        expression = re.compile(_translate(text), re.DOTALL)
    except re.error as error:
        msg = f"the pattern {printable(line)!r} cannot be understood: {error}"
        raise UsageError(msg, hint="patterns are those of gitignore(5)") from error
    return Pattern(expression, anchored, directory_only, negated, base)


def _translate(text: bytes) -> bytes:
    """Return the regular expression for a pattern without leading and trailing slash."""
    found: list[bytes] = []
    index = 0
    while index < len(text):
        part, index = _translate_next(text, index)
        found.append(part)
    return b"".join(found)


def _translate_next(text: bytes, index: int) -> tuple[bytes, int]:
    at_start = index == 0 or text[index - 1 : index] == b"/"
    if at_start and text.startswith(b"**/", index):
        return rb"(?:.*/)?", index + 3
    if at_start and text[index:] == b"**":
        return rb".+", index + 2
    character = text[index : index + 1]
    if character == b"*":
        return rb"[^/]*", index + 1
    if character == b"?":
        return rb"[^/]", index + 1
    if character == b"[" and (match := _BRACKET.match(text, index)):
        return _translate_bracket(match), match.end()
    if character == b"\\" and index + 1 < len(text):
        return re.escape(text[index + 1 : index + 2]), index + 2
    return re.escape(character), index + 1


def _translate_bracket(match: re.Match[bytes]) -> bytes:
    inside = b"".join(_translate_part(part) for part in _BRACKET_PART.finditer(match[2]))
    # A bracket never matches a slash, whatever it lists.
    return b"(?!/)[" + (b"^" if match[1] else b"") + inside + b"]"


def _translate_part(part: re.Match[bytes]) -> bytes:
    if part[1] is not None:
        return _CLASSES.get(part[1], b"")
    character: bytes = part[2] if part[2] is not None else part[3]
    return b"-" if character == b"-" and part[2] is None else re.escape(character)
