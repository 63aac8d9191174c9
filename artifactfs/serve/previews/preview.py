"""A preview of an entry: what kind it is, and as much of it as fits a page.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NotRequired, TypedDict

from artifactfs.errors import UsageError
from artifactfs.model import FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.repository.described import name_fields
from artifactfs.serve.entries import EntryParameters
from artifactfs.serve.kinds import MEDIA, find_kind, find_suffix
from artifactfs.serve.looking import look
from artifactfs.serve.previews.arrays import Arrays, read_arrays
from artifactfs.serve.previews.markdown import Element, parse_markdown
from artifactfs.serve.previews.tables import Table, read_table
from artifactfs.serve.previews.text import TEXT_BYTES, decode_text, find_language, split_lines

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.serve.context import Context
    from artifactfs.serve.looking import Place

HEX_BYTES: Final = 512


class Preview(TypedDict):
    """What an entry looks like.

    `kind` says which of the others are there: `image`, `audio` and `video` have none (their bytes are at
    `/api/content`), `table` has `table`, `arrays` has `arrays`, `markdown` has `document`, `text` has `lines`
    (words with a letter for their kind) and `language`, `binary` has `bytes` (in hexadecimal), `link` has `target`.
    """

    kind: str
    size: int
    media_type: NotRequired[str]
    is_cut: NotRequired[bool]
    language: NotRequired[str]
    lines: NotRequired[list[list[tuple[str, str]]]]
    document: NotRequired[list[Element]]
    table: NotRequired[Table]
    arrays: NotRequired[Arrays]
    bytes: NotRequired[str]
    target: NotRequired[str]
    target_base64: NotRequired[str]
    problem: NotRequired[str]


def get_preview(context: Context, wanted: EntryParameters) -> Preview:
    """What a file looks like: words, rows, shapes; never HTML. No more is read of it than is shown."""
    place = look(context, wanted.ref, wanted.path)
    return preview(place)


def preview(place: Place) -> Preview:
    """Return what an entry looks like; what cannot be understood is shown as text or bytes, with the problem.

    Raises:
        IntegrityError, RemoteError, ReferenceChangedError: it cannot be read.
    """
    entry, name = place.entry, place.path.rpartition(b"/")[2]
    if isinstance(entry, SymlinkEntry):
        return {"kind": "link", "size": len(entry.target), **name_fields("target", entry.target)}  # type: ignore[typeddict-item]
    if not isinstance(entry, FileEntry | ReferenceEntry):
        return {"kind": "directory", "size": entry.size}
    kind, suffix = find_kind(name, entry), find_suffix(name)
    if suffix in MEDIA:
        return {"kind": kind, "size": entry.size, "media_type": MEDIA[suffix]}
    with closing(place.open()) as file:
        try:
            found = _read(place, file, kind, suffix)
        except UsageError as error:
            found = {**_read_text(place, file, ""), "problem": error.message + (f" ({error.hint})" * bool(error.hint))}
        return {**found, "size": entry.size}


def _read(place: Place, file: ReadableFile, kind: str, suffix: str) -> Preview:
    if kind == "table":
        return {"kind": kind, "size": 0, "table": read_table(file, suffix)}
    if kind == "arrays":
        return {"kind": kind, "size": 0, "arrays": read_arrays(file, suffix)}
    if kind == "markdown" and (text := _find_text(file)) is not None:
        directory = place.path.rpartition(b"/")[0].decode("utf-8", "replace")
        document = parse_markdown(text, directory=directory)
        return {"kind": kind, "size": 0, "document": document, "is_cut": file.size > TEXT_BYTES}
    return _read_text(place, file, suffix)


def _read_text(place: Place, file: ReadableFile, suffix: str) -> Preview:
    text = _find_text(file)
    if text is None:
        shown = file.read_at(0, HEX_BYTES).hex()
        return {"kind": "binary", "size": 0, "bytes": shown, "is_cut": file.size > HEX_BYTES}
    language = find_language(place.name, suffix)
    lines = split_lines(text, language)
    return {"kind": "text", "size": 0, "language": language, "lines": lines, "is_cut": file.size > TEXT_BYTES}


def _find_text(file: ReadableFile) -> str | None:
    data = file.read_at(0, TEXT_BYTES)
    return decode_text(data, is_whole=len(data) == file.size)
