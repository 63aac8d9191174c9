"""The process that serves one mount: `python -m artifactfs.mount.daemon ORDER`, or without one (`spare`, `forker`).

It never touches its own mount: whoever started it makes the first listing.

Order of things: log, lock of the mount point, repository and view, control socket, mount; once the kernel asks, the
record in the registry and the word on the ready pipe. At the end, in reverse.

Threading: the main thread waits in libfuse; libfuse's threads answer the kernel; the control socket has its own.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import ArtifactFSError, MountError
from artifactfs.mount.control import ControlServer, Message, Session, encode_error
from artifactfs.mount.forker import FORKER, fork_servers
from artifactfs.mount.keeper import Keeper
from artifactfs.mount.logs import start_log
from artifactfs.mount.options import MountInfo
from artifactfs.mount.orders import FUSEPY, REPOSITORY, STAGING, Order
from artifactfs.mount.port.place import remove as remove_port
from artifactfs.mount.registry import Slot, held_slot, prepare_folders, slot_for, write_record
from artifactfs.mount.service.manager import READY, tell
from artifactfs.mount.spare import SPARE, wait_and_serve
from artifactfs.mount.staging_mounts import end_all
from artifactfs.mount.transport import why_fusepy
from artifactfs.mount.wakeups import Wakeups, should_hasten

if TYPE_CHECKING:
    from artifactfs.mount.fusepy.turns import Turns
    from artifactfs.mount.holds import Holds

_log = logging.getLogger(__name__)
_KERNEL_MODULES: Final = ("artifactfs.mount.kernel.daemon", "artifactfs.mount.kernel.index_source")
_OVERLAY_MODULES: Final = ("artifactfs.mount.overlay.daemon", *_KERNEL_MODULES)


@dataclass(frozen=True, slots=True)
class Served:
    """What a server was made to serve.

    Attributes:
        operations: the file system; its `init` calls `on_ready` of what it was made with.
        options: libfuse's.
        make_session: makes a control connection's session.
        repository_id: of the repository.
        location: of the repository, as its state directory is named by.
        collection, version: of a single version's mount; the collection also of a staging directory's.
        turns: the threads that serve, by fusepy, where it is not just one.
        holds: where it says to prunes what it shows; None where it cannot.
    """

    operations: Any
    options: dict[str, str | int | bool]
    make_session: Callable[[], Session]
    repository_id: str
    location: str
    collection: str | None = None
    version: int | None = None
    turns: Turns | None = None
    holds: Holds | None = None


class InfoSession:
    """A control connection that can only ask who is there.

    Threading: one thread.
    """

    def handle(self, request: Message) -> Message:
        """Answer `info`."""
        return {"pid": os.getpid(), "asked": request["do"]}

    def close(self) -> None:
        """Hold nothing."""


Builder = Callable[[ExitStack, Order, Callable[[], None]], Served]


class Daemon:
    """One server, from its order to its end.

    Threading: `run` in the main thread; `_become_ready` in the one that libfuse calls `init` in.
    """

    def __init__(self, order: Order, *, build: Builder) -> None:
        self._order = order
        self._build = build
        self._slot: Slot = slot_for(order, order.mountpoint)
        self._served: Served | None = None
        self._is_ready = False
        self._failure: ArtifactFSError | None = None
        self.transport = FUSEPY
        self._why_fusepy = why_fusepy(order)

    def run(self) -> int:
        """Serve until the mount is gone; return the process's exit code."""
        try:
            prepare_folders(self._order)
            start_log(self._slot.log, foreground=self._order.foreground, debug=self._order.debug)
            self._serve()
        except ArtifactFSError as error:
            _log.error("%s", error)
            self._report(encode_error(error))
            return error.exit_code
        except Exception as error:  # noqa: BLE001  (whoever waits must be told)
            _log.exception("the server failed unexpectedly")
            self._report(encode_error(MountError(f"the server failed: {type(error).__name__}: {error}")))
            return 1
        _log.info("unmounted %s", self._order.mountpoint)
        return 0

    def _serve(self) -> None:
        order = self._order
        from artifactfs.mount.fusepy.library import load_fuse  # noqa: PLC0415  (most mounts do without)

        load_fuse()
        from artifactfs.mount.fusepy.transport import serve as serve_fusepy  # noqa: PLC0415  (fusepy loads libfuse when imported)

        with ExitStack() as stack:
            stack.enter_context(held_slot(self._slot, mountpoint=order.mountpoint))
            self.transport = FUSEPY
            _log.info("transport: fusepy, because %s", self._why_fusepy)
            served = self._build(stack, order, self._try_to_become_ready)
            self._served = served
            control = ControlServer(self._slot.socket, served.make_session)
            control.start()
            stack.callback(control.close)
            start = _stderr_size(self._slot.log)
            try:
                wakeups = Wakeups(hasten=should_hasten(order.quick_wakeups))
                serve_fusepy(
                    served.operations, order.mountpoint, options=served.options, wakeups=wakeups, turns=served.turns
                )
            except MountError as error:
                said = "" if self._is_ready else _stderr_since(self._slot.log, start)
                raise explain(error, said) from error
            if self._failure is not None:
                raise self._failure
            if order.kind == REPOSITORY:
                # The mount is gone, so looking into mounts is safe now.
                end_all(order, served.repository_id)
                remove_port(order, order.mountpoint)

    def _try_to_become_ready(self) -> None:
        """Make the mount known, or end it: nobody would find it. Called by libfuse, which drops exceptions."""
        try:
            self._become_ready()
        except ArtifactFSError as error:
            self._failure = error
            os.kill(os.getpid(), signal.SIGTERM)

    def _become_ready(self) -> None:
        """Make the mount known. Called when the kernel has begun to ask, or asked its first question."""
        info = self._info()
        write_record(self._slot, info)
        self._is_ready = True
        _log.info("mounted %s", self._order.mountpoint)
        self._report({"ok": True})
        tell(self._order.manager, READY)
        if self._order.kind == REPOSITORY:
            holds = self._served.holds if self._served is not None else None
            self._start_keeper(
                Keeper(self._order, repository_id=info.repository_id, location=info.repository, holds=holds)
            )

    def _start_keeper(self, keeper: Keeper) -> None:
        keeper.start()

    def _info(self) -> MountInfo:
        order, served = self._order, self._served
        if served is None:
            msg = "ready before it was built"
            raise MountError(msg)
        return MountInfo(
            mountpoint=order.mountpoint,
            repository=served.location,
            repository_id=served.repository_id,
            kind=order.kind,
            pid=os.getpid(),
            transport=self.transport,
            read_only=order.kind != STAGING,
            socket=self._slot.socket,
            log=self._slot.log,
            started_ns=time.time_ns(),
            collection=served.collection,
            version=served.version,
            staging=order.staging,
            allow_other=order.allow_other,
            follow_references=order.follow_references,
            poll_seconds=order.poll_seconds,
            limits=order.limits,
        )

    def _report(self, message: Message) -> None:
        descriptor = self._order.ready_descriptor
        if descriptor is None:
            return
        try:
            os.write(descriptor, json.dumps(message).encode("ascii") + b"\n")
            os.close(descriptor)
        except OSError:
            _log.warning("whoever started the mount did not wait for it")


def explain(error: MountError, said: str) -> MountError:
    """Return a mount error with what libfuse wrote about it, and the mend."""
    if "/dev/fuse" in said or "device not found" in said:
        return MountError(f"/dev/fuse cannot be used: {said}", hint="run: artifactfs doctor", subject=error.subject)
    if "user_allow_other" in said:
        return MountError(
            "other users cannot be let in (--allow-other)",
            hint="add the line user_allow_other to /etc/fuse.conf, or mount as root",
            subject=error.subject,
        )
    return MountError(f"{error.message}: {said}" if said else error.message, hint="run: artifactfs doctor")


def _stderr_size(log: str) -> int:
    try:
        return os.stat(log).st_size
    except OSError:
        return 0


def _stderr_since(log: str, start: int) -> str:
    """Return what was written to the log since it had `start` bytes, on one line."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return "; ".join(line.strip() for line in file if line.strip())
    except OSError:
        return ""


def detach_from_caller() -> None:
    """Become nobody's child, and deaf to a terminal that goes away.

    The fork comes before any thread and any LMDB environment.
    """
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def main(arguments: list[str]) -> int:
    """Serve the order in the first argument, or what comes through a descriptor; return the exit code."""
    if arguments[0] == SPARE:
        detach_from_caller()
        kind, orders, ready = arguments[1:]
        return wait_and_serve(int(orders), int(ready), load=lambda: load(kind), serve=serve)
    if arguments[0] == FORKER:
        detach_from_caller()
        kind, channel = arguments[1:]
        return fork_servers(int(channel), load=lambda: load(kind), serve=serve)
    order = Order.decode(arguments[0])
    if not (order.foreground or order.minded):
        detach_from_caller()
    if order.keep:
        return mind(order)
    return serve(order)


def mind(order: Order) -> int:
    """Keep a server of an order alive until it ends by itself; return its exit code."""
    from artifactfs.mount.launch import command_for  # noqa: PLC0415  (servers start no servers)
    from artifactfs.mount.service.minder import Minder  # noqa: PLC0415  (most mounts do without)

    return Minder(order, command_for=command_for).run()


def serve(order: Order) -> int:
    """Serve an order in this process, by whichever transport is to be used; return the exit code."""
    if order.kind == STAGING and sys.platform == "linux":
        from artifactfs.mount.overlay.daemon import OverlayDaemon  # noqa: PLC0415  (Linux only)

        return OverlayDaemon(order, build=build).run()
    if order.kind == STAGING or order.transport == FUSEPY or sys.platform != "linux":
        return Daemon(order, build=build).run()
    from artifactfs.mount.kernel.daemon import KernelDaemon  # noqa: PLC0415  (Linux only)
    from artifactfs.mount.service.kept import find_handover  # noqa: PLC0415  (the kernel transport's)

    return KernelDaemon(order, build=build, handover=find_handover(order)).run()


def load(kind: str) -> None:
    """Import what the server of an order of a kind needs, as far as it is sure to be needed."""
    if sys.platform == "linux":
        for name in _OVERLAY_MODULES if kind == STAGING else _KERNEL_MODULES:
            importlib.import_module(name)


def build(stack: ExitStack, order: Order, on_ready: Callable[[], None]) -> Served:
    """Return what an order asks for; see `building.build`, which loads libfuse and whatever may hold threads."""
    from artifactfs.mount.building import build as build_served  # noqa: PLC0415

    return build_served(stack, order, on_ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
