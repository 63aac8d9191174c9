"""The contract of buckets, on each kind; and what is a bucket's own."""

from __future__ import annotations

import hashlib
import io

import obstore.store
import pytest

from artifactfs.blobstore.conditional import check_conditional_create
from artifactfs.blobstore.keys import blob_key
from artifactfs.blobstore.objectstore import BucketStore
from artifactfs.blobstore.retrying import RetryingStore
from artifactfs.errors import ConfigurationError, DigestMismatchError, RemoteDeniedError, RemoteUnavailableError
from artifactfs.testing.stores import SEVERAL_PARTS, RemoteContract
from tests.remote.servers import Server, find_free_port, s3_server, with_retries


class TestMemoryBucket(RemoteContract):
    @pytest.fixture
    def store(self) -> RetryingStore:
        memory = obstore.store.MemoryStore()
        return with_retries(BucketStore(memory, memory, location="memory"))


class TestMoto(RemoteContract):
    @pytest.fixture
    def store(self, moto: Server) -> RetryingStore:
        return moto.open_store(moto.make_bucket())


@pytest.mark.remote
class TestCeph(RemoteContract):
    @pytest.fixture
    def store(self, ceph: Server) -> RetryingStore:
        return ceph.open_store(ceph.make_bucket())


@pytest.mark.remote
class TestAzurite(RemoteContract):
    @pytest.fixture
    def store(self, azurite: Server) -> RetryingStore:
        return azurite.open_store(azurite.make_bucket())


def test_an_upload_that_does_not_match_leaves_no_parts(moto: Server) -> None:
    check_no_parts_are_left(moto)


@pytest.mark.remote
def test_an_upload_that_does_not_match_leaves_no_parts_at_ceph(ceph: Server) -> None:
    check_no_parts_are_left(ceph)


def check_no_parts_are_left(server: Server) -> None:
    bucket = server.make_bucket()
    key = blob_key(hashlib.sha256(b"other").digest())
    with pytest.raises(DigestMismatchError):
        server.open_store(bucket).upload(key, io.BytesIO(bytes(SEVERAL_PARTS)), SEVERAL_PARTS)
    assert not server.client().list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_a_service_with_conditional_create_passes_and_nothing_is_left(moto: Server) -> None:
    check_conditional(moto)


@pytest.mark.remote
def test_ceph_has_conditional_create(ceph: Server) -> None:
    check_conditional(ceph)


@pytest.mark.remote
def test_azurite_has_conditional_create(azurite: Server) -> None:
    check_conditional(azurite)


def check_conditional(server: Server) -> None:
    store = server.open_bucket(server.make_bucket())
    check_conditional_create(store, location="the bucket", random=bytes)
    assert list(store.iter_keys("")) == []


class _Ignoring(BucketStore):
    """A service that ignores If-None-Match, as some do."""

    def create(self, key: str, data: bytes) -> bool:
        self.replace(key, data)
        return True


def test_a_service_that_ignores_conditions_is_refused_with_the_reason(moto: Server) -> None:
    memory = obstore.store.MemoryStore()
    with pytest.raises(ConfigurationError, match=r"9 of 9 conditional creations.*overwrite each other") as caught:
        check_conditional_create(_Ignoring(memory, memory, location="m"), location="m", random=bytes)
    assert "If-None-Match" in caught.value.hint


def test_a_bucket_that_is_missing_is_said(moto: Server) -> None:
    check_missing_bucket(moto)


@pytest.mark.remote
@pytest.mark.parametrize("name", ["ceph", "azurite"])
def test_a_bucket_that_is_missing_is_said_by_real_servers(name: str, request: pytest.FixtureRequest) -> None:
    check_missing_bucket(request.getfixturevalue(name))


def check_missing_bucket(server: Server) -> None:
    store = server.open_store("nosuchbucket")
    for ask in (
        lambda: store.read("format/1.json"),
        lambda: list(store.iter_keys("format/")),
        lambda: list(store.iter_children("")),
        lambda: store.create("format/1.json", b"x"),
    ):
        with pytest.raises(ConfigurationError, match="no such bucket"):
            ask()


@pytest.mark.remote
def test_wrong_credentials_are_refused_without_repeating_them(ceph: Server) -> None:
    bucket = ceph.make_bucket()
    wrong = s3_server(ceph.endpoint, "AKAKAKAK", "not-the-secret").open_store(bucket)
    for ask in (
        lambda: wrong.read("a"),
        lambda: wrong.find_size("a"),
        lambda: wrong.create("a", b"x"),
        lambda: list(wrong.iter_keys("")),
    ):
        with pytest.raises(RemoteDeniedError) as caught:
            ask()
        assert caught.value.exit_code == 42
        assert "AKAKAKAK" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_nobody_listening_is_unavailable() -> None:
    store = s3_server(f"http://127.0.0.1:{find_free_port()}", "k", "s").open_bucket("bucket")
    with pytest.raises(RemoteUnavailableError, match="cannot be reached") as caught:
        store.read("a")
    assert caught.value.exit_code == 40
