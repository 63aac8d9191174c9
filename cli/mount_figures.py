"""What mounts do, in numbers, for people and as JSON.

Threading: one thread.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from artifactfs.mount.described import describe_mount, find_stale_ns, mount_fields
from artifactfs.paths import printable

from .output import format_size, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.options import MountInfo

    from .session import Session

WATCH_SECONDS = 1.0


def show_figures(session: Session, find: Callable[[], list[MountInfo]], *, watch: bool) -> None:
    """Print what mounts do; with `watch`, again every second until interrupted.

    Args:
        session: of the command.
        find: returns the mounts; called each time, because mounts come and go.
        watch: whether to go on.

    Raises:
        MountError: `find` raised it.
    """
    from artifactfs.mount.kernel.asking import find_figures

    before: dict[str, tuple[float, dict[str, Any]]] = {}
    clear = "\x1b[H\x1b[J" if watch and not session.json and sys.stdout.isatty() else ""
    while True:
        mounts = find()
        figures = {info.mountpoint: (time.monotonic(), find_figures(info)) for info in mounts}
        fields = {info.mountpoint: _find_fields(session, info) for info in mounts}
        print(clear, end="")
        if session.json:
            print_json(
                {"mounts": [{**fields[info.mountpoint], "figures": figures[info.mountpoint][1]} for info in mounts]}
            )
        else:
            for info in mounts:
                now, found = figures[info.mountpoint]
                then, earlier = before.get(info.mountpoint, (now, None))
                _print_one(info, found, earlier, seconds=now - then, stale=fields[info.mountpoint]["stale"])
        if not watch:
            return
        sys.stdout.flush()
        before = {place: (now, found) for place, (now, found) in figures.items() if found is not None}
        time.sleep(WATCH_SECONDS)


def _find_fields(session: Session, info: MountInfo) -> dict[str, Any]:
    return mount_fields(info, stale_ns=find_stale_ns(info, state=session.places.state))


def _print_one(
    info: MountInfo,
    figures: dict[str, Any] | None,
    before: dict[str, Any] | None,
    *,
    seconds: float,
    stale: str | None,
) -> None:
    """Print what a mount does, and how fast since `before`, `seconds` ago."""
    print(f"{printable(os.fsencode(info.mountpoint))}  {describe_mount(info)}  {info.transport}  pid {info.pid}")
    if stale is not None:
        print(f"  the repository does not answer: shown is what was last known, since {stale}")
    if figures is None:
        print("  this transport counts nothing")
        return
    passthrough = "; large files are handed to the kernel" if figures["passthrough"] else ""
    print(f"  protocol {figures['protocol']}: {' '.join(figures['features'])}{passthrough}")
    print(f"  workers {len(figures['workers'])}, restarts {figures['restarts']}, upgrades {figures['upgrades']}")
    latency = ", ".join(f"{name} < {value} us" for name, value in figures["latency_us"].items())
    speed = "" if before is None else f" ({format_size((figures['bytes'] - before['bytes']) / seconds)}/s)"
    if figures.get("fetched_reads") or figures.get("fetching"):
        reads, fetched = figures["requests"].get("read", 0), figures["fetched_reads"]
        share = f"{100 * (1 - fetched / reads):.1f} % of reads were answered here; " if reads else ""
        print(f"  {share}fetched {format_size(figures['fetched_bytes'])}, {figures['fetching']} requests wait for more")
    errors = f"errors {figures['errors']}, sent again {figures['resent']}"
    print(f"  read {format_size(figures['bytes'])}{speed}, {errors}; {latency}")
    for kind, count in sorted(figures["requests"].items(), key=lambda item: -item[1]):
        rate = "" if before is None else f"  {(count - before['requests'].get(kind, 0)) / seconds:,.0f}/s"
        print(f"    {kind:<12} {count:>12,}{rate}")
