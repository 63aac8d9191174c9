"""Which driver serves a staging directory.

Used by `daemon` and `api`.

Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import MountError
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.staging.layout import AUTO, OVERLAY, UNION, read_driver

if TYPE_CHECKING:
    from artifactfs.repository.staging import Staging

_HINT = "mount as root, outside of any user namespace"


def choose_driver(staging: Staging) -> str:
    """Return `overlay` or `union`.

    Raises:
        MountError: neither can go on with what is there, or what was asked for is not allowed here.
    """
    wanted, marks = staging.info.driver, read_driver(staging.layout)
    if marks not in (OVERLAY, UNION):
        msg = f"the staging directory {staging} was made with the driver {marks!r}, which this release does not have"
        raise MountError(msg, subject=str(staging))
    if wanted == UNION or (wanted == AUTO and not may_overlay()):
        if marks == OVERLAY:
            msg = f"the staging directory {staging} was begun by the overlay driver, which the union cannot go on with"
            raise MountError(msg, hint=_HINT, subject=str(staging))
        return UNION
    check_overlay()
    return OVERLAY


def check_overlay() -> None:
    """Return if this process may use the overlay driver.

    Raises:
        MountError: it may not.
    """
    if not may_overlay():
        msg = "the overlay driver needs Linux and CAP_SYS_ADMIN in the initial user namespace"
        raise MountError(msg, hint=f"{_HINT}, or use --driver union")
