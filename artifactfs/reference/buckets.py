"""References to objects in buckets: `s3://`, `gs://`, `az://`, and `https` URLs of Azure's blob service.

A version id (S3, Azure) or generation (GCS) is read even after the object has changed; an ETag is made a condition of
each request, so that the service itself refuses other bytes.

Used by `references.py`. Threading: a BucketSource may be shared by threads, and by no forked process.

Source: obstore documentation, "get"; RFC 9110 section 13.1.1 (If-Match).
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from artifactfs.blobstore.connecting import connect
from artifactfs.blobstore.connection_failures import check_answer
from artifactfs.blobstore.locations import RemoteLocation
from artifactfs.blobstore.objectstore import PAGE, call_interruptibly
from artifactfs.blobstore.remote_failures import translate_remote_error
from artifactfs.errors import (
    ArtifactFSError,
    InvalidPathError,
    RemoteDeniedError,
    RemoteUnavailableError,
    SourceNotFoundError,
)
from artifactfs.model import Validator
from artifactfs.paths import printable
from artifactfs.reference.base import Described, Folder, changed, missing
from artifactfs.reference.uris import RENAME, BucketKey, find_bucket_key, names_no_file, redact_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from artifactfs.blobstore.connecting import RemoteOptions
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.policy import ReferencePolicy

RETRIES: Final = 4
_SHOWN: Final = 300
_FOLDER_MARK: Final = "hdi_isfolder"
"""In the metadata of an object without bytes: Azure's tools have it stand for a directory."""
_ODD_KEY = re.compile(
    r'invalid path: (?:Error parsing )?Path "(.*?)"(?: contained empty|: Encountered illegal)', re.DOTALL
)
_VERSIONS: Final = ("version", "generation")
T = TypeVar("T")


class _NotThere(Exception):  # noqa: N818 (an answer, not an error)
    """The object is missing, or is another one."""


class BucketSource:
    """Reads objects in buckets. May be shared by threads."""

    def __init__(self, policy: ReferencePolicy, options: RemoteOptions) -> None:
        self._policy = policy
        self._options = options
        self._guard = threading.Lock()
        self._clients: dict[tuple[str, str, str], Any] = {}

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Return what is at a URI: one request. An object that is marked as a directory is none."""
        place = self._find(uri)
        if not place.key:
            raise missing(uri)
        client = self._client(place)
        try:
            found = self._call(lambda: client.get(place.key, options={"head": True}), uri)
        except _NotThere:
            raise missing(uri) from None
        check_answer(found.meta, doing=f"reading {redact_uri(uri)}", key=redact_uri(uri))
        if not found.meta["size"] and found.attributes.get(_FOLDER_MARK) == "true":
            raise missing(uri)
        return _described(uri, place, found.meta, checksum=checksum)

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Described | Folder]:
        """Yield every object below a prefix, in pages.

        obstore adds a slash to the prefix: `images` does not find `images-old`. It leaves out a slash at the end of a
        key, so each object without bytes is asked for: there is none under the key without the slash when it stands
        for a directory, or it is marked as one. Azure lists neither the empty directories of a hierarchical namespace
        nor an object that stands for the prefix itself. Listings tell no version ids. Whether the bucket keeps any is
        seen at the first object of a page; if so each is asked for its own.
        """
        place = self._find(uri)
        client = self._client(place)
        prefix = place.key.rstrip("/")
        pages = client.list(prefix or None, chunk_size=PAGE)
        base = f"{uri.rstrip('/')}/"
        is_empty = True
        with ThreadPoolExecutor(self._options.connections, "references") as threads:
            while (page := self._call(lambda: next(pages, None), uri, listed=place)) is not None:
                found = [((base + meta["path"][len(prefix) :].lstrip("/")).rstrip("/"), meta) for meta in page]
                is_empty = is_empty and not found
                has_versions = checksum and self._has_versions(found, prefix)
                doubtful = [_is_doubtful(meta, prefix) or has_versions for _, meta in found]
                asked = compress(found, doubtful)
                answers = threads.map(lambda item: self._ask(*item, prefix=prefix, checksum=checksum), asked)
                for (below, meta), is_asked in zip(found, doubtful, strict=True):
                    yield next(answers) if is_asked else _described(below, place, meta, checksum=checksum)

        if is_empty:
            # The listing of what is no object store is empty, too; who may list need not be allowed to read.
            with suppress(SourceNotFoundError, RemoteDeniedError):
                self.describe(f"{base}.artifactfs-probe", checksum=False)

    def _has_versions(self, found: Iterable[tuple[str, Mapping[str, Any]]], prefix: str) -> bool:
        for uri, meta in found:
            if not _is_doubtful(meta, prefix):
                answer = self._ask(uri, meta, prefix=prefix, checksum=True)
                return isinstance(answer, Described) and answer.validator.kind in _VERSIONS
        return False

    def _ask(self, uri: str, meta: Mapping[str, Any], *, prefix: str, checksum: bool) -> Described | Folder:
        """Return what a listing told of, as it is by itself: an object, or a directory for which one stands."""
        with suppress(SourceNotFoundError):
            if meta["path"] != prefix:
                return self.describe(uri, checksum=checksum)
        if meta["size"]:
            shown = redact_uri(uri)
            msg = f"{shown} went away, or its key ends in a slash and it has bytes, which no file can"
            raise InvalidPathError(msg, hint="give such an object another key", subject=shown)
        return Folder(uri, _modified_ns(meta))

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Return exactly these bytes of an object; see `Source`."""
        place = self._find(entry.uri)
        client = self._client(place)
        options: dict[str, Any] = {"range": (offset, offset + size)}
        kind, value = entry.validator.kind, entry.validator.value
        if kind in _VERSIONS:
            options["version"] = value
        elif kind == "etag":
            options["if_match"] = value

        def request() -> tuple[Mapping[str, Any], bytes]:
            result = client.get(place.key, options=options)
            return result.meta, bytes(result.bytes())

        try:
            meta, data = self._call(request, entry.uri)
        except _NotThere:
            raise changed(entry, self._find_described(entry)) from None
        check_answer(meta, doing=f"reading {redact_uri(entry.uri)}", key=redact_uri(entry.uri))
        found = _described(entry.uri, place, meta, checksum=kind != "modified")
        if meta["size"] != entry.size or (kind in ("weak-etag", "modified", "etag") and found.validator.value != value):
            raise changed(entry, found)
        if len(data) != size:
            msg = f"reading {redact_uri(entry.uri)}: {len(data)} bytes came instead of {size}"
            raise RemoteUnavailableError(msg, hint="try again later", subject=redact_uri(entry.uri))
        return data

    def has_version(self, entry: ReferenceEntry) -> bool:
        """Return whether the recorded version of an object is there, without reading it."""
        place = self._find(entry.uri)
        client = self._client(place)
        try:
            self._call(
                lambda: client.get(place.key, options={"version": entry.validator.value, "head": True}), entry.uri
            )
        except _NotThere:
            return False
        return True

    def _find_described(self, entry: ReferenceEntry) -> Described | None:
        try:
            return self.describe(entry.uri, checksum=entry.validator.kind != "modified")
        except SourceNotFoundError:
            return None

    def _find(self, uri: str) -> BucketKey:
        self._policy.check(uri)
        place = find_bucket_key(uri)
        assert place is not None, "the URI of another source"
        if names_no_file(place.key):
            raise _name_odd(redact_uri(uri))
        return place

    def _client(self, place: BucketKey) -> Any:
        key = place.scheme, place.bucket, place.account
        with self._guard:
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = self._connect(place)
        return client

    def _connect(self, place: BucketKey) -> Any:
        options = self._options
        if place.account:
            options = _with_account(options, place.account)
        return connect(RemoteLocation(place.scheme, place.bucket, ""), options, retries=RETRIES)

    def _call(self, request: Callable[[], T], uri: str, *, listed: BucketKey | None = None) -> T:
        """Return what a request returns.

        Raises:
            _NotThere: there is no such object, or none that fits the condition.
            InvalidPathError: below what is listed there is an object of which no file can be made.
            ArtifactFSError: anything else that went wrong.
        """
        try:
            return call_interruptibly(request)
        except (ArtifactFSError, RecursionError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (obstore's have no common base)
            if isinstance(error, FileNotFoundError) or type(error).__name__ in (
                "PreconditionError",
                "NotModifiedError",
            ):
                raise _NotThere from None
            if listed is not None and (odd := _ODD_KEY.search(str(error))) is not None:
                raise _name_odd(f"{listed.scheme}://{listed.bucket}/{odd[1]}") from None
            shown = redact_uri(uri)
            raise translate_remote_error(error, doing=f"reading {shown}", key=shown) from None


def _name_odd(uri: str) -> InvalidPathError:
    """Return the error that names an object of which no file can be made."""
    shown = printable(uri.encode("utf-8", "surrogateescape"))[:_SHOWN]
    msg = f"{shown} cannot be a reference: no file can have a key with `//`, `.`, `..` or control characters in it"
    return InvalidPathError(msg, hint=f"{RENAME}, or add the prefixes beside it one by one", subject=shown)


def _with_account(options: RemoteOptions, account: str) -> RemoteOptions:
    return replace(options, config={**options.config, "azure_storage_account_name": account})


def _described(uri: str, place: BucketKey, meta: Mapping[str, Any], *, checksum: bool) -> Described:
    modified_ns = _modified_ns(meta)
    validator = Validator("modified", str(modified_ns))
    version, etag = meta.get("version"), meta.get("e_tag")
    # A bucket whose versioning was switched off calls every new object "null": that names no version.
    if checksum and version and version != "null":
        validator = Validator("generation" if place.scheme == "gs" else "version", version)
    elif checksum and etag:
        # Azure's listings leave the quotes out, its other answers do not.
        etag = etag if etag.endswith('"') else f'"{etag}"'
        validator = Validator("weak-etag" if etag.startswith("W/") else "etag", etag)
    return Described(uri, int(meta["size"]), validator, modified_ns)


def _is_doubtful(meta: Mapping[str, Any], prefix: str) -> bool:
    """Return whether a listed object may stand for a directory; `prefix` without its slash surely does."""
    return not meta["size"] or meta["path"] == prefix


def _modified_ns(meta: Mapping[str, Any]) -> int:
    return int(meta["last_modified"].timestamp()) * 1_000_000_000
