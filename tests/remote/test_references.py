"""References to objects in buckets: moto in every run, the real services in `make test-remote`."""

from __future__ import annotations

import json
import os

import pytest

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.errors import InvalidPathError, UsageError
from artifactfs.reference.base import Folder
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.referring import Referred
from artifactfs.repository.repository import open_repository
from artifactfs.repository.staged_references import stage_references
from artifactfs.repository.staging import StagingArea
from tests.cli.support import Cli
from tests.remote.reference_checks import (
    check_azure_folders,
    check_drift,
    check_folders,
    check_pages,
    check_prefix,
    check_versions,
    following,
    put,
)
from tests.remote.servers import Server

USAGE, BAD_NAME = 2, 15
CHECKS = [check_prefix, check_folders, check_drift, check_versions, check_pages]
AZURE_CHECKS = [check_prefix, check_azure_folders, check_drift, check_pages]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_moto(moto: Server, check) -> None:
    check(moto)


@pytest.mark.remote
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_ceph(ceph: Server, check) -> None:
    check(ceph)


@pytest.mark.remote
@pytest.mark.parametrize("check", AZURE_CHECKS, ids=lambda check: check.__name__)
def test_on_azurite(azurite: Server, check) -> None:
    check(azurite)


@pytest.fixture
def remote_cli(moto: Server, tmp_path, monkeypatch) -> Cli:
    """Return the command line of somebody who can read the server's buckets."""
    for name, value in {**moto.environ, "ARTIFACTFS_REPO": str(tmp_path / "repository")}.items():
        monkeypatch.setenv(name, value)
    return Cli()


def test_a_prefix_is_put_and_got_by_the_command_line(moto: Server, remote_cli: Cli, tmp_path) -> None:
    uri = put(moto, moto.make_bucket(), {"images/cat": b"meow", "images/empty": b""})
    cli = remote_cli
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


def test_folders_of_the_console_are_directories_in_staging_directories(moto: Server, tmp_path) -> None:
    bucket = moto.make_bucket()
    uri = put(moto, bucket, {"im/sub/cat": b"meow"})
    for key in ("im/", "im/sub/", "im/later/"):
        moto.client().put_object(Bucket=bucket, Key=key, Body=b"")
    with open_repository(
        str(tmp_path / "repository"), state=str(tmp_path / "state"), author="tester", references=lambda: following(moto)
    ) as repository:
        (tmp_path / "top").mkdir()
        staging = StagingArea(repository).create("animals", version=None)
        found = stage_references(repository, staging, Referred(f"{uri}/im"), top=os.fsencode(tmp_path / "top"))
    assert [path for path, _ in found] == [b"im/sub/cat"]
    assert (tmp_path / "top/im/sub/cat").is_symlink()
    assert list((tmp_path / "top/im/later").iterdir()) == []


def test_folders_of_the_console_are_directories(moto: Server, remote_cli: Cli, tmp_path) -> None:
    bucket = moto.make_bucket()
    uri = put(moto, bucket, {"im/sub/cat": b"meow"})
    for key in ("im/", "im/sub/", "im/later/"):
        moto.client().put_object(Bucket=bucket, Key=key, Body=b"")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/dog").write_text("wuff")
    remote_cli("put", "animals", f"{uri}/im", str(tmp_path / "sub"))
    remote_cli("put", "animals", f"{uri}/im/", str(tmp_path / "sub"))
    listed = {item["path"]: item["kind"] for item in remote_cli.json("ls", "-R", "animals:v0")["entries"]}
    assert listed == {
        "im": "directory",
        "im/later": "directory",
        "im/sub": "directory",
        "im/sub/cat": "reference",
        "sub": "directory",
        "sub/dog": "file",
    }
    assert remote_cli("ls", "-R", "animals:v1").stdout.split() == ["later", "sub", "sub/cat", "sub/dog"]
    remote_cli("get", "animals:v0", str(tmp_path / "out"))
    assert list((tmp_path / "out/im/later").iterdir()) == []
    first, again = (remote_cli("put", name, f"{uri}/im", "--json").stdout for name in ("one", "two"))
    assert json.loads(first)["digest"] == json.loads(again)["digest"]


@pytest.mark.parametrize("key", ["a//b", "a/../b", "a/.", "/b", "a\x01b", "n" * 256], ids=range(6))
def test_a_key_that_no_file_can_have_is_named(moto: Server, remote_cli: Cli, tmp_path, key: str) -> None:
    bucket = moto.make_bucket()
    uri = put(moto, bucket, {"im/cat": b"meow"})
    moto.client().put_object(Bucket=bucket, Key=f"im/{key}", Body=b"")
    shown = f"{uri}/im/{key}".replace("\x01", "\\x01")
    for argument in (f"{uri}/im", uri):
        said = remote_cli("put", "animals", argument, code=BAD_NAME).stderr
        assert f"{shown} cannot be a reference: " in said
        assert "give the object another name in its bucket" in said
    code = BAD_NAME if key.startswith("n") else USAGE
    assert "cannot be a reference" in remote_cli("put", "animals", f"{uri}/im/{key}", code=code).stderr


def test_a_key_that_no_file_can_have_is_not_looked_for(moto: Server) -> None:
    for uri in ("s3://bucket/a//b", "s3://bucket//a", "s3://bucket/a/./b"):
        with pytest.raises(UsageError, match="no file can have"):
            list(following(moto).iter_entries(uri))
    azure = "https://acc1.blob.core.windows.net/box"
    with pytest.raises(InvalidPathError, match="a//b"):
        list(following(moto, azure).iter_entries(f"{azure}/a//b"))


def test_folders_of_google_are_directories(moto: Server) -> None:
    # moto answers what GCS's XML API is asked, which is that of S3.
    bucket = moto.make_bucket()
    objects = {"im/sub/cat": b"meow", "im/none": b"", "im/": b"", "im/sub/": b"", "im/later/": b""}
    for key, data in objects.items():
        moto.client().put_object(Bucket=bucket, Key=key, Body=data, ACL="public-read")
    config = {"base_url": moto.endpoint, "skip_signature": "true"}
    references = References(ReferencePolicy(("gs://",)), RemoteOptions(config=config))
    found = dict(references.iter_entries(f"gs://{bucket}/im"))
    sizes = {path: None if isinstance(item, Folder) else item.size for path, item in found.items()}
    assert sizes == {b"": None, b"later": None, b"none": 0, b"sub": None, b"sub/cat": 4}
    assert {item.uri for item in found.values()} == {
        f"gs://{bucket}/{key}" for key in ("im", "im/later", "im/none", "im/sub", "im/sub/cat")
    }
