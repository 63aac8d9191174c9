"""Views of runs: the repository once more, under directories of their own, so that lookups tell which run made them.

    /@run-<run id>/animals/latest -> v1
    /@run-<run id>/animals/v1/images/cat.png
    /@run-<run id>/@run-<id of a run that was begun in it>/animals/latest -> v2

In a view there are views again, for runs that are begun in it and see nothing else. A mount of one version has
`/@run-<run id>/images/cat.png`.

Directories and links of a view have nodes of their own; files have the nodes that they have everywhere, so their pages
are in the kernel's cache once. Listings are sent without attributes: so the first use of a name is one LOOKUP, which is
noted, and later uses are none, because names in versions are kept for ever. Aliases are as the run pinned them. A view
that was ended is answered as before, but nothing is noted any more.

Used by `index_source`. Threading: one thread.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from artifactfs.mount.kernel.encoding import (
    FOREVER,
    NO_ATTRIBUTES,
    NO_ENTRY,
    Owner,
    Validity,
    encode_attr,
    encode_entry,
)
from artifactfs.mount.kernel.listings import fill_changing
from artifactfs.mount.kernel.pages import copy_records, iter_records
from artifactfs.mount.kernel.prepared import encode_listing, node_attributes
from artifactfs.mount.kernel.structures import ENTRY_OUT
from artifactfs.paths import join_path
from artifactfs.repository.runviews import NAME_PREFIX, append_looked, find_locked, find_pins, is_run_name, open_looked
from artifactfs.vfs.base import ROOT_NODE
from artifactfs.vfs.node_records import CollectionNode, DirectoryNode, LinkNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.mount.kernel.prepared import PreparedDirectories
    from artifactfs.repository.locked import Locked
    from artifactfs.vfs.attributes import Attributes
    from artifactfs.vfs.catalogue_view import CatalogueView
    from artifactfs.vfs.node_records import Record, ViewNode
    from artifactfs.vfs.nodes import NodeTable

KEPT_VIEWS: Final = 256
_ROOT: Final = Validity(0, FOREVER.attr_ns)
"""The name goes with the run; everything in a view stays as the program has first seen it."""
_NO_VIEW: Final = b"\0" * ENTRY_OUT.size
"""There is no view of this name; one may come, so the kernel keeps nothing."""
_INO, _SIZE, _MODE = (ENTRY_OUT.fields.index(field) for field in ("ino", "size", "mode"))
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _View:
    """One run's view, in one worker."""

    catalogue: CatalogueView
    descriptor: int


class RunViews:
    """Answers for directories and links of views. Belongs to one thread.

    Args:
        nodes: the epoch's nodes.
        directories: prepared directories of versions.
        owner: of everything.
        state_directory: where runs say that they have a view.
        open_catalogue: makes the catalogue of a view, given the pinned aliases and all that may be seen.
        root: the version that is mounted, of which a view then shows no more; None for a whole repository.
    """

    def __init__(
        self,
        nodes: NodeTable,
        directories: PreparedDirectories,
        *,
        owner: Owner,
        state_directory: str,
        open_catalogue: Callable[[dict[str, dict[str, int]], Locked | None], CatalogueView],
        root: DirectoryNode | None = None,
    ) -> None:
        self._nodes = nodes
        self._directories = directories
        self._owner = owner
        self._state_directory = state_directory
        self._open_catalogue = open_catalogue
        self._root = root
        self._views: LRUCache[str, _View] = LRUCache(KEPT_VIEWS)

    def find_root(self, name: bytes) -> bytes:
        """Return the `fuse_entry_out` of a view's root, by its name at the root of the mount; node 0 without a view."""
        run = name[len(NAME_PREFIX) :].decode("ascii", "replace")
        if not is_run_name(run) or find_pins(self._state_directory, run) is None:
            return _NO_VIEW
        found = self._get_view(run).catalogue.getattr(ROOT_NODE) if self._root is None else self._root.attributes
        return self._encode(run, found, b"", validity=_ROOT)

    def find_entry(self, parent: ViewNode, name: bytes) -> bytes | memoryview:
        """Return the `fuse_entry_out` of a name in a directory of a view, and note it if it is in a version."""
        base = self._find_base(parent)
        if isinstance(base, DirectoryNode):
            return self._find_in_version(parent, base, name)
        if base is None and name.startswith(NAME_PREFIX):
            return self.find_root(name)
        found = self._get_view(parent.view).catalogue.lookup(parent.base, name)
        return self._encode(parent.view, found, b"", validity=FOREVER)

    def find_attributes(self, record: ViewNode) -> bytes:
        """Return the `fuse_attr_out` of a directory or link of a view."""
        base = self._find_base(record)
        if isinstance(base, (DirectoryNode, LinkNode)):
            found = base.attributes
        else:
            found = self._get_view(record.view).catalogue.getattr(record.base)
        return encode_attr(replace(node_attributes(found), node=record.node), self._owner)

    def read_link(self, record: ViewNode) -> bytes:
        """Return where an alias, as it is pinned, or a staging directory is."""
        return self._get_view(record.view).catalogue.readlink(record.base)

    def fill_directory(self, record: ViewNode, *, offset: int, into: memoryview) -> int:
        """Copy records of a directory, without attributes: the kernel then looks up what is used, and only that."""
        base = self._find_base(record)
        if isinstance(base, DirectoryNode):
            if offset == 0:
                self._note(record, base, record.path, None)
            filled = self._directories.fill(base, offset=offset, into=into)
            for _, each in iter_records(into[:filled]):
                each[: ENTRY_OUT.size] = NO_ATTRIBUTES
            return filled
        listed = self._get_view(record.view).catalogue.read_directory(record.base)
        if base is None or isinstance(base, CollectionNode):
            return fill_changing(
                self._nodes, record.node, listed, encode=lambda _: NO_ATTRIBUTES, offset=offset, into=into
            )
        children = [(name, node_attributes(found), NO_ATTRIBUTES) for name, found in listed]
        return copy_records([(0, encode_listing(record.node, children))], offset=offset, into=into)

    def close(self) -> None:
        """Close what is open of each view."""
        while self._views:
            _close(self._views.popitem()[1])

    def _find_in_version(self, parent: ViewNode, base: DirectoryNode, name: bytes) -> bytes | memoryview:
        entry = self._directories.find_entry(base, name)
        if entry is None and self._root is not None and not parent.path and name.startswith(NAME_PREFIX):
            return self.find_root(name)
        if entry is None:
            hidden = self._get_view(parent.view).catalogue.find_hidden(parent.base, name)
            return NO_ENTRY if hidden is None else self._encode(parent.view, hidden, b"", validity=FOREVER)
        path = join_path(parent.path, name)
        values = ENTRY_OUT.packer.unpack_from(entry)
        is_directory = stat.S_ISDIR(values[_MODE])
        self._note(parent, base, path, None if is_directory else values[_SIZE])
        if not is_directory:
            return entry
        node = self._nodes.in_view(parent.view, values[0], path)
        return ENTRY_OUT.packer.pack(node, *values[1:_INO], node, *values[_INO + 1 :])

    def _encode(self, run: str, found: Attributes, path: bytes, *, validity: Validity) -> bytes:
        node = self._nodes.in_view(run, found.node, path)
        return encode_entry(replace(node_attributes(found), node=node), self._owner, validity=validity)

    def _find_base(self, record: ViewNode) -> Record | None:
        """Return the record of what a node of a view shows; None for the root."""
        return None if record.base == ROOT_NODE else self._nodes.get(record.base)

    def _note(self, record: ViewNode, base: DirectoryNode, path: bytes, size: int | None) -> None:
        descriptor = self._get_view(record.view).descriptor
        if descriptor >= 0:
            try:
                append_looked(descriptor, f"{base.collection}:v{base.version}", path, size)
            except OSError as error:
                _log.warning("what the run %s looks up is not noted: %s", record.view, error)

    def _get_view(self, run: str) -> _View:
        view = self._views.get(run)
        if view is None:
            if len(self._views) >= KEPT_VIEWS:
                _close(self._views.popitem()[1])
            view = self._views[run] = self._open_view(run)
        return view

    def _open_view(self, run: str) -> _View:
        pins = find_pins(self._state_directory, run)
        descriptor = -1
        if pins is not None:
            with suppress(OSError):
                descriptor = open_looked(self._state_directory, run)
        locked = find_locked(self._state_directory, run)
        return _View(self._open_catalogue(pins or {}, locked), descriptor)


def _close(view: _View) -> None:
    view.catalogue.close()
    if view.descriptor >= 0:
        os.close(view.descriptor)
