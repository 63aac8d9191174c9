"""Both views, cold and warm, against the contract of views."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.index.epoch import Epoch
from artifactfs.index.epochs import open_epoch
from artifactfs.repository.repository import Repository
from artifactfs.testing.repositories import commit_files, make_repository
from artifactfs.testing.views import VIEW_TREE, Subject, ViewContract, read_tree
from artifactfs.vfs import directories
from artifactfs.vfs.base import ROOT_NODE
from artifactfs.vfs.catalogue_view import CatalogueView
from artifactfs.vfs.version_view import VersionView
from tests.vfs.support import Places, open_version, walk


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with make_repository(tmp_path_factory.mktemp("views")) as repository:
        commit_files(repository, "animals", VIEW_TREE)
        yield repository


@pytest.fixture
def epoch(tmp_path: Path) -> Iterator[Epoch]:
    with open_epoch(str(tmp_path), random=os.urandom) as epoch:
        yield epoch


def open_catalogue(repository: Repository, epoch: Epoch) -> CatalogueView:
    return CatalogueView(repository, epoch, staging=Places())


class TestCatalogueView(ViewContract):
    @pytest.fixture
    def subject(self, repository: Repository, epoch: Epoch) -> Iterator[Subject]:
        with open_catalogue(repository, epoch) as view:
            yield Subject(view, walk(view, "animals/v0"))


class TestVersionView(ViewContract):
    @pytest.fixture
    def subject(self, repository: Repository, epoch: Epoch) -> Iterator[Subject]:
        with open_version(repository, epoch, "animals") as view:
            yield Subject(view, ROOT_NODE)


class TestPreparedView(ViewContract):
    """Over directories that another view has prepared."""

    @pytest.fixture
    def subject(self, repository: Repository, epoch: Epoch) -> Iterator[Subject]:
        with open_catalogue(repository, epoch) as first:
            read_tree(first, walk(first, "animals/v0"))
        with open_version(repository, epoch, "animals") as view:
            yield Subject(view, ROOT_NODE)


class TestViewThatKeepsLittle(ViewContract):
    """With hardly any room for decoded directories."""

    @pytest.fixture
    def subject(self, repository: Repository, epoch: Epoch) -> Iterator[Subject]:
        with open_catalogue(repository, epoch) as view:
            tree = view._tree
            tree._directories = directories.Directories(tree.nodes, tree._directories._trees, cached_entries=8)
            yield Subject(view, walk(view, "animals/v0"))


def test_views_are_context_managers_that_close_their_files(repository: Repository, epoch: Epoch) -> None:
    for view in (open_catalogue(repository, epoch), open_version(repository, epoch, "animals")):
        with view:
            top = ROOT_NODE if isinstance(view, VersionView) else walk(view, "animals/v0")
            images = view.lookup(top, b"images").node
            view.read(view.lookup(images, b"cat").node, offset=0, size=10)
            assert len(view._tree._contents._kept) == 1
        assert len(view._tree._contents._kept) == 0
