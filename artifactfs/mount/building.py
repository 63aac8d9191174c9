"""Making what a server serves, from its order: the whole repository, one version, or a staging directory.

Used by `daemon`.

Threading: functions without state, called once in a process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from artifactfs.blobstore.locations import is_remote
from artifactfs.errors import BusyError, MountError, UsageError
from artifactfs.index.epoch import Epoch
from artifactfs.index.epochs import open_epoch, renew_epoch, reopen_epoch
from artifactfs.model import Collection, Version
from artifactfs.mount.daemon import InfoSession, Served
from artifactfs.mount.following import references_of, remote_of
from artifactfs.mount.fusepy.reading import LowerOperations, ReadOperations
from artifactfs.mount.fusepy.transport import read_only_options, writable_options
from artifactfs.mount.fusepy.turns import Turns
from artifactfs.mount.fusepy.writing import WriteOperations
from artifactfs.mount.holding import begin_holding, resolve_held
from artifactfs.mount.holds import Holds, open_holds
from artifactfs.mount.kernel_options import NOEXEC, labels_in_force
from artifactfs.mount.lately import RENEWALS, Lately
from artifactfs.mount.orders import LOCKED, LOWER, REPOSITORY, STAGING, Order
from artifactfs.mount.pinned import ordered_version
from artifactfs.mount.renewing import renew
from artifactfs.mount.sessions import FreezeSession
from artifactfs.mount.staging_list import StagingList
from artifactfs.mount.users import command_of
from artifactfs.paths import parse_ref
from artifactfs.repository.lower import Lower
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.staging import StagingArea
from artifactfs.staging.layout import UNION, Layout, StagingInfo, await_freeze_end, is_freezing, read_driver, serving
from artifactfs.vfs.base import WholeView
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.union.gate import Gate
from artifactfs.vfs.union.union import Union
from artifactfs.vfs.version_view import VersionView

_log = logging.getLogger(__name__)

Ready = Callable[[], None]


class Renewal:
    """Opens what is served in another epoch, when the present one is damaged.

    Threading: one thread at a time.
    """

    def __init__(
        self, stack: ExitStack, repository: Repository, epoch: Epoch, make: Callable[[Epoch], WholeView]
    ) -> None:
        """Store what opens a view; what is opened is closed by `stack`."""
        self._stack = stack
        self._repository = repository
        self._number = epoch.number
        self._make = make
        self._done = Lately(RENEWALS)

    def __call__(self) -> WholeView:
        """Return a view in an epoch that can be used.

        Raises:
            BusyError: that was done too often of late to be of help.
            AccessDeniedError, StorageFullError: none can be begun.
        """
        if self._done.is_too_often:
            msg = f"{RENEWALS} epochs were damaged within a minute"
            raise BusyError(msg, hint="see to the disk of the state directory, and mount again")
        self._done.note()
        directory = self._repository.state_directory
        self._number = renew_epoch(directory, number=self._number, is_damaged=True, random=os.urandom)
        return self._make(self._stack.enter_context(reopen_epoch(directory, number=self._number)))


def build(stack: ExitStack, order: Order, on_ready: Ready) -> Served:
    """Return what an order asks for; what it opens is closed by `stack`.

    Raises:
        NotFoundError: the version or staging directory does not exist.
        BusyError: another process serves the staging directory.
        ArtifactFSError: the repository cannot be opened.
    """
    repository = stack.enter_context(
        open_repository(
            order.repository,
            state=order.state,
            author=order.author,
            create=order.kind == REPOSITORY,
            remote=replace(remote_of(order), serves_last_known=order.kind in (REPOSITORY, LOCKED)),
            references=references_of(order),
        )
    )
    if order.kind == STAGING:
        return _build_staging(stack, order, repository, on_ready)
    epoch = stack.enter_context(open_epoch(repository.state_directory, random=os.urandom))
    if order.kind in (REPOSITORY, LOCKED):
        return _build_repository(stack, order, repository, epoch, on_ready)
    return _build_version(stack, order, repository, epoch, on_ready)


def _begin_holding(stack: ExitStack, order: Order) -> Holds | None:
    holds = begin_holding(order)
    if holds is not None:
        stack.callback(holds.close)
    return holds


def _owner(order: Order) -> dict[str, int]:
    return {
        "uid": os.getuid() if order.uid is None else order.uid,
        "gid": os.getgid() if order.gid is None else order.gid,
    }


def _read_only(order: Order) -> dict[str, str | int | bool]:
    more: dict[str, str | int | bool] = {NOEXEC: True} if NOEXEC in order.kernel_options else {}
    labels = [label.partition("=") for label in labels_in_force(order.kernel_options)]
    return {**read_only_options(allow_other=order.allow_other), **more, **{name: value for name, _, value in labels}}


def _build_repository(stack: ExitStack, order: Order, repository: Repository, epoch: Epoch, on_ready: Ready) -> Served:
    holds = _begin_holding(stack, order)
    staging = StagingList(repository, order)
    names = repository.collection_names() if order.freeze_aliases else []
    targets = {name: dict(repository.get_collection(name).aliases) for name in names}
    frozen = targets if order.freeze_aliases else None

    def make(epoch: Epoch) -> CatalogueView:
        return stack.enter_context(
            CatalogueView(repository, epoch, staging=staging, frozen=frozen, locked=order.locked)
        )

    view, renew = make(epoch), Renewal(stack, repository, epoch, make)
    operations = ReadOperations(view, details=view, on_ready=on_ready, renew=renew, **_owner(order))
    return Served(
        operations,
        _read_only(order),
        InfoSession,
        repository_id=repository.id,
        location=repository.location,
        holds=holds,
    )


def _build_version(stack: ExitStack, order: Order, repository: Repository, epoch: Epoch, on_ready: Ready) -> Served:
    """Build a mount of one version, for people or below an overlay."""
    is_lower = order.kind == LOWER
    collection, version = _find_version(order, repository, _begin_holding(stack, order))

    def make(epoch: Epoch) -> VersionView:
        return stack.enter_context(
            VersionView(repository, epoch, collection=collection, version=version, is_apart=is_lower)
        )

    view, renew = make(epoch), Renewal(stack, repository, epoch, make)
    operations = LowerOperations if is_lower else ReadOperations
    return Served(
        operations(view, details=view, on_ready=on_ready, renew=renew, **_owner(order)),
        read_only_options(allow_other=False) if is_lower else _read_only(order),
        InfoSession,
        repository_id=repository.id,
        location=repository.location,
        collection=collection.name,
        version=version.number,
    )


def _find_version(order: Order, repository: Repository, holds: Holds | None) -> tuple[Collection, Version]:
    if order.kind == LOWER:
        return ordered_version(order)
    ref = parse_ref(order.artifact or "")
    if ref.path or ref.staging is not None:
        msg = f"{ref} is not a version"
        raise UsageError(msg, hint="--artifact takes NAME, NAME:vN or NAME:ALIAS")
    return resolve_held(repository, ref, holds)


def _build_staging(stack: ExitStack, order: Order, repository: Repository, on_ready: Ready) -> Served:
    area = StagingArea(repository)
    staging = area.get(order.collection or "", order.staging or "")
    layout = staging.layout
    driver = read_driver(layout)
    if driver != UNION:
        msg = f"the staging directory {staging} was made with the driver {driver!r}, which cannot be used here"
        raise MountError(msg, hint="mount as root, outside of any user namespace", subject=str(staging))
    stack.enter_context(serving(layout))
    # From here on no commit begins before the control socket is there: one that reads was begun with another server.
    is_frozen = is_freezing(layout)
    info = renew(area, staging).info
    _hold_base(stack, order, info)
    turns = Turns()
    gate = Gate(
        name=str(info),
        describe_process=lambda pid: f"process {pid} ({command_of(pid)})",
        will_wait=turns.give,
    )
    if is_frozen:
        _go_on_frozen(gate, layout)
    upper = layout.upper(info)

    def begin() -> None:
        os.chdir(
            upper
        )  # so that paths in it may be as long as the system takes; libfuse goes to the root when it starts
        on_ready()

    os.chdir(upper)
    lower = Lower(repository, info.root)
    union = stack.enter_context(
        Union(
            b".",
            layout.work,
            lower,
            gate=gate,
            quota=info.quota,
            will_wait=turns.give,
            is_far=is_remote(repository.location),
        )
    )
    return Served(
        WriteOperations(union, on_ready=begin, request=lambda: turns.request, **_owner(order)),
        writable_options(allow_other=order.allow_other),
        lambda: FreezeSession(gate, union.limit),
        repository_id=repository.id,
        location=repository.location,
        collection=info.collection,
        turns=turns,
    )


def _hold_base(stack: ExitStack, order: Order, info: StagingInfo) -> None:
    """Hold the version below, so that no prune takes what is shown of it, though its pin be broken."""
    holds = open_holds(order.repository)
    if holds is not None and info.base is not None:
        stack.callback(holds.close)
        holds.hold([(info.collection, info.base)])


def _go_on_frozen(gate: Gate, layout: Layout) -> None:
    """Hold changes until a commit ends during which the last server was killed."""
    gate.freeze(wait_seconds=0)

    def wait() -> None:
        await_freeze_end(layout)
        gate.thaw()

    threading.Thread(target=wait, name="thaw", daemon=True).start()
