"""References to objects in buckets: moto in every run, the real services in `make test-remote`."""

from __future__ import annotations

import pytest

from tests.cli.support import Cli
from tests.remote.reference_checks import check_drift, check_pages, check_prefix, check_versions, put
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


def test_a_prefix_is_put_and_got_by_the_command_line(moto: Server, tmp_path, monkeypatch) -> None:
    for name, value in {**moto.environ, "ARTIFACTFS_REPO": str(tmp_path / "repository")}.items():
        monkeypatch.setenv(name, value)
    uri = put(moto, moto.make_bucket(), {"images/cat": b"meow", "images/empty": b""})
    cli = Cli()
    cli("put", "animals", f"{uri}/images")
    assert {item["path"]: item["size"] for item in cli.json("ls", "-R", "animals:v0")["entries"]} == {
        "images": 4,
        "images/cat": 4,
        "images/empty": 0,
    }
    assert cli("cat", "animals/images/cat").stdout == "meow"
    cli("get", "animals", str(tmp_path / "out"))
    assert (tmp_path / "out/images/cat").read_bytes() == b"meow"
    assert (tmp_path / "out/images/empty").read_bytes() == b""
