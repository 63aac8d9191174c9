"""Telling the server of a staging directory that it has another quota.

Used by `api`.

Threading: a function without state.
"""

from __future__ import annotations

import time
from typing import Final

from artifactfs.errors import MountError, UsageError
from artifactfs.mount.control import find_client
from artifactfs.mount.options import Places, StagingName
from artifactfs.mount.registry import is_served, slot_for, staging_mountpoint

_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.02


def tell_quota(places: Places, repository_id: str, *, staging: StagingName, quota: int | None) -> None:
    """Have a quota kept that is written down already: by the server that there is, if there is one.

    Raises:
        MountError: it does not answer, or is of a release that cannot be told; the next one keeps it.
    """
    name = f"{staging.collection}:@{staging.name}"
    own = staging_mountpoint(places, repository_id, collection=staging.collection, name=staging.name)
    slot = slot_for(places, own)
    deadline = time.monotonic() + _SECONDS
    while True:
        client = find_client(slot.socket)
        if client is not None:
            break
        if not is_served(slot):
            return
        # It is starting, and may have read the old one.
        if time.monotonic() > deadline:
            msg = f"the server of {name} does not answer"
            raise MountError(msg, hint="its new quota is kept when it is mounted again")
        time.sleep(_PAUSE_SECONDS)
    with client:
        try:
            client.ask("quota", **({} if quota is None else {"quota": quota}))
        except UsageError as error:
            msg = f"the server of {name} is of an earlier release"
            raise MountError(msg, hint="its new quota is kept when it is mounted again") from error
