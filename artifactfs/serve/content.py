"""The bytes of a file, whole or in part.

Part of the API. Threading: functions without state; a file belongs to the request that reads it.

Source: RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import Struct
from starlette.responses import Response, StreamingResponse

from artifactfs.paths import printable
from artifactfs.serve.kinds import MEDIA, find_suffix
from artifactfs.serve.looking import look
from artifactfs.serve.operations import Path, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.blobstore.verifying import ReadableFile
    from artifactfs.serve.context import Context
    from artifactfs.serve.looking import Place

CHUNK: Final = 1 << 20
POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""For what is served as it is: nothing in it runs or loads anything, also when it is opened by itself. SVG images have
inline styles."""
UNSATISFIABLE: Final = (0, 0)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class ContentParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A file; with `download`, to be saved."""

    ref: Ref
    path: Path
    download: bool = False


class Sent(Struct, frozen=True):
    """What the headers of a request say.

    Attributes:
        range: of the header Range; empty without one.
        if_none_match: what is known already.
        if_range: what the range must be of.
        is_head: whether only the headers are wanted.
    """

    range: str = ""
    if_none_match: str = ""
    if_range: str = ""
    is_head: bool = False


def read_content(context: Context, wanted: ContentParameters, sent: Sent | None = None) -> Response:
    """The bytes of a file. Ranges are answered; what is not an image, sound or video is never shown as it is."""
    place, sent = look(context, wanted.ref, wanted.path), sent or Sent()
    size, tag = place.get_file().size, _find_tag(place)
    headers = _find_headers(place, tag, is_download=wanted.download)
    if tag and tag in [each.strip() for each in sent.if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    found = parse_range(sent.range, size) if sent.range and sent.if_range in ("", tag) else None
    if found == UNSATISFIABLE:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end = found or (0, size)
    status = 206 if found else 200
    if found:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if sent.is_head:
        return Response(status_code=status, headers=headers)
    file = place.open()  # what cannot be read is an error, before anything is answered
    return StreamingResponse(_iter_bytes(file, start, end), status, headers)


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte wanted and the one after the last.

    Returns:
        None for what is not understood: a server then answers the whole. So it may with several ranges. UNSATISFIABLE
        when nothing of what is wanted is there.

    Source: RFC 9110, 14.1 and 14.2.

    >>> [parse_range(f"bytes={text}", 10) for text in ("2-4", "7-", "-3", "5-99", "0-", "0-1,5-6", "10-", "-0")]
    [(2, 5), (7, 10), (7, 10), (5, 10), (0, 10), None, (0, 0), (0, 0)]
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else UNSATISFIABLE
    if last and int(last) < int(first):
        return None
    start, end = int(first), min(size, int(last) + 1) if last else size
    return (start, end) if start < size else UNSATISFIABLE


def _find_tag(place: Place) -> str:
    """Return the validator of what is answered; "" for what can change under the same digest."""
    return "" if place.viewed.staging is not None else f'"{place.get_file().digest}"'


def _find_headers(place: Place, tag: str, *, is_download: bool) -> dict[str, str]:
    name = place.path.rpartition(b"/")[2]
    media = MEDIA.get(find_suffix(name))
    disposition = "inline" if media and not is_download else "attachment"
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=86400, immutable" if place.is_fixed else "private, no-cache",
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(printable(name), safe='')}",
        "Content-Security-Policy": POLICY,
        "Content-Type": media or "application/octet-stream",
        **({"ETag": tag} if tag else {}),
    }


def _iter_bytes(file: ReadableFile, start: int, end: int) -> Iterator[bytes]:
    with closing(file):
        at = start
        while at < end:
            data = file.read_at(at, min(CHUNK, end - at))
            if not data:
                return  # a staging directory's file became shorter
            yield data
            at += len(data)
