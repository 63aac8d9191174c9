"""Opening what real mounts are served from: repository, epoch, view; in each worker anew, after the fork.

The module that `SourceSpec` names for mounts of a repository.

Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from artifactfs.index.epoch import Epoch
from artifactfs.index.epochs import open_epoch, renew_epoch, reopen_epoch
from artifactfs.mount.following import references_of, remote_of
from artifactfs.mount.kernel.changes import CatalogueChanges
from artifactfs.mount.kernel.encoding import FOREVER, Owner, Validity
from artifactfs.mount.kernel.index_source import IndexSource
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.pinned import pinned_version
from artifactfs.mount.staging_list import StagingList
from artifactfs.repository.locked import Locked
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.nodes import NodeTable
from artifactfs.vfs.parts import find_top
from artifactfs.vfs.staging_places import NoStaging
from artifactfs.vfs.version_view import VersionView

if TYPE_CHECKING:
    from artifactfs.model import Collection, Version
    from artifactfs.mount.kernel.source import ChangeSource, Source, Sources
    from artifactfs.vfs.staging_places import StagingPlaces

MODULE: Final = __name__


class Served(Struct, frozen=True):
    """What is mounted, as `SourceSpec.arguments` says it.

    Attributes:
        repository: its place.
        state: the user's state directory.
        uid: owner of everything.
        gid: group of everything.
        collection: of the one version that is the root; empty for the whole repository.
        version: its number.
        frozen: alias targets by collection, as they were when it was mounted; None lets them move.
        locked: all that may be seen; None for everything.
        names_ns: how long the kernel keeps names and attributes of the catalogue.
        epoch: number of the epoch that the mount began with; 0 takes the current one.
        order: the server's order, as text, for what staging directories need; empty shows none.
        root: top directory of the version below an overlay, as JSON; such a mount has no extended attributes.
        top: top directory of the one version, as JSON, so that workers need not look for it.
        known: objects of a remote repository, by key, with which it is opened without a network. None when there is
            no fetcher; else workers ask no service: what they want of one is an errand for it.
    """

    repository: str
    state: str
    uid: int
    gid: int
    collection: str = ""
    version: int = 0
    frozen: dict[str, dict[str, int]] | None = None
    locked: Locked | None = None
    names_ns: int = FOREVER.entry_ns
    epoch: int = 0
    order: str = ""
    root: str | None = None
    top: str | None = None
    known: dict[str, bytes] | None = None


def open_source(arguments: dict[str, Any]) -> Source:
    """Open what `arguments`, the fields of `Served`, describe, for a worker."""
    served = msgspec.convert(arguments, Served)
    with ExitStack() as stack:
        repository, epoch = _open(served, stack, is_away=served.known is not None)
        return _make_source(served, repository, epoch, stack)


class CatalogueSources:
    """Sources for the threads of a fetcher, which answer from one repository and epoch.

    Threading: may be shared by threads.
    """

    def __init__(self, served: Served, repository: Repository, epoch: Epoch, *, holding: ExitStack) -> None:
        """Store what they answer from; `holding` closes it."""
        self._served = served
        self._repository = repository
        self._epoch = epoch
        self._holding = holding

    def make(self) -> IndexSource:
        """Return a source for one thread."""
        with ExitStack() as stack:
            return _make_source(self._served, self._repository, self._epoch, stack)

    def close(self) -> None:
        """Close repository and epoch."""
        self._holding.close()


def open_sources(arguments: dict[str, Any]) -> Sources:
    """Open what `arguments`, the fields of `Served`, describe, for the fetcher."""
    served = msgspec.convert(arguments, Served)
    with ExitStack() as stack:
        repository, epoch = _open(served, stack)
        return CatalogueSources(served, repository, epoch, holding=stack.pop_all())


def _make_source(served: Served, repository: Repository, epoch: Epoch, stack: ExitStack) -> IndexSource:
    nodes = NodeTable(epoch)
    owner = Owner(served.uid, served.gid)
    if served.collection:
        collection, version = _find_version(served, repository)
        # Below an overlay, what is not listed would be seen through it, and in the way of such a name.
        is_apart = served.root is not None
        view = stack.enter_context(
            VersionView(repository, epoch, collection=collection, version=version, is_apart=is_apart)
        )
        root = find_top(nodes, collection.name, version, is_apart=is_apart)
        source = IndexSource(
            repository, nodes, view=view, details=view, root=root, owner=owner, catalogue=FOREVER,
            holding=stack.pop_all(),
            open_view=None if served.root is not None else lambda pins, locked: CatalogueView(
                repository, epoch, staging=NoStaging(), frozen=pins, shows_new=True, locked=locked
            ),
        )  # fmt: skip
        source.has_xattrs = served.root is None
        return source
    whole = stack.enter_context(
        CatalogueView(
            repository, epoch, staging=_staging_of(served, repository), frozen=served.frozen, locked=served.locked
        )
    )
    return IndexSource(
        repository, nodes, view=whole, details=whole, root=None, owner=owner,
        catalogue=Validity(served.names_ns, served.names_ns), holding=stack.pop_all(),
        open_view=lambda pins, locked: CatalogueView(
            repository,
            epoch,
            staging=_staging_of(served, repository, as_links=True),
            frozen=pins,
            shows_new=True,
            locked=locked,
        ),
    )  # fmt: skip


def open_changes(arguments: dict[str, Any]) -> ChangeSource | None:
    """Open what tells of changes in the catalogue; None for a single version, in which nothing changes."""
    served = msgspec.convert(arguments, Served)
    if served.collection:
        return None
    with ExitStack() as stack:
        repository, epoch = _open(served, stack)
        return CatalogueChanges(
            repository,
            NodeTable(epoch),
            staging=_staging_of(served, repository),
            holding=stack.pop_all(),
            lag_seconds=remote_of(_order_of(served)).poll_seconds if repository.is_remote else 0.0,
        )


def renew(arguments: dict[str, Any], *, is_damaged: bool) -> dict[str, Any]:
    """Return what to open instead of `arguments`, the fields of `Served`: the same in an epoch that can be used.

    `is_damaged` is whether that of `arguments` cannot be used any more, although it may look as if it could.
    """
    served = msgspec.convert(arguments, Served)
    with ExitStack() as stack:
        directory = _open_repository(served, stack, is_away=served.known is not None).state_directory
        number = renew_epoch(directory, number=served.epoch, is_damaged=is_damaged, random=os.urandom)
    return {**arguments, "epoch": number}


def describe(served: Served) -> SourceSpec:
    """Return how to open what `served` describes."""
    return SourceSpec(MODULE, msgspec.to_builtins(served))


def _open(served: Served, stack: ExitStack, *, is_away: bool = False) -> tuple[Repository, Epoch]:
    repository = _open_repository(served, stack, is_away=is_away)
    directory = repository.state_directory
    epoch = reopen_epoch(directory, number=served.epoch) if served.epoch else open_epoch(directory, random=os.urandom)
    return repository, stack.enter_context(epoch)


def _open_repository(served: Served, stack: ExitStack, *, is_away: bool) -> Repository:
    order = _order_of(served)
    return stack.enter_context(
        open_repository(
            served.repository,
            state=served.state,
            author="",
            create=False,
            remote=replace(remote_of(order), known=served.known or {}, is_away=is_away, serves_last_known=True),
            references=references_of(order, is_away=is_away),
        )
    )


def _order_of(served: Served) -> Order:
    """Return the server's order, or one that shows no staging directories."""
    if served.order:
        return Order.decode(served.order)
    return Order(REPOSITORY, "", served.repository, served.state, "", "")


def _find_version(served: Served, repository: Repository) -> tuple[Collection, Version]:
    """Return what is mounted; of a version below an overlay no more than what a mount shows of it."""
    root = served.root or served.top
    if root is not None:
        return pinned_version(served.collection, served.version, root=root)
    collection = repository.get_collection(served.collection)
    return collection, collection.versions[served.version]


def _staging_of(served: Served, repository: Repository, *, as_links: bool = False) -> StagingPlaces:
    """Return the staging directories; `as_links` where nothing is bound over their names."""
    if not served.order:
        return NoStaging()
    order = Order.decode(served.order)
    return StagingList(repository, replace(order, staging_links=True) if as_links else order)
