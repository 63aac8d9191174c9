"""What a file is shown as, by its name alone, and the media types that its bytes may be served with.

Used by `entries`, `content` and `previews`. Threading: pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.model import DirectoryEntry, SymlinkEntry

if TYPE_CHECKING:
    from artifactfs.model import Entry

IMAGES: Final = {
    "avif": "image/avif", "bmp": "image/bmp", "gif": "image/gif", "ico": "image/x-icon", "jpeg": "image/jpeg",
    "jpg": "image/jpeg", "png": "image/png", "svg": "image/svg+xml", "webp": "image/webp",
}  # fmt: skip
SOUNDS: Final = {
    "aac": "audio/aac", "flac": "audio/flac", "m4a": "audio/mp4", "mp3": "audio/mpeg", "oga": "audio/ogg",
    "ogg": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav", "weba": "audio/webm",
}  # fmt: skip
VIDEOS: Final = {
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "ogv": "video/ogg",
    "webm": "video/webm",
}
OTHERS: Final = {
    "csv": "table", "tsv": "table", "jsonl": "table", "ndjson": "table", "parquet": "table", "npy": "arrays",
    "npz": "arrays", "safetensors": "arrays", "md": "markdown", "markdown": "markdown",
}  # fmt: skip
MEDIA: Final = {**IMAGES, **SOUNDS, **VIDEOS}
"""Media types that browsers show without running anything; SVG runs nothing in `<img>`, nor under the policy of
`content`."""


def find_suffix(name: bytes) -> str:
    """Return the suffix of a name, in lower case and without the dot; "" without one."""
    first, dot, last = name.rpartition(b".")
    return last.decode("utf-8", "replace").lower() if dot and first else ""


def find_kind(name: bytes, entry: Entry) -> str:
    """Return what a preview of an entry shows: `directory`, `link`, `image`, `audio`, `video`, `table`, `arrays`,
    `markdown`, or `file` where the content decides.
    """  # noqa: D205 (one sentence)
    if isinstance(entry, DirectoryEntry):
        return "directory"
    if isinstance(entry, SymlinkEntry):
        return "link"
    suffix = find_suffix(name)
    for kind, known in (("image", IMAGES), ("audio", SOUNDS), ("video", VIDEOS)):
        if suffix in known:
            return kind
    return OTHERS.get(suffix, "file")
