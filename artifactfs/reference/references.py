"""References: from a URI to entries, and from an entry to its bytes.

Whoever reads a reference, a command or a mount, does it by `References.open`: every byte that comes out was read under
the recorded validator.

Used by the repository. Threading: a References may be shared by threads, and by no forked process that uses it.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from artifactfs.blobstore.away import Away
from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.limiting import Gate
from artifactfs.blobstore.retrying import RetryPolicy
from artifactfs.errors import AccessDeniedError, SourceNotFoundError, UsageError
from artifactfs.model import ReferenceEntry, SymlinkEntry, limit_time_ns
from artifactfs.reference.base import Folder, LocalLink, Special, changed, missing
from artifactfs.reference.buckets import BucketSource
from artifactfs.reference.content import KeptReferenceFile, ReferenceFile
from artifactfs.reference.files import FileSource
from artifactfs.reference.kept import KeptReferences, reference_key
from artifactfs.reference.limited import LimitedSource
from artifactfs.reference.offline import OfflineSource
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.uris import MAX_OBJECTS, find_bucket_key, normalize_uri, redact_uri
from artifactfs.reference.web import WebSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.reference.base import Described, Source

MODE: Final = 0o644
LINK_MODE: Final = 0o777
Found = ReferenceEntry | SymlinkEntry | Special | Folder
"""What becomes of something below a URI: an entry; of directories and special files whoever asked decides."""
_encoder = msgspec.msgpack.Encoder()


class References:
    """Reads what lies outside the repository. May be shared by threads.

    Args:
        policy: which references are followed.
        options: how to speak to services.
    """

    def __init__(self, policy: ReferencePolicy | None = None, options: RemoteOptions | None = None) -> None:
        self.policy = policy or ReferencePolicy()
        options = options or RemoteOptions()
        retry = RetryPolicy(options.attempts, options.deadline_seconds, os.urandom)
        self._buckets = BucketSource(self.policy, options)
        self._files = FileSource(self.policy)
        self._web = WebSource(
            self.policy,
            retry,
            connect_seconds=min(options.connect_timeout_seconds, options.deadline_seconds),
            read_seconds=options.wait_seconds,
        )
        self._kept = KeptReferences(options) if options.cache else None
        self._gate = Gate(options.connections, options.bandwidth)
        self._is_away = options.is_away
        self._offline = OfflineSource() if options.offline else None

    def iter_entries(
        self, text: str, *, checksum: bool = True, max_objects: int = MAX_OBJECTS, allow_signed: bool = False
    ) -> Iterator[tuple[bytes, Found]]:
        """Yield path and entry of each object that a URI names: itself, by b"", or all that lie below it.

        Below a local directory there are links, too, and special files. An object that stands for a directory is
        yielded as one; b"" is then what the URI names.

        Args:
            text: a URI; with a slash at its end only what lies below it is meant.
            checksum: whether to record what tells one content from another; without it entries are unverified.
            max_objects: how many there may be.
            allow_signed: whether a query may hold a signature.

        Raises:
            UsageError: there are more than `max_objects`, or no reference can have this URI.
            SourceNotFoundError: there is nothing.
            InvalidPathError: an object has a key that no file can have.
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """
        uri = normalize_uri(text, allow_signed=allow_signed)
        source = self._source(uri)
        if not uri.endswith("/") or source is self._web:
            try:
                found = source.describe(uri, checksum=checksum)
            except SourceNotFoundError:
                if source is self._web:
                    raise
            else:
                yield b"", make_entry(uri.rpartition("/")[2].encode() or b"index", found)
                return
        yield from self._iter_below(source, uri.rstrip("/"), checksum=checksum, max_objects=max_objects)

    def _iter_below(
        self, source: Source, uri: str, *, checksum: bool, max_objects: int
    ) -> Iterator[tuple[bytes, Found]]:
        self.policy.check(uri)
        count = 0
        for found in source.iter_below(uri, checksum=checksum):
            count += 1
            if count > max_objects:
                msg = f"there are more than {max_objects} objects below {redact_uri(uri)}"
                hint = "--max-objects (in Python max_objects) allows more, or add a part of them"
                raise UsageError(msg, hint=hint, subject=redact_uri(uri))
            path = _entry_path(found.uri, uri)
            name = path.rpartition(b"/")[2]
            if isinstance(found, (Special, Folder)):
                yield path, found
            elif isinstance(found, LocalLink):
                yield path, SymlinkEntry(name, LINK_MODE, limit_time_ns(found.modified_ns), found.target)
            else:
                yield path, make_entry(name, found)
        if not count:
            raise missing(uri)

    def open(self, entry: ReferenceEntry) -> ReferenceFile | KeptReferenceFile:
        """Return the content of a reference, open for reading; nothing is asked yet.

        Raises:
            AccessDeniedError: it is not followed here.
            UsageError: this release cannot read its scheme.
        """
        self.policy.check(entry.uri)
        source = self._find_source(entry)
        if source is not self._files:
            source = LimitedSource(source, self._gate)
            if self._kept is not None:
                return KeptReferenceFile(self._kept, self._key(entry), source, entry)
        if self._is_away:
            raise Away(entry.uri)
        return ReferenceFile(source, entry)

    def keeps(self, entry: ReferenceEntry) -> bool:
        """Return whether what is read through a reference is kept on this machine; a local file is not."""
        return self._kept is not None and not entry.uri.startswith("file://")

    def name_chunk(self, entry: ReferenceEntry, number: int) -> str:
        """Return the name that a chunk of a reference has in the cache."""
        return f"{self._key(entry)}.{number}"

    @property
    def cache(self) -> DiskCache | None:
        """Where what is fetched is kept; None when nothing is."""
        return None if self._kept is None else self._kept.cache

    def has_chunk(self, entry: ReferenceEntry, number: int) -> bool:
        """Return whether a chunk of a reference is kept on this machine."""
        return self._kept is not None and self._kept.cache.has(self._key(entry), number)

    def fetch_chunk(self, entry: ReferenceEntry, number: int) -> int:
        """Bring a chunk of a reference that is kept into the cache; return the bytes fetched, 0 when it was there.

        Raises:
            AccessDeniedError: it is not followed here, or may not be read.
            ReferenceChangedError: it is no longer what was recorded.
            RemoteError: it cannot be reached.
            StorageFullError: it could not be kept.
        """
        file = self.open(entry)
        assert isinstance(file, KeptReferenceFile), "its content is kept"
        return file.fetch(number)

    def count_kept(self, entry: ReferenceEntry) -> tuple[int, int] | None:
        """Return how many chunks of a reference are kept on this machine, and of how many; None for a local file."""
        if self._kept is None or entry.uri.startswith("file://"):
            return None
        return self._kept.count(self._key(entry), entry.size)

    def close(self) -> None:
        """Fetch nothing more ahead."""
        if self._kept is not None:
            self._kept.close()

    def _key(self, entry: ReferenceEntry) -> str:
        # What was read of a host of this network, because its owner named it, is for nobody who did not.
        return reference_key(entry, scope="named" if self.policy.names_host(entry.uri) else "public")

    def find_drift(self, entry: ReferenceEntry) -> str | None:
        """Return what is wrong with a reference, without reading it where the service allows; None if nothing is.

        Raises:
            RemoteError, AccessDeniedError: it cannot be reached or may not be read.
        """
        if self._is_away:
            raise Away(entry.uri)
        source = self._find_source(entry)
        if source is self._buckets and entry.validator.kind in ("version", "generation"):
            return None if self._buckets.has_version(entry) else changed(entry, None).message
        try:
            found = source.describe(entry.uri, checksum=entry.validator.kind not in ("modified", "none"))
        except SourceNotFoundError:
            return changed(entry, None).message
        is_same = entry.validator.kind == "none" or found.validator == entry.validator
        return None if found.size == entry.size and is_same else changed(entry, found).message

    def _find_source(self, entry: ReferenceEntry) -> Source:
        """Return what reads a reference.

        Raises:
            AccessDeniedError: its version can be asked for with credentials only, which are not sent there.
            UsageError: this release cannot read its scheme.
        """
        source = self._source(entry.uri)
        if source is self._web and entry.validator.kind == "version":
            shown = redact_uri(entry.uri)
            msg = f"{shown} was recorded by its version, which is read with credentials, and these are not sent there"
            hint = "the owner of the configuration file can add its host to `follow_references`"
            raise AccessDeniedError(msg, hint=hint, subject=shown)
        return source

    def _source(self, uri: str) -> Source:
        if uri.startswith("file://"):
            return self._files
        if self._offline is not None:
            return self._offline
        if (place := find_bucket_key(uri)) is not None and (not place.account or self.policy.names_host(uri)):
            return self._buckets
        if uri.startswith(("http://", "https://")):
            return self._web
        msg = f"this release does not read {redact_uri(uri)}"
        raise UsageError(msg, subject=redact_uri(uri))


def make_entry(name: bytes, found: Described) -> ReferenceEntry:
    """Return the entry that records what was found at a URI.

    Source: docs/format.md sections 4.1 and 4.3.
    """
    has_sha256 = found.validator.kind == "sha256"
    if has_sha256:
        content = bytes.fromhex(found.validator.value)
    else:
        kind, value = found.validator.kind, found.validator.value
        content = hashlib.sha256(_encoder.encode([found.uri, kind, value, found.size])).digest()
    mtime_ns = limit_time_ns(found.modified_ns)
    return ReferenceEntry(name, MODE, mtime_ns, found.size, found.uri, found.validator, content, has_sha256)


def _entry_path(uri: str, base: str) -> bytes:
    below = uri[len(base) :].lstrip("/")
    return below.encode() if uri.startswith(("s3:", "gs:", "az:")) else unquote_to_bytes(below)
