"""Content that is not whole where a tree says that it lies, from wherever else it is whole.

Nothing that was verified earlier is believed: whoever asks this has seen damage.

Used by check and repack. Threading: functions over a ContentStore.

Source: docs/format.md section 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.hashing import hash_file
from artifactfs.blobstore.places import FILES, SEEN
from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from artifactfs.blobstore.blobs import BlobName
    from artifactfs.model import Placement
    from artifactfs.repository.objects import ContentStore


def is_whole(content: ContentStore, blob: BlobName, place: Placement | None) -> bool:
    """Return whether the content of a file lies at a place; all of it is hashed. None: as an object of its own."""
    try:
        file = content.open_blob(blob, place)
    except ArtifactFSError:
        return False
    try:
        return file.size == blob.size and hash_file(file) == blob.sha256
    except (ArtifactFSError, OSError):
        return False
    finally:
        file.close()


def find_elsewhere(content: ContentStore, blob: BlobName, place: Placement | None) -> tuple[Placement | None] | None:
    """Return where else than at `place` the content of a file lies whole, in a tuple; None when it lies nowhere."""
    tried = [place]
    for table in (FILES, SEEN):
        others = content.finder.find_places(table, blob.sha256) if content.finder is not None else []
        for other in [*others, None]:
            if other not in tried:
                tried.append(other)
                if is_whole(content, blob, other):
                    return (other,)
    return None
