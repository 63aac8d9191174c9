"""Staging directories for tests with real mounts: fixtures, for modules to import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountInfo
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging, StagingArea
from artifactfs.staging.layout import OVERLAY, UNION
from tests.mount.conftest import Folders

needs_binding = pytest.mark.skipif(not may_mount(), reason="binding needs CAP_SYS_ADMIN")


@pytest.fixture
def transport() -> str:
    """Staging directories are served alike, whichever transport serves the versions."""
    return "auto"


@pytest.fixture
def area(repository: Repository) -> StagingArea:
    return StagingArea(repository)


@pytest.fixture(params=[OVERLAY, UNION])
def driver(request: pytest.FixtureRequest) -> str:
    """Return the driver that serves staging directories: both keep one contract."""
    if request.param == OVERLAY and not may_overlay():
        pytest.skip("the overlay driver needs CAP_SYS_ADMIN in the initial user namespace")
    return str(request.param)


def stage(area: StagingArea, repository: Repository, driver: str, *, name: str = "staging") -> Staging:
    version = repository.get_collection("animals").versions[0]
    return area.create("animals", name=name, version=version, driver=driver)


@pytest.fixture
def staging(area: StagingArea, repository: Repository, driver: str) -> Staging:
    return stage(area, repository, driver)


@pytest.fixture
def staged(folders: Folders, mounted: MountInfo, repository: Repository, staging: Staging) -> Path:
    """Return `animals/@staging` in the mount."""
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    return Path(path)


@pytest.fixture
def commit(folders: Folders, repository: Repository, area: StagingArea) -> Callable[[Staging], int]:
    """Return a function that commits a staging directory and returns the version's number."""

    def commit(staging: Staging) -> int:
        freezer = api.MountFreezer(folders, repository.id)
        return area.commit(staging, freezer=freezer).result.version.number

    return commit


def server_of(folders: Folders) -> MountInfo:
    return next(info for info in api.iter_mounts(folders) if info.kind == "staging")
