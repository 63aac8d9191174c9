"""Why a transport serves, as one line of the log says it.

Used by the servers.

Threading: functions without state.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from artifactfs.mount.orders import STAGING

if TYPE_CHECKING:
    from artifactfs.mount.orders import Order

KERNEL = "kernel"
FUSEPY = "fusepy"


def why_fusepy(order: Order) -> str:
    """Return why an order is served by fusepy without trying the kernel transport."""
    if order.kind == STAGING:
        return "it serves staging directories of the union driver"
    if order.transport == FUSEPY:
        return "--transport fusepy was given"
    return f"this is {sys.platform}, and the kernel transport is for Linux"


def why_kernel(order: Order) -> str:
    """Return why an order is served by the kernel transport, which could be mounted."""
    return "--transport kernel was given" if order.transport == KERNEL else "it works on this machine"
