"""The server of a mount by the kernel transport: from its order to its end, and across upgrades.

Run by `mount.daemon`, or as `python -m artifactfs.mount.kernel.daemon --resume N` by a server that replaces its own
program. Where the kernel transport cannot be had, and was not asked for by name, the fusepy transport serves.

Threading: one thread; everything else happens in forked children.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import structs

from artifactfs.errors import MountError
from artifactfs.mount.daemon import Daemon, InfoSession, Served, build
from artifactfs.mount.holding import begin_holding
from artifactfs.mount.kernel.apart import call_apart
from artifactfs.mount.kernel.choice import (
    Prepared,
    check_handover,
    hold_served,
    prepare,
    recall,
    should_pass_through,
)
from artifactfs.mount.kernel.control_port import ControlPort
from artifactfs.mount.kernel.metrics import start_metrics
from artifactfs.mount.kernel.mounting import MountRequest
from artifactfs.mount.kernel.own_mount import OwnMount
from artifactfs.mount.kernel.serve import begin, resume
from artifactfs.mount.kernel.sessions import KernelSession
from artifactfs.mount.kernel.settings import (
    Handover,
    ServeSettings,
    default_workers,
    load_handover,
    store_handover,
)
from artifactfs.mount.kernel.supervisor import Supervisor
from artifactfs.mount.kernel.upgrade import check_installed, describe, handover_of, replace_program
from artifactfs.mount.logs import rotate_log
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.orders import KERNEL, LOWER, REPOSITORY, Order
from artifactfs.mount.port.place import remove as remove_port
from artifactfs.mount.registry import held_slot
from artifactfs.mount.service.kept import leave
from artifactfs.mount.staging_mounts import end_all
from artifactfs.mount.transport import find_ignored, why_kernel
from artifactfs.mount.wakeups import should_hasten

if TYPE_CHECKING:
    from artifactfs.mount.daemon import Builder
    from artifactfs.mount.holds import Holds
    from artifactfs.mount.keeper import Keeper
    from artifactfs.mount.kernel.serving import Mounted
    from artifactfs.mount.options import MountInfo

_log = logging.getLogger(__name__)
MODULE: Final = "artifactfs.mount.kernel.daemon"
_BORROWED: Final = -1
"""What the order of a later server says about a descriptor that somebody else has mounted."""


class KernelDaemon(Daemon):
    """One server of the kernel transport.

    Threading: one thread.
    """

    def __init__(self, order: Order, *, build: Builder, handover: Handover | None = None) -> None:
        super().__init__(order, build=build)
        self._handover = handover
        self._supervisor: Supervisor | None = None
        self._lock = self._epoch = -1
        self._is_kept = False
        self._holds: Holds | None = None
        # Somebody else has mounted it, and unmounts it; this may be another mount namespace.
        earlier = None if handover is None else Order.decode(handover.extra["order"])
        self._is_borrowed = order.descriptor is not None or (earlier is not None and earlier.descriptor is not None)
        self._own = OwnMount(order.mountpoint)
        self._place = ExitStack()
        self._prepared: Prepared | None = None
        self._started_ns = handover.started_ns if handover is not None else time.time_ns()

    def _serve(self) -> None:
        with ExitStack() as stack:
            lock = self._handover.extra.get("lock") if self._handover is not None else None
            inherited = None if lock is None else int(lock)
            # Before anything is mounted: of two servers that begin at once the second must not cover the first.
            self._place = stack.enter_context(ExitStack())
            self._lock = self._place.enter_context(
                held_slot(self._slot, mountpoint=self._order.mountpoint, inherited=inherited)
            )
            mounted = self._try_to_mount()
            if mounted is not None:
                stack.callback(self._unmount)
                self._supervise(mounted)
                return
        super()._serve()

    def _try_to_mount(self) -> Mounted | None:
        """Return the mount; None when the fusepy transport is to serve."""
        try:
            mounted = self._mount()
        except MountError as error:
            if self._order.transport == KERNEL:
                raise
            self._why_fusepy = f"the kernel transport cannot be used: {error}"
            for option in find_ignored(self._order):
                _log.warning("%s does nothing: the fusepy transport has no such thing", option)
            return None
        self.transport = KERNEL
        why = why_kernel(self._order) if self._handover is None else "an earlier server left it so"
        _log.info("transport: kernel, protocol 7.%d, because %s", mounted.agreed.minor, why)
        return mounted

    def _unmount(self) -> None:
        """Leave no dead mount behind, whatever ended the server, unless another takes its place."""
        if not (self._is_borrowed or self._is_leaving()):
            self._own.detach()

    def _mount(self) -> Mounted:
        """Return the mount with INIT answered, new or handed over."""
        earlier = self._handover
        prepared = self._prepare() if earlier is None else self._recall(earlier)
        self._prepared = prepared
        # A lock alone: the tables are opened by the workers, after the fork.
        self._epoch = hold_served(prepared.state_directory, prepared.served.epoch)
        self._served = Served(
            None, {}, InfoSession, repository_id=prepared.repository_id, location=prepared.location,
            collection=prepared.served.collection or None,
            version=prepared.served.version if prepared.served.collection else None, holds=self._holds,
        )  # fmt: skip
        if earlier is not None:
            self._own.find()
            return resume(earlier)
        order = self._order
        wanted = should_pass_through(order, prepared)
        settings = ServeSettings(
            order.mountpoint, prepared.source(), order.workers or default_workers(), passthrough=wanted,
            quick_wakeups=should_hasten(order.quick_wakeups), debug=order.debug, metrics=order.metrics,
            fetches=prepared.served.known is not None,
        )  # fmt: skip
        probe = prepared.location if wanted else ""
        if order.descriptor is not None:
            return begin(order.descriptor, settings, probe=probe)
        request = MountRequest(order.mountpoint, allow_other=order.allow_other, kernel_options=order.kernel_options)
        device = self._own.open(request, may_cover=order.kind == LOWER)
        try:
            return begin(device, settings, probe=probe)
        except BaseException:
            os.close(device)
            self._own.detach()
            raise

    def _prepare(self) -> Prepared:
        """Find out what is to be served, holding it in the repository; children have the locks, too."""
        holds = self._holds = begin_holding(self._order)
        prepared = call_apart(lambda: prepare(self._order, holds))
        if holds is None:  # the repository may have been made just now
            self._holds = begin_holding(self._order)
        return prepared

    def _recall(self, earlier: Handover) -> Prepared:
        prepared = recall(earlier)
        inherited = earlier.extra.get("shown")
        self._holds = begin_holding(self._order, inherited=None if inherited is None else int(inherited))
        served = prepared.served
        if self._holds is not None and served.collection:
            self._holds.hold([(served.collection, served.version)])
        return prepared

    def _supervise(self, mounted: Mounted) -> None:
        order = self._order
        earlier = self._handover
        supervisor = self._supervisor = Supervisor(
            mounted,
            restarts=earlier.restarts if earlier else 0,
            upgrades=earlier.upgrades if earlier else 0,
            resumes=earlier is not None,
            renews=order.kind != LOWER,  # an overlay keeps nodes of it for good, so it has to be mounted anew as well
        )
        if self._handover is not None:
            supervisor.adopt(self._handover.children)
        port = ControlPort(self._slot.socket, lambda: KernelSession(supervisor, self._upgrade))
        self._place.callback(port.close)
        port.open(supervisor.add_reader, supervisor.remove_reader)
        if order.metrics:
            start_metrics(supervisor, order.metrics, stack=self._place)
        self._is_kept = self._leave_with_manager(supervisor)
        supervisor.add_tick(rotate_log)
        supervisor.add_tick(self._leave_place)
        supervisor.call_when_started(self._become_ready)
        supervisor.call_when_renewed(self._follow_epoch)
        supervisor.run()
        self._unmount()
        supervisor.end()
        if self._is_leaving():
            _log.info("another server takes over %s", order.mountpoint)
        elif order.kind == REPOSITORY and self._served is not None:
            end_all(order, self._served.repository_id)
            if not self._own.is_left:
                remove_port(order, order.mountpoint)

    def _leave_place(self) -> None:
        """Leave the place to others when it was unmounted, though some are still inside and have to be served."""
        order, supervisor = self._order, self._supervisor
        if supervisor is None or self._is_borrowed or order.kind == LOWER or not self._own.has_to_leave():
            return
        _log.info("%s is unmounted: who is still inside is served, and another can be mounted there", order.mountpoint)
        self._place.close()

    def _follow_epoch(self) -> None:
        """Hold the epoch that is served now, and leave it with the service manager."""
        supervisor, prepared = self._supervisor, self._prepared
        if supervisor is None or prepared is None:
            return
        number = supervisor.mounted.settings.source.arguments["epoch"]
        _log.warning("the mount goes on in the epoch %05x: every name is looked up afresh", number)
        held, self._epoch = self._epoch, hold_served(prepared.state_directory, number)
        if held >= 0:
            os.close(held)
        if self._is_kept:
            self._is_kept = self._leave_with_manager(supervisor)

    def _is_leaving(self) -> bool:
        return self._is_kept and self._supervisor is not None and self._supervisor.is_leaving

    def _leave_with_manager(self, supervisor: Supervisor) -> bool:
        """Have the service manager keep all that a next server needs; return whether it does."""
        order, prepared = self._order, self._prepared
        if order.manager is None or prepared is None:
            return False
        line = None if self._is_borrowed else find_mount(order.mountpoint)
        extra = self._extra(prepared) | {"device": "" if line is None else line.device}
        handover = describe(supervisor, started_ns=self._started_ns, extra=extra)
        described = store_handover(structs.replace(handover, children=()))
        try:
            return leave(order.manager, handover, epoch=self._epoch, described=described)
        finally:
            os.close(described)

    def _extra(self, prepared: Prepared) -> dict[str, str]:
        order = replace(self._order, descriptor=_BORROWED if self._is_borrowed else None)
        return {"order": order.encode(), "id": prepared.repository_id, "state": prepared.state_directory}

    def _start_keeper(self, keeper: Keeper) -> None:
        if self._supervisor is not None:
            self._supervisor.add_helper("af-keeper", lambda: _watch(keeper))
        else:
            super()._start_keeper(keeper)

    def _info(self) -> MountInfo:
        return replace(super()._info(), started_ns=self._started_ns)

    def _upgrade(self) -> None:
        """Replace this program by the installed one, if that starts."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        os.set_inheritable(self._lock, True)
        extra = {"lock": str(self._lock)}
        if self._holds is not None:
            os.set_inheritable(self._holds.descriptor, True)
            extra["shown"] = str(self._holds.descriptor)
        if self._prepared is not None:
            extra |= self._extra(self._prepared)
        if self._order.manager is not None and self._order.manager.descriptor is not None:
            os.set_inheritable(self._order.manager.descriptor, True)
        descriptor = handover_of(supervisor, started_ns=self._started_ns, extra=extra)
        check_installed([sys.executable, "-P", "-m", MODULE, "--check"], handover=descriptor)
        replace_program([sys.executable, "-P", "-m", MODULE, "--resume", str(descriptor)])


def _watch(keeper: Keeper) -> int:
    """Watch staging directories until the mount is gone; return the exit status."""
    keeper.watch()
    return 0


def main(arguments: list[str]) -> int:
    """Go on with a mount that an earlier program handed over; `--check` only shows that this one could."""
    if arguments[:1] == ["--check"]:
        for number in arguments[1:]:
            check_handover(int(number))
        return 0
    handover = load_handover(int(arguments[1]))
    # Whoever started the mount was told long ago: by now the number is that of another file.
    order = replace(Order.decode(handover.extra["order"]), ready_descriptor=None)
    return KernelDaemon(order, build=build, handover=handover).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
