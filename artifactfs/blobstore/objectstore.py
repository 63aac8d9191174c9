"""A store in a bucket: objects that appear whole, once, by the service's conditional create.

Every call is one request, or one listing, and may fail; `retrying.py` tries again. What a call raises says what was
being done and never repeats what the service wrote. A call in the main thread can be interrupted: obstore does not see
signals, so another thread waits for the answer.

Used by the repository through `retrying.py`. Threading: may be shared by threads, not by forked processes.

Source: docs/format.md; obstore documentation; RFC 9110 section 13 (If-None-Match).
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from artifactfs.blobstore.connecting import UPLOAD_RETRIES, connect
from artifactfs.blobstore.connection_failures import check_answer
from artifactfs.blobstore.keys import find_content_digest
from artifactfs.blobstore.remote import open_remote
from artifactfs.blobstore.remote_failures import call_shielded, translate_remote_error
from artifactfs.digest import Digest
from artifactfs.errors import ArtifactFSError, DigestMismatchError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from artifactfs.blobstore.base import ObjectFile
    from artifactfs.blobstore.connecting import RemoteOptions
    from artifactfs.blobstore.locations import RemoteLocation

PART_SIZE: Final = 8 << 20
"""Bytes of one part of a multipart upload, unless that would be too many parts."""
PARTS_AT_ONCE: Final = 4
MANY_PARTS: Final = 9000
"""S3 takes 10,000."""
PAGE: Final = 1000

T = TypeVar("T")


class BucketStore:
    """The objects below a prefix of a bucket. May be shared by threads.

    Attributes:
        location: where it lies, for messages.
        keeps_checksums: True.
    """

    keeps_checksums: Final = True

    def __init__(self, requests: Any, uploads: Any, *, location: str) -> None:
        """Store two clients of obstore: one that never tries again by itself, and one that does, for parts."""
        self._requests = requests
        self._uploads = uploads
        self.location = location

    def read(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            BlobMissingError: there is none under this key.
            RemoteError: the service did not answer as it should.
        """
        return self._call(lambda: self._read_whole(key), "reading", key)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield whole objects in the order of their keys."""
        return map(self.read, keys)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return exactly the bytes [offset, offset + size) of an object, which must have them; see `RangeReader`."""
        if not size:
            return b""
        data = self._call(lambda: bytes(self._requests.get_range(key, start=offset, length=size)), "reading", key)
        if len(data) != size:
            msg = f"reading {key} from {self.location}: {len(data)} bytes came instead of {size}"
            raise RemoteUnavailableError(msg, hint="try again later", subject=key)
        return data

    def open(self, key: str) -> ObjectFile:
        """Return an object, open for reading; each read is a request.

        Raises:
            BlobMissingError: there is none under this key.
        """
        return open_remote(self, key)

    def find_size(self, key: str) -> int | None:
        """Return the bytes in an object, or None when there is none."""
        try:
            return self._call(lambda: self._find_size(key), "looking for", key, has_body=False)
        except FileNotFoundError:
            return None

    def find_time_ns(self, key: str) -> int | None:
        """Return when an object was created, by the service's clock; None when there is none, or nothing says it."""
        try:
            return self._call(lambda: self._find_time_ns(key), "looking for", key, has_body=False) or None
        except FileNotFoundError:
            return None

    def iter_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, which ends in `/` or is empty, in order; in pages."""
        return self.iter_keys_after(prefix, "")

    def iter_keys_after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and are greater than the key `after`, in order."""
        return (key for key, _ in self.iter_sizes_after(prefix, after))

    def iter_sizes_after(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        """Yield the same keys, each with the bytes in its object."""
        pages = self._requests.list(prefix.rstrip("/") or None, offset=after or None, chunk_size=PAGE)
        while (page := self._call(lambda: next(pages, None), "listing", prefix)) is not None:
            # Azure's marker is a hint: what comes before it may come again.
            yield from ((item["path"], int(item["size"])) for item in page if item["path"] > after)

    def iter_children(self, prefix: str) -> Iterator[str]:
        """Yield each name that directly follows `prefix` in some key."""
        found = self._call(
            lambda: self._requests.list_with_delimiter(prefix.rstrip("/") or None), "listing", prefix or "everything"
        )
        paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        yield from {path.rstrip("/").rpartition("/")[2] for path in paths}

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless there is one, and return whether this call created it.

        Raises:
            RemoteError: it may have been created or not: read the key to know.
        """
        _check_content(key, data)
        return self._call(lambda: _create(self._requests, key, data), "storing", key)

    def replace(self, key: str, data: bytes) -> None:
        """Store an object in place of what is there."""
        _check_content(key, data)
        self._call(lambda: self._requests.put(key, data, mode="overwrite", use_multipart=False), "storing", key)

    def upload(self, key: str, source: BinaryIO, size: int) -> None:
        """Store all `size` bytes of a file in parts; see `Uploader`."""
        part = max(PART_SIZE, -(-size // MANY_PARTS))
        parts = _CheckedParts(key, source, size, part)
        put = self._uploads.put
        self._call(
            lambda: put(key, parts, use_multipart=True, chunk_size=part, max_concurrency=PARTS_AT_ONCE), "storing", key
        )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error.

        Raises:
            RemoteError: any of them may be gone or not, or may be deleted yet.
        """
        waiting = list(keys)
        for start in range(0, len(waiting), PAGE):
            some = waiting[start : start + PAGE]
            try:
                self._delete(some, some[0])
            except FileNotFoundError:
                # Some services stop at what is missing.
                for key in some if len(some) > 1 else ():
                    with suppress(FileNotFoundError):
                        self._delete(key, key)

    def _read_whole(self, key: str) -> bytes:
        found = self._requests.get(key)
        check_answer(found.meta, doing=f"reading {key} at {self.location}", key=key)
        return bytes(found.bytes())

    def _find_size(self, key: str) -> int:
        return int(self._look_at(key)["size"])

    def _find_time_ns(self, key: str) -> int:
        return int(self._look_at(key)["last_modified"].timestamp() * 1e9)

    def _look_at(self, key: str) -> Any:
        meta = self._requests.head(key)
        check_answer(meta, doing=f"looking for {key} at {self.location}", key=key)
        return meta

    def _delete(self, keys: str | list[str], key: str) -> None:
        self._call(lambda: self._requests.delete(keys), "deleting", key, has_body=False)

    def _call(self, request: Callable[[], T], doing: str, key: str, *, has_body: bool = True) -> T:
        """Return what a request returns, with its failure as an error of our tree.

        Raises:
            FileNotFoundError: the answer to a request without a body was that there is no such object.
        """
        try:
            return call_interruptibly(request)
        except (ArtifactFSError, RecursionError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not has_body:
                raise
            # The cause is left out: its text repeats URLs.
            doing = f"{doing} {key} at {self.location}"
            raise translate_remote_error(error, doing=doing, key=key, has_body=has_body) from None


class _CheckedParts:
    """Yields a file in parts, the last one only if all bytes hash to the object's name. Belongs to one upload."""

    def __init__(self, key: str, source: BinaryIO, size: int, part_size: int) -> None:
        self._key = key
        self._source = source
        self._size = size
        self._part_size = part_size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the parts, from the beginning.

        Raises:
            DigestMismatchError: instead of yielding the last one; obstore then aborts the upload.
        """
        self._source.seek(0)
        hasher = hashlib.sha256()
        done = 0
        while done < self._size:
            data = self._source.read(min(self._part_size, self._size - done))
            if not data:
                msg = f"storing {self._key}: only {done} of {self._size} bytes could be read again; nothing was stored"
                raise DigestMismatchError(msg, subject=self._key)
            hasher.update(data)
            done += len(data)
            if done == self._size:
                _check_digest(self._key, hasher.digest())
            yield data


def open_bucket(location: RemoteLocation, options: RemoteOptions) -> BucketStore:
    """Return the store at a prefix of a bucket. Nothing is sent yet.

    Raises:
        ConfigurationError: obstore is not installed, or a setting cannot be used.
    """
    uploads = connect(location, options, retries=UPLOAD_RETRIES)
    return BucketStore(connect(location, options), uploads, location=str(location))


def call_interruptibly(request: Callable[[], T]) -> T:
    """Return what `request` returns; in the main thread, SIGINT and SIGTERM end the waiting, not the request.

    Raises:
        ClientPanic: see `call_shielded`.
    """
    if threading.current_thread() is not threading.main_thread():
        return call_shielded(request)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call_shielded(request))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="request")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _create(client: Any, key: str, data: bytes) -> bool:
    from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

    try:
        client.put(key, data, mode="create", use_multipart=False)
    except (AlreadyExistsError, PreconditionError):
        return False
    return True


def _check_content(key: str, data: bytes) -> None:
    if find_content_digest(key) is not None:
        _check_digest(key, hashlib.sha256(data).digest())


def _check_digest(key: str, sha256: bytes) -> None:
    if find_content_digest(key) in (None, sha256):
        return
    msg = f"storing {key}: the bytes read for it hash to {Digest(sha256)}; nothing was stored"
    raise DigestMismatchError(msg, hint="the disk of this machine may be failing", subject=key)
