"""References to objects in buckets: moto in every run, the real services in `make test-remote`."""

from __future__ import annotations

import pytest

from tests.remote.reference_checks import check_drift, check_pages, check_prefix, check_versions
from tests.remote.servers import Server

CHECKS = [check_prefix, check_drift, check_versions, check_pages]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_moto(moto: Server, check) -> None:
    check(moto)


@pytest.mark.remote
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_ceph(ceph: Server, check) -> None:
    check(ceph)


@pytest.mark.remote
@pytest.mark.parametrize("check", [check_prefix, check_drift, check_pages], ids=lambda check: check.__name__)
def test_on_azurite(azurite: Server, check) -> None:
    check(azurite)
