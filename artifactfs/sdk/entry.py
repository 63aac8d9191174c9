"""One file or link of an artifact, as the SDK shows it.

Threading: values; may be shared.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from artifactfs.errors import ReadOnlyError
from artifactfs.model import FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import format_path
from artifactfs.reference.base import is_unverified
from artifactfs.reference.uris import redact_uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Entry


class ArtifactEntry:
    """A file, link or directory in an artifact. May be shared by threads."""

    def __init__(
        self, path: bytes, load: Callable[[], Entry], fetch: Callable[[bytes, str | None], str] | None
    ) -> None:
        self._path = path
        self._load = load
        self._fetch = fetch

    @cached_property
    def _entry(self) -> Entry:
        # Of a draft, this reads the file: only when somebody asks.
        return self._load()

    @property
    def path(self) -> str:
        """The path in the artifact; `os.fsencode` gives its bytes."""
        return format_path(self._path)

    @property
    def name(self) -> str:
        """The same as `path`."""
        return self.path

    @property
    def size(self) -> int:
        """Bytes; of a directory those of all files in it, of a link 0."""
        return 0 if isinstance(self._entry, SymlinkEntry) else self._entry.size

    @property
    def digest(self) -> str | None:
        """`sha256:<hex>` of a file's content, of a directory's tree; None for a link."""
        return None if isinstance(self._entry, SymlinkEntry) else str(self._entry.digest)

    @property
    def mode(self) -> int:
        """The permission bits."""
        return self._entry.mode

    @property
    def mtime_ns(self) -> int:
        """Modification time, nanoseconds since 1970 UTC."""
        return self._entry.mtime_ns

    @property
    def kind(self) -> str:
        """`file`, `directory`, `link` or `reference`."""
        match self._entry:
            case FileEntry():
                return "file"
            case SymlinkEntry():
                return "link"
            case ReferenceEntry():
                return "reference"
        return "directory"

    @property
    def target(self) -> str | None:
        """Where a link points; None for anything else."""
        return os.fsdecode(self._entry.target) if isinstance(self._entry, SymlinkEntry) else None

    @property
    def uri(self) -> str | None:
        """Where a reference's bytes are, without what is secret; None for anything else."""
        return redact_uri(self._entry.uri) if isinstance(self._entry, ReferenceEntry) else None

    @property
    def is_unverified(self) -> bool:
        """Whether a reference may read as something else than was recorded without anybody noticing."""
        return isinstance(self._entry, ReferenceEntry) and is_unverified(self._entry)

    def download(self, root: str | os.PathLike[str] | None = None) -> str:
        """Write this entry below a local directory, under its path, and return where it is; see `Artifact.download`.

        Args:
            root: the directory; `./artifacts/NAME:vN` by default.

        Raises:
            AlreadyExistsError: something else is there.
            ReadOnlyError: the artifact is a draft: what it will hold is a local file already.
        """
        if self._fetch is None:
            msg = f"{self.path!r} is in a draft, so it cannot be downloaded"
            raise ReadOnlyError(msg, hint="log the artifact first", subject=self.path)
        return self._fetch(self._path, None if root is None else os.fspath(root))

    def __repr__(self) -> str:
        """Return the path."""
        return f"<ArtifactEntry {self.path!r}>"
