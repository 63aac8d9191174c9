"""Whether an object store creates an object only where there is none.

Everything rests on this: two writers that both "create" the same log record would lose one of two commits. Some
services refuse the header If-None-Match, others accept and ignore it, so it is tried before a repository is made.

Used by the repository. Threading: functions; they start threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import FORMAT_PREFIX
from artifactfs.errors import ArtifactFSError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.remote import RemoteObjects

RACERS: Final = 8


def check_conditional_create(store: RemoteObjects, *, location: str, random: Callable[[int], bytes]) -> None:
    """Return if the service creates an object once, however many ask for it.

    Args:
        store: the bucket, without retries: an answer that was lost must not look like a second winner.
        location: for messages.
        random: names the object that is created, and deleted afterwards.

    Raises:
        ConfigurationError: it refuses conditional creations, or more than one of several of one object succeeded.
        RemoteError: the service does not answer, or refuses any creation.
    """
    key = f"{FORMAT_PREFIX}probe-{random(8).hex()}"
    try:
        with ThreadPoolExecutor(RACERS, "probe") as threads:
            winners = sum(threads.map(lambda number: store.create(key, b"%d" % number), range(RACERS)))
        winners += store.create(key, b"again")
    except ArtifactFSError as error:
        if error.retryable:
            raise
        _try_unconditional(store, key, error)
        msg = f"{location} cannot hold a repository: it refuses to create an object on condition that there is none:"
        hint = "the service, or a policy of the bucket, refuses If-None-Match; use one that supports conditional writes"
        raise ConfigurationError(f"{msg} {error.message}", hint=hint, subject=location) from error
    finally:
        with suppress(ArtifactFSError):  # nobody is led astray by an object that stays
            store.delete([key])
    if winners == 1:
        return
    msg = (
        f"{location} cannot hold a repository: {winners} of {RACERS + 1} conditional creations of one object"
        " succeeded, so that two writers would overwrite each other's records"
    )
    hint = "the service ignores If-None-Match; use one that supports conditional writes"
    raise ConfigurationError(msg, hint=hint, subject=location)


def _try_unconditional(store: RemoteObjects, key: str, refusal: ArtifactFSError) -> None:
    """Return if an object can be stored without a condition: then it is the condition that was refused.

    Raises:
        ArtifactFSError: the refusal.
    """
    try:
        store.replace(key, b"unconditional")
    except ArtifactFSError:
        raise refusal from None
