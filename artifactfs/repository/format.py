"""The format file: what a program must know to read a repository, and to write to it.

`format/<n>.json` with the highest n holds. A new feature is announced by a new file before it is used.

Source: docs/format.md, section "Format file". Threading: pure functions over a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, FORMAT_PREFIX, find_format_number, format_key
from artifactfs.blobstore.remote import RangeReader
from artifactfs.digest import ALGORITHM, CHUNK_SIZE
from artifactfs.errors import (
    BlobMissingError,
    ConfigurationError,
    ConflictError,
    MalformedError,
    NewerFormatError,
    NotFoundError,
)
from artifactfs.repository.sealed import open_if_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import ObjectStore

FORMAT_NUMBER: Final = 1
PACKS: Final = "packs"
REFERENCES: Final = "references"
ORIGINS: Final = "origins"
KNOWN_FEATURES: Final[frozenset[str]] = frozenset({PACKS, REFERENCES, ORIGINS})
ATTEMPTS: Final = 16
GUESSED: Final = 4
"""So many format files are asked for before it is known which there are: one for each feature, and the first."""
ID_SIZE: Final = 16


class Format(Struct, frozen=True):
    """A repository's format.

    Unknown fields are ignored: what a program must know is in the features.

    Attributes:
        format: format number.
        repository: 32 random hex digits, the repository's identity in all its copies.
        digest: digest algorithm.
        chunk_size: bytes of a blob that each entry of its sums covers.
        created_ns: nanoseconds since 1970 UTC.
        reader_features: what a program must know to read.
        writer_features: what it must know besides to write.
    """

    format: int
    repository: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    digest: str
    chunk_size: int
    created_ns: int
    reader_features: tuple[str, ...] = ()
    writer_features: tuple[str, ...] = ()

    @property
    def unknown_to_writers(self) -> list[str]:
        """Features that keep this release from writing."""
        return sorted(set(self.writer_features) - KNOWN_FEATURES)


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Format)


class _Number(Struct):
    format: int


def encode_format(value: Format) -> bytes:
    """Return a format file's bytes: JSON with sorted keys, sealed."""
    return seal(_encoder.encode(value))


def decode_format(data: bytes, *, key: str) -> Format:
    """Return what a format file says.

    Raises:
        NewerFormatError: the number, digest algorithm, chunk size or a feature is not known to this release.
        MalformedError, DigestMismatchError: it is not such a file.
    """
    line = open_if_sealed(data, key=key)
    try:
        number = msgspec.json.decode(line, type=_Number).format
        if number > FORMAT_NUMBER:
            raise _newer(key, f"format {number}")
        found = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"the format file {key} does not decode: {error}"
        raise MalformedError(msg, hint="restore it from a copy of the repository", subject=key) from error
    unknown = sorted(set(found.reader_features) - KNOWN_FEATURES)
    if unknown:
        raise _newer(key, f"the feature {', '.join(unknown)}")
    if (found.digest, found.chunk_size) != (ALGORITHM, CHUNK_SIZE):
        raise _newer(key, f"the digest {found.digest} with chunks of {found.chunk_size} bytes")
    return found


def _newer(key: str, what: str) -> NewerFormatError:
    msg = f"the repository uses {what}, which this release does not know"
    return NewerFormatError(msg, hint="install a newer artifactfs", subject=key)


def open_format(
    store: ObjectStore,
    *,
    create: bool,
    now_ns: int,
    random: Callable[[int], bytes],
    check: Callable[[], None] = lambda: None,
    like: Format | None = None,
) -> Format:
    """Return the format of the repository in a store, which is made into one when it is empty.

    Args:
        store: where.
        create: whether to make it.
        now_ns: the time.
        random: source of its id.
        check: called before it is made; what it raises ends this call.
        like: the format of a repository of which the new one is a clone.

    Raises:
        NotFoundError: it is not a repository and `create` is False.
        ConfigurationError: it holds something else.
        MalformedError: it has collections and no format file, or that is damaged.
        NewerFormatError: this release cannot read it.
    """
    found = find_format(store)
    if found is not None:
        return found
    _check_empty(store)
    if not create:
        msg = "there is no repository at this place"
        raise NotFoundError(msg)
    check()
    new = like or Format(FORMAT_NUMBER, random(ID_SIZE).hex(), ALGORITHM, CHUNK_SIZE, now_ns)
    store.create(format_key(FORMAT_NUMBER), encode_format(new))
    # Whoever was first decides the id, so read it back in any case.
    return decode_format(store.read(format_key(FORMAT_NUMBER)), key=format_key(FORMAT_NUMBER))


def add_reader_feature(store: ObjectStore, feature: str) -> Format:
    """Return the format of a repository after making a feature one that readers must know.

    Raises:
        MalformedError, NewerFormatError: see `decode_format`.
        ConflictError: others change the format all the time.
    """
    for _ in range(ATTEMPTS):
        number, found = find_numbered(store)
        if feature in found.reader_features:
            return found
        features = tuple(sorted({*found.reader_features, feature}))
        new = msgspec.structs.replace(found, reader_features=features)
        store.create(format_key(number + 1), encode_format(new))
    msg = "the format of the repository is changed by others all the time"
    raise ConflictError(msg, hint="try again")


def find_format(store: ObjectStore) -> Format | None:
    """Return the format in force, or None when there is no format file.

    Raises:
        MalformedError, NewerFormatError: see `decode_format`.
    """
    if isinstance(store, RangeReader):
        return _find_far(store)
    return find_numbered(store)[1] if _find_numbers(store) else None


def _find_far(store: ObjectStore) -> Format | None:
    found = _guess(store)
    if not found:
        return None
    key = format_key(max(found))
    data = found[max(found)]
    return decode_format(store.read(key) if data is None else data, key=key)


def read_formats(store: ObjectStore) -> dict[str, bytes]:
    """Return all format files of a store elsewhere, by key."""
    found = {format_key(number): data for number, data in _guess(store).items()}
    return {key: store.read(key) if data is None else data for key, data in found.items()}


def _guess(store: ObjectStore) -> dict[int, bytes | None]:
    """Return the numbers of all formats with one round trip: the first few are read while they are listed."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (costs local commands 8 ms)

    def read(number: int) -> bytes | None:
        try:
            return store.read(format_key(number))
        except BlobMissingError:
            return None

    with ThreadPoolExecutor(GUESSED + 1, "format") as threads:
        guessed = [threads.submit(read, number) for number in range(1, GUESSED + 1)]
        numbers = _find_numbers(store)
        return {number: guessed[number - 1].result() if number <= GUESSED else None for number in numbers}


def find_numbered(store: ObjectStore) -> tuple[int, Format]:
    """Return number and content of the format file in force; there must be one."""
    number = max(_find_numbers(store))
    key = format_key(number)
    return number, decode_format(store.read(key), key=key)


def _find_numbers(store: ObjectStore) -> list[int]:
    return [number for key in store.iter_keys(FORMAT_PREFIX) if (number := find_format_number(key))]


def _check_empty(store: ObjectStore) -> None:
    names = set(store.iter_children("")) - {"lost+found"}
    if COLLECTIONS_PREFIX.rstrip("/") in names:
        msg = f"the repository has collections but no {format_key(FORMAT_NUMBER)}"
        raise MalformedError(msg, hint="restore it from a copy of the repository", subject=format_key(FORMAT_NUMBER))
    if names - {"blobs", "trees", "sums", "packs", "treepacks", "format"}:
        msg = f"it holds something else than a repository: {', '.join(sorted(names)[:3])}"
        raise ConfigurationError(msg, hint="choose an empty place or one that does not exist")
