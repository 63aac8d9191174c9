"""What mounts do, in numbers, for people and as JSON.

Threading: one thread.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from artifactfs.paths import printable

from .mounting import describe_mount, mount_fields
from .output import print_json

if TYPE_CHECKING:
    from artifactfs.mount.options import MountInfo

    from .session import Session

WATCH_SECONDS = 1.0


def show_figures(session: Session, mounts: list[MountInfo], *, watch: bool) -> None:
    """Print what mounts do; with `watch`, again every second until interrupted."""
    from artifactfs.mount.kernel.asking import find_figures

    before: dict[str, dict[str, Any]] = {}
    while True:
        figures = {info.mountpoint: find_figures(info) for info in mounts}
        if session.json:
            print_json({"mounts": [{**mount_fields(info), "figures": figures[info.mountpoint]} for info in mounts]})
        else:
            for info in mounts:
                _print_one(info, figures[info.mountpoint], before.get(info.mountpoint))
        if not watch:
            return
        before = {place: found for place, found in figures.items() if found is not None}
        time.sleep(WATCH_SECONDS)


def _print_one(info: MountInfo, figures: dict[str, Any] | None, before: dict[str, Any] | None) -> None:
    print(f"{printable(os.fsencode(info.mountpoint))}  {describe_mount(info)}  {info.transport}  pid {info.pid}")
    if figures is None:
        print("  this transport counts nothing")
        return
    passthrough = " passthrough" if figures["passthrough"] else ""
    print(f"  protocol {figures['protocol']}: {' '.join(figures['features'])}{passthrough}")
    print(f"  workers {len(figures['workers'])}, restarts {figures['restarts']}, upgrades {figures['upgrades']}")
    latency = ", ".join(f"{name} < {value} us" for name, value in figures["latency_us"].items())
    print(f"  read {figures['bytes']:,} B, errors {figures['errors']}, sent again {figures['resent']}; {latency}")
    for kind, count in sorted(figures["requests"].items(), key=lambda item: -item[1]):
        rate = "" if before is None else f"  {(count - before['requests'].get(kind, 0)) / WATCH_SECONDS:,.0f}/s"
        print(f"    {kind:<12} {count:>12,}{rate}")
