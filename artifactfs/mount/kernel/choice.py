"""What is decided once, when a mount is made: the version, the epoch, frozen aliases, passthrough.

Everything that is opened here is closed again before the supervisor forks.

Threading: one thread.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from artifactfs.blobstore.locations import is_remote
from artifactfs.errors import UsageError
from artifactfs.index.epochs import hold_epoch, open_epoch
from artifactfs.mount.following import remote_of
from artifactfs.mount.holding import resolve_held
from artifactfs.mount.kernel.catalogue import Served, describe
from artifactfs.mount.kernel.large_files import find_newest, is_mostly_large
from artifactfs.mount.kernel.settings import Handover, read_handover
from artifactfs.mount.orders import LOCKED, REPOSITORY, Order
from artifactfs.mount.pinned import encode_root
from artifactfs.mount.syscalls import may_mount
from artifactfs.paths import parse_ref
from artifactfs.repository.format import read_formats
from artifactfs.repository.repository import Repository, open_repository

if TYPE_CHECKING:
    from artifactfs.mount.holds import Holds
    from artifactfs.mount.kernel.source import SourceSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be served.

    Attributes:
        served: for the workers.
        repository_id: of the repository.
        location: of the repository.
        state_directory: what this user keeps about it.
        is_mostly_large: whether it is mostly large files; False where nobody asked.
    """

    served: Served
    repository_id: str
    location: str
    state_directory: str
    is_mostly_large: bool

    def source(self) -> SourceSpec:
        """Return how workers open it."""
        return describe(self.served)


def prepare(order: Order, holds: Holds | None = None) -> Prepared:
    """Return what an order asks for; `holds` is told of the version that is shown.

    Raises:
        NotFoundError: the version does not exist.
        UsageError: it is no version.
        ArtifactFSError: the repository cannot be opened.
    """
    create = order.kind == REPOSITORY
    with open_repository(
        order.repository, state=order.state, author=order.author, create=create, remote=remote_of(order)
    ) as repository:
        with open_epoch(repository.state_directory, random=os.urandom) as epoch:
            number = epoch.number
        collection, version = _resolve(order, repository, holds)
        top = repository.get_collection(collection).versions[version].root if collection and not order.root else None
        served = Served(
            repository=repository.location,
            state=order.state,
            uid=os.getuid() if order.uid is None else order.uid,
            gid=os.getgid() if order.gid is None else order.gid,
            collection=collection,
            version=version,
            frozen=_freeze(repository) if order.freeze_aliases else None,
            locked=order.locked,
            epoch=number,
            order=order.encode(),
            root=order.root,
            top=encode_root(top) if top is not None else None,
            known=_find_known(order, repository),
        )
        return Prepared(
            served,
            repository.id,
            repository.location,
            repository.state_directory,
            _is_mostly_large(order, repository, served),
        )


def recall(handover: Handover) -> Prepared:
    """Return what an earlier program of this process serves: nothing is decided again."""
    served = msgspec.convert(handover.settings.source.arguments, Served)
    return Prepared(served, handover.extra["id"], served.repository, handover.extra["state"], is_mostly_large=False)


def check_handover(number: int) -> None:
    """Return if this program could go on with what an earlier one left in a memfd; it raises whatever is in the way."""
    handover = read_handover(number)
    recall(handover)
    Order.decode(handover.extra["order"])


def hold_served(directory: str, number: int) -> int:
    """Return the lock of an epoch; a file of nothing where it is gone, which the workers find out."""
    try:
        return hold_epoch(directory, number=number)
    except OSError as error:
        _log.warning("the epoch %05x cannot be held: %s", number, error)
        return os.memfd_create("artifactfs-epoch", os.MFD_CLOEXEC)


def _resolve(order: Order, repository: Repository, holds: Holds | None) -> tuple[str, int]:
    if order.kind in (REPOSITORY, LOCKED):
        return "", 0
    ref = parse_ref(order.artifact or "")
    if order.root is not None:
        return ref.collection, ref.version or 0
    if ref.path or ref.staging is not None:
        msg = f"{ref} is not a version"
        raise UsageError(msg, hint="--artifact takes NAME, NAME:vN or NAME:ALIAS")
    collection, version = resolve_held(repository, ref, holds)
    return collection.name, version.number


def _find_known(order: Order, repository: Repository) -> dict[str, bytes] | None:
    """Return what workers need of a repository that they do not ask; None where nothing ever comes from elsewhere."""
    if repository.is_remote:
        return read_formats(repository.store)
    return {} if order.follow_references else None


def _freeze(repository: Repository) -> dict[str, dict[str, int]]:
    return {name: dict(repository.get_collection(name).aliases) for name in repository.collection_names()}


def should_pass_through(order: Order, prepared: Prepared) -> bool:
    """Return whether to ask the kernel for passthrough: when told so, or when mostly large files are mounted."""
    if order.passthrough and is_remote(prepared.location):
        _log.warning("passthrough does nothing for a repository in an object store: its files are not on this machine")
        return False
    return prepared.is_mostly_large if order.passthrough is None else order.passthrough


def _is_mostly_large(order: Order, repository: Repository, served: Served) -> bool:
    if order.passthrough is not None or order.root is not None or not may_mount():
        return False
    if not served.collection:
        return is_mostly_large(repository, find_newest(repository, order.locked))
    return is_mostly_large(repository, [repository.get_collection(served.collection).versions[served.version].root])
