"""The store at a location: a local directory, or a bucket.

Used by `repository.py`. Threading: functions; no two call them for one Repository.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.keys import FORMAT_PREFIX
from artifactfs.blobstore.local import open_local_store
from artifactfs.blobstore.locations import is_remote, parse_remote_location
from artifactfs.errors import ArtifactFSError, NotFoundError, RemoteDeniedError, translate_os_error
from artifactfs.repository.format import find_format, open_format

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import ObjectStore, Store
    from artifactfs.blobstore.remembered import Remembered
    from artifactfs.blobstore.remote import RemoteObjects
    from artifactfs.blobstore.retrying import RetryingStore, RetryPolicy
    from artifactfs.clock import Clock
    from artifactfs.repository.format import Format

DEFAULT_REMOTE = RemoteOptions()


def open_store(
    location: str,
    *,
    create: bool,
    clock: Clock,
    random: Callable[[int], bytes],
    remote: RemoteOptions = DEFAULT_REMOTE,
    like: Format | None = None,
) -> tuple[Store, str, Format]:
    """Return the store at a location, the location in its one spelling, and the format of the repository in it.

    Args:
        location: a local directory or the URL of a place in an object store.
        create: whether to make a repository where there is none.
        clock: the time of creation.
        random: source of the repository's id.
        remote: how to speak to object stores.
        like: the format of a repository of which a new one is a clone.

    Raises:
        NotFoundError: there is no repository and `create` is False.
        ConfigurationError: the place holds something else, or an object store cannot keep a repository.
        NewerFormatError, MalformedError: it cannot be read.
        RemoteError, AccessDeniedError, ReadOnlyError, StorageFullError: the system or the service refused.
    """
    if is_remote(location):
        return _open_bucket(location, create=create, clock=clock, random=random, options=remote, like=like)
    path = os.path.realpath(location)
    _make_root(path, create=create)
    store = open_local_store(path)
    try:
        return store, path, _open_format_at(store, path, create=create, clock=clock, random=random, like=like)
    except BaseException:
        store.close()
        raise


def _open_bucket(
    location: str,
    *,
    create: bool,
    clock: Clock,
    random: Callable[[int], bytes],
    options: RemoteOptions,
    like: Format | None,
) -> tuple[Store, str, Format]:
    # Commands on local repositories do without these modules.
    from artifactfs.blobstore.conditional import check_conditional_create  # noqa: PLC0415
    from artifactfs.blobstore.limiting import Gate, LimitingStore  # noqa: PLC0415
    from artifactfs.blobstore.objectstore import open_bucket  # noqa: PLC0415
    from artifactfs.blobstore.offline import OfflineBucket  # noqa: PLC0415
    from artifactfs.blobstore.remembered import Remembered  # noqa: PLC0415
    from artifactfs.blobstore.retrying import RetryingStore, RetryPolicy  # noqa: PLC0415

    place = parse_remote_location(location)
    if options.is_away:
        return _open_away(options), str(place), _find_known_format(options)
    remembered = Remembered(options.remembered, str(place)) if options.remembered else None
    bucket: RemoteObjects = (
        OfflineBucket(remembered, str(place))
        if options.offline
        else LimitingStore(open_bucket(place, options), Gate(options.connections, options.bandwidth))
    )
    policy = RetryPolicy(options.attempts, options.deadline_seconds, random)
    store = (
        _open_kept(bucket, policy, options, remembered)
        if options.cache
        else RetryingStore(bucket, policy, connections=options.connections)
    )
    if options.known:
        return store, str(place), _find_known_format(options)
    try:
        found = _open_format_at(
            store,
            str(place),
            create=create,
            clock=clock,
            random=random,
            like=like,
            check=lambda: check_conditional_create(bucket, location=str(place), random=random),
        )
    except NotFoundError:
        if not options.offline:
            with suppress(RemoteDeniedError):  # who may list need not be allowed to read
                bucket.find_size(f"{FORMAT_PREFIX}none")  # what is no object store seems empty, too
        raise
    return store, str(place), found


def _open_kept(
    bucket: RemoteObjects, policy: RetryPolicy, options: RemoteOptions, remembered: Remembered | None
) -> RetryingStore:
    from artifactfs.blobstore.cachequota import CacheLimits  # noqa: PLC0415
    from artifactfs.blobstore.cachingstore import CachingStore  # noqa: PLC0415
    from artifactfs.blobstore.diskcache import DiskCache  # noqa: PLC0415

    cache = DiskCache(options.cache, CacheLimits(options.cache_size, options.cache_free))
    return CachingStore(bucket, policy, cache=cache, connections=options.connections, remembered=remembered)


def _open_away(options: RemoteOptions) -> Store:
    from artifactfs.blobstore.away import KeptStore  # noqa: PLC0415
    from artifactfs.blobstore.cachequota import CacheLimits  # noqa: PLC0415
    from artifactfs.blobstore.diskcache import DiskCache  # noqa: PLC0415

    limits = CacheLimits(options.cache_size, options.cache_free)
    return KeptStore(options.known, cache=DiskCache(options.cache, limits))


def _find_known_format(options: RemoteOptions) -> Format:
    """Return the format that known objects say; without them `Away` is raised."""
    from artifactfs.blobstore.away import AwayBucket  # noqa: PLC0415

    found = find_format(AwayBucket(options.known))
    assert found is not None, "a bucket without known objects is `Away`"
    return found


def _make_root(path: str, *, create: bool) -> None:
    if os.path.isdir(path):
        return
    if not create:
        msg = f"there is no repository at {path}"
        raise NotFoundError(msg, hint="`artifactfs put` makes one", subject=path)
    try:
        os.makedirs(path, exist_ok=True)
        _sync_directory(os.path.dirname(path))
    except OSError as error:
        raise translate_os_error(error, doing=f"making the repository {path}", subject=path) from error


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_format_at(
    store: ObjectStore,
    location: str,
    *,
    create: bool,
    clock: Clock,
    random: Callable[[int], bytes],
    like: Format | None,
    check: Callable[[], None] = lambda: None,
) -> Format:
    try:
        return open_format(store, create=create, now_ns=clock.now_ns(), random=random, like=like, check=check)
    except ArtifactFSError as error:
        if location in error.message:
            raise
        raise type(error)(f"{location}: {error.message}", hint=error.hint, subject=location) from error
