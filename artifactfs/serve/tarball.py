"""A version, or a directory of one, as a tar file that is written while it is sent.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from artifactfs.interop.tarball import TarStream
from artifactfs.paths import printable
from artifactfs.serve.looking import look

if TYPE_CHECKING:
    from artifactfs.serve.context import Context
    from artifactfs.serve.entries import EntryParameters


def read_tar(context: Context, wanted: EntryParameters) -> Response:
    """A version or a directory of it as a tar file (pax), with modes, times and links."""
    place = look(context, wanted.ref, wanted.path)
    last = place.path.rpartition(b"/")[2]
    name = place.viewed.ref.replace(":", "-") + (f"-{printable(last)}" if last else "") + ".tar"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(TarStream(place.viewed, place.path), headers=headers, media_type="application/x-tar")
