"""Text and code: lines of words, each with its kind.

Only lexers of a list are used, on a bounded piece of text with bounded lines: a lexer is a set of regular expressions,
and some take very long for text that was made for it.

Used by `previews`. Threading: pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_BYTES: Final = 256 << 10
CODE_BYTES: Final = 64 << 10
"""Beyond so much, or with longer lines, text has no colours."""
LINE_CHARACTERS: Final = 2000
_CONTROLS = frozenset(range(32)) - {7, 8, 9, 10, 12, 13, 27}

LANGUAGES: Final = {
    "bash": "bash", "c": "c", "cfg": "ini", "cc": "cpp", "conf": "ini", "cpp": "cpp", "css": "css", "cu": "cuda",
    "diff": "diff", "go": "go", "h": "c", "hpp": "cpp", "htm": "html", "html": "html", "ini": "ini", "ipynb": "json",
    "java": "java", "jl": "julia", "js": "javascript", "json": "json", "kt": "kotlin", "lua": "lua",
    "mjs": "javascript",
    "patch": "diff", "proto": "protobuf", "py": "python", "pyi": "python", "r": "r", "rb": "ruby", "rs": "rust",
    "scala": "scala", "sh": "bash", "sql": "sql", "swift": "swift", "tex": "tex", "toml": "toml", "ts": "typescript",
    "xml": "xml", "yaml": "yaml", "yml": "yaml", "zsh": "bash",
}  # fmt: skip
NAMES: Final = {"dockerfile": "docker", "makefile": "make", "cmakelists.txt": "cmake"}

Line = list[tuple[str, str]]


def decode_text(data: bytes, *, is_whole: bool) -> str | None:
    r"""Return the text that bytes are, as UTF-8, UTF-16 with a mark, or Latin-1; None when they are none.

    >>> decode_text("é".encode()[:1] + b"", is_whole=False), decode_text(b"a\0b", is_whole=True)
    ('', None)
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if not _CONTROLS.isdisjoint(data):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not is_whole and error.end == len(data) and error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8-sig")
    return data.decode("latin-1")


def find_language(name: str, suffix: str) -> str:
    """Return the language of a file by its name; "" for plain text."""
    return NAMES.get(name.lower(), LANGUAGES.get(suffix, ""))


def split_lines(text: str, language: str) -> list[Line]:
    """Return the lines of a text as words with their kinds, "" for what has none."""
    lines = text.splitlines() if "\n" not in text else text.removesuffix("\n").split("\n")
    if not language or len(text) > CODE_BYTES or any(len(line) > LINE_CHARACTERS for line in lines):
        return [[("", line.rstrip("\r"))] for line in lines]
    return list(_iter_lines(text, language))


def _iter_lines(text: str, language: str) -> Iterator[Line]:
    from pygments.lexers import get_lexer_by_name  # noqa: PLC0415 (only when code is looked at)

    line: Line = []
    for kind, value in get_lexer_by_name(language, ensurenl=False, stripnl=False).get_tokens(text):
        word = _shorten(kind)
        first, *others = value.split("\n")
        if first:
            line.append((word, first))
        for other in others:
            yield line
            line = [(word, other)] if other else []
    if line:
        yield line


def _shorten(kind: Any) -> str:
    """Return a letter for the kind of a word."""
    from pygments.token import Comment, Keyword, Literal, Name, Number, Operator  # noqa: PLC0415

    if kind in Name.Function or kind in Name.Class or kind in Name.Tag or kind in Name.Attribute:
        return "f"
    groups = ((Comment, "c"), (Keyword, "k"), (Number, "n"), (Literal, "s"), (Name.Builtin, "b"), (Operator, "o"))
    return next((letter for group, letter in groups if kind in group), "")
