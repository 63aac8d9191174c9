"""What the tests of views share."""

from __future__ import annotations

import os

from artifactfs.repository.repository import Repository
from artifactfs.vfs.base import ROOT_NODE
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.version_view import VersionView


class Places:
    """Staging directories as a test wants them."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.link: str | None = None

    def staging_collections(self) -> list[str]:
        return list(self.names)

    def staging_names(self, collection: str) -> list[str]:
        return self.names.get(collection, [])

    def find_link(self, collection: str, name: str) -> str | None:
        return self.link


def walk(view: CatalogueView | VersionView, path: str) -> int:
    """Return the node at a path."""
    node = ROOT_NODE
    for name in path.split("/"):
        node = view.lookup(node, os.fsencode(name)).node
    return node


def listing(view: CatalogueView | VersionView, node: int) -> list[bytes]:
    """Return the names in a directory."""
    return [name for name, _ in view.read_directory(node)]


def open_version(repository: Repository, epoch, name: str, number: int = 0) -> VersionView:
    """Return a view of one version."""
    collection = repository.get_collection(name)
    return VersionView(repository, epoch, collection=collection, version=collection.versions[number])
