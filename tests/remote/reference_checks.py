"""What holds for references to objects of every service."""

from __future__ import annotations

import pytest

from artifactfs.blobstore.connecting import connect
from artifactfs.blobstore.locations import parse_remote_location
from artifactfs.errors import (
    AccessDeniedError,
    InvalidPathError,
    ReferenceChangedError,
    SourceNotFoundError,
    UsageError,
)
from artifactfs.reference.base import Folder, is_unverified
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from tests.remote.servers import Server, put_azure_blob


def following(server: Server, *prefixes: str) -> References:
    return References(ReferencePolicy(prefixes or ("s3://", "az://")), server.options())


def put(server: Server, bucket: str, objects: dict[str, bytes]) -> str:
    """Store objects and return the URI of the bucket."""
    uri = f"{server.scheme}://{bucket}"
    client = connect(parse_remote_location(uri), server.options())
    for key, data in objects.items():
        client.put(key, data, mode="overwrite", use_multipart=False)
    return uri


def check_prefix(server: Server) -> None:
    """A prefix is one entry for each object, empty ones included, and nothing beside it."""
    uri = put(
        server, server.make_bucket(), {"im/a": b"aa", "im/b/c d": b"", "im/b/ü": b"xyz", "image": b"no", "i": b"no"}
    )
    references = following(server)
    found = dict(references.iter_entries(f"{uri}/im"))
    assert {path: entry.size for path, entry in found.items()} == {b"a": 2, b"b/c d": 0, "b/ü".encode(): 3}
    assert [references.open(entry).read_at(0, 9) for entry in found.values()] == [b"aa", b"", b"xyz"]
    assert {entry.uri for entry in found.values()} == {f"{uri}/im/{name}" for name in ("a", "b/c d", "b/ü")}
    assert not any(is_unverified(entry) for entry in found.values())
    assert len(list(references.iter_entries(uri))) == 5
    with pytest.raises(UsageError, match="more than 2"):
        list(references.iter_entries(f"{uri}/im", max_objects=2))
    with pytest.raises(SourceNotFoundError):
        list(references.iter_entries(f"{uri}/nothing"))
    with pytest.raises(AccessDeniedError):
        list(following(server, f"{uri}/other").iter_entries(f"{uri}/im"))


def check_folders(server: Server) -> None:
    """An object whose key ends in a slash is a directory; an empty object is a file."""
    bucket = server.make_bucket()
    uri, client = put(server, bucket, {"im/a": b"aa", "im/b/c": b"", "im/b/d": b"x"}), server.client()
    for key in ("im/", "im/b/", "im/none/", "im/none/deep/", "empty/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    references = following(server)
    for versions in (False, True):
        if versions:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            put(server, bucket, {"im/a": b"aa"})
        for checksum in (True, False):
            found = dict(references.iter_entries(f"{uri}/im", checksum=checksum))
            sizes = {path: None if isinstance(item, Folder) else item.size for path, item in found.items()}
            expected = {b"": None, b"a": 2, b"b": None, b"b/c": 0, b"b/d": 1, b"none": None, b"none/deep": None}
            assert sizes == expected
            assert {item.uri for item in found.values() if isinstance(item, Folder)} == {
                f"{uri}/{key}" for key in ("im", "im/b", "im/none", "im/none/deep")
            }
    assert list(dict(references.iter_entries(f"{uri}/empty"))) == [b""]
    assert list(dict(references.iter_entries(f"{uri}/empty/"))) == [b""]
    client.put_object(Bucket=bucket, Key="odd/", Body=b"bytes")
    with pytest.raises(InvalidPathError, match="ends in a slash"):
        list(references.iter_entries(f"{uri}/odd"))


def check_azure_folders(server: Server) -> None:
    """As Azure lists them: with a slash behind the key, or without one and marked; empty files stay files."""
    bucket = server.make_bucket()
    uri = put(server, bucket, {"im/a": b"aa", "im/b/c": b"", "im/b/d": b"x", "im/e/f": b"y"})
    for key in ("im/", "im/b/", "im/none/", "im/none/deep/", "empty/"):
        put_azure_blob(server, bucket, key)
    for key in ("im", "im/e", "im/marked", "lone"):
        put_azure_blob(server, bucket, key, hdi_isfolder="true")
    put_azure_blob(server, bucket, "im/plain", other="true")
    references = following(server)
    expected = {b"a": 2, b"b": None, b"b/c": 0, b"b/d": 1, b"e": None, b"e/f": 1, b"marked": None, b"none": None}
    expected |= {b"none/deep": None, b"plain": 0}
    for checksum in (True, False):
        for text in (f"{uri}/im", f"{uri}/im/"):
            found = dict(references.iter_entries(text, checksum=checksum))
            sizes = {path: None if isinstance(item, Folder) else item.size for path, item in found.items()}
            assert sizes == expected
            assert {item.uri for item in found.values() if isinstance(item, Folder)} == {
                f"{uri}/im/{key}" for key in ("b", "e", "marked", "none", "none/deep")
            }
    for name in ("empty", "empty/", "lone"):
        with pytest.raises(SourceNotFoundError):
            list(references.iter_entries(f"{uri}/{name}"))


def check_drift(server: Server) -> None:
    """Other bytes are never handed out, and the message says what was recorded and what is there."""
    bucket = server.make_bucket()
    uri = put(server, bucket, {"a": b"one"})
    references = following(server)
    [(_, entry)] = references.iter_entries(f"{uri}/a")
    assert entry.validator.kind == "etag"
    assert references.find_drift(entry) is None
    put(server, bucket, {"a": b"two"})
    with pytest.raises(ReferenceChangedError) as error:
        references.open(entry).read_at(0, 3)
    assert entry.validator.value in str(error.value)
    assert "there is 3 bytes, etag" in str(error.value)
    assert "there is 3 bytes, etag" in (references.find_drift(entry) or "")


def check_versions(server: Server) -> None:
    """A recorded version is read after the object has changed, and after it was deleted."""
    bucket = server.make_bucket()
    client = server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    uri = put(server, bucket, {"d/a": b"one", "d/b": b"1"})
    references = following(server)
    found = dict(references.iter_entries(f"{uri}/d"))
    assert {entry.validator.kind for entry in found.values()} == {"version"}
    put(server, bucket, {"d/a": b"two!", "d/b": b"2"})
    client.delete_object(Bucket=bucket, Key="d/b")
    assert references.open(found[b"a"]).read_at(0, 9) == b"one"
    assert references.open(found[b"b"]).read_at(0, 9) == b"1"
    assert references.find_drift(found[b"a"]) is None
    client.delete_object(Bucket=bucket, Key="d/a", VersionId=found[b"a"].validator.value)
    with pytest.raises(ReferenceChangedError):
        references.open(found[b"a"]).read_at(0, 9)
    assert references.find_drift(found[b"a"]) is not None


def check_pages(server: Server) -> None:
    """What does not fit into one page of a listing is listed."""
    uri = put(server, server.make_bucket(), {f"many/{number:04}": b"" for number in range(1005)})
    assert len(list(following(server).iter_entries(f"{uri}/many"))) == 1005
