"""Servers, each started once for all tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.remote.servers import Server, missing, running_azurite, running_ceph, running_moto


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    with running_moto() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[Server]:
    if reason := missing("ceph"):
        pytest.skip(reason)
    with running_ceph() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Server]:
    if reason := missing("azurite"):
        pytest.skip(reason)
    with running_azurite() as server:
        yield server
