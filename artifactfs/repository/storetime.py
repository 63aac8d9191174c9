"""The clock of a store, as far as its objects tell it: when each was created.

A prune does not take the word of its machine's clock alone: commits elsewhere go by their own.

Used by `condemning.py`. Threading: functions without state.

Source: RFC 9110 section 8.8.2 (Last-Modified).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artifactfs.errors import ConfigurationError

if TYPE_CHECKING:
    from artifactfs.blobstore.base import ObjectStore

GRAIN_SECONDS: Final = 2.0
"""By which a difference of two times may be off: some services tell whole seconds."""


def find_created_ns(store: ObjectStore, key: str) -> int | None:
    """Return when an object was created, by the store's clock; None where the store does not say.

    Raises:
        RemoteError: the store does not answer.
    """
    find_time_ns = getattr(store, "find_time_ns", None)
    found: int | None = find_time_ns(key) if find_time_ns is not None else None
    return found


def check_clock(created_ns: int | None, *, between: tuple[int, int], tolerance_seconds: float) -> None:
    """Return if this machine's clock goes with the store's.

    Args:
        created_ns: when something was created, by the store's clock; None if that is not known.
        between: before and after that, by this machine's.
        tolerance_seconds: by which they may differ.

    Raises:
        ConfigurationError: they differ by more.
    """
    if created_ns is None:
        return
    behind, ahead = created_ns - between[1], between[0] - created_ns
    if max(behind, ahead) <= (tolerance_seconds + GRAIN_SECONDS) * 1e9:
        return
    side = "behind" if behind > ahead else "ahead of"
    minutes = round(max(behind, ahead) / 60e9)
    msg = f"the clock of this machine is {minutes} minutes {side} that of the object store; nothing was deleted"
    raise ConfigurationError(msg, hint="set it (chrony or systemd-timesyncd keep it right), and prune again")


def find_rest_seconds(first_ns: int | None, second_ns: int | None, wait_seconds: float) -> float:
    """Return how much of a wait between two creations is left by the store's clock; 0 where that is not known."""
    if first_ns is None or second_ns is None:
        return 0.0
    rest = wait_seconds - (second_ns - first_ns) / 1e9
    return rest if rest > GRAIN_SECONDS else 0.0
