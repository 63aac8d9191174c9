"""Which transport serves, as one line of the log says it, and what the fusepy transport cannot do.

Used by `beginning` and by the servers.

Threading: functions without state.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from artifactfs.errors import UsageError
from artifactfs.mount.orders import FUSEPY, KERNEL, STAGING

if TYPE_CHECKING:
    from artifactfs.mount.orders import Order


class Wanted(Protocol):
    """What `MountOptions` and `Order` say about the transport."""

    @property
    def transport(self) -> str:
        """`kernel`, `fusepy` or `auto`."""

    @property
    def metrics(self) -> str:
        """Where metrics go."""

    @property
    def passthrough(self) -> bool | None:
        """Whether large files are handed to the kernel."""

    @property
    def workers(self) -> int:
        """Processes that answer."""


def find_ignored(wanted: Wanted) -> list[str]:
    """Return the options that were given and mean nothing to the fusepy transport."""
    given = {"--metrics": wanted.metrics, "--passthrough": wanted.passthrough, "--workers": wanted.workers}
    return [option for option, value in given.items() if value]


def check_transport(wanted: Wanted) -> None:
    """Return unless options were given which the transport that was asked for does not have.

    Raises:
        UsageError: they were.
    """
    ignored = find_ignored(wanted) if wanted.transport == FUSEPY else []
    if ignored:
        msg = f"the fusepy transport has no {' and no '.join(ignored)}"
        raise UsageError(msg, hint="leave out --transport fusepy, or these options")


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
