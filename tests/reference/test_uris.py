"""URIs of references, and under which prefixes they are followed."""

from __future__ import annotations

import pytest

from artifactfs.errors import AccessDeniedError, SourceNotFoundError, UsageError
from artifactfs.model import ReferenceEntry, Validator
from artifactfs.reference.buckets import BucketSource
from artifactfs.reference.policy import DEFAULT_PREFIXES, ReferencePolicy, is_public
from artifactfs.reference.references import References
from artifactfs.reference.uris import find_bucket_key, is_below, is_uri, normalize_uri, redact_uri
from artifactfs.reference.web import WebSource


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://b-1/a b/ü", "s3://b-1/a b/ü"),
        ("S3://bucket", "s3://bucket"),
        ("HTTPS://Example.ORG:443/A?id=3", "https://example.org/A?id=3"),
        ("http://[::1]:8080", "http://[::1]:8080/"),
        ("file:///data/a b", "file:///data/a%20b"),
        ("file://localhost/data/%61", "file:///data/a"),
    ],
)
def test_each_uri_has_one_spelling(text: str, uri: str) -> None:
    assert is_uri(text)
    assert normalize_uri(text) == uri
    assert normalize_uri(uri) == uri


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/a",
        "https://ada:topsecret@host/a",
        "s3://key:topsecret@bucket/a",
        "https://host/a#part",
        "https://host/a/../b",
        "https://host/a/%2e%2e/b",
        "https://host/a/..%2fb",
        "https://host/a/%252e%252e%252fb",
        "https://host/a/..%5cb",
        "https://host/a b",
        "https:///a",
        "file://other/a",
        "file:///a/%2e%2e/b",
        "file:///a/..%2fb",
        "file:///a%00b",
        "s3://b/a/../c",
        "s3://",
        "https://host/a\n",
        "https://host/?sig=topsecret",
        "https://host/?X-Amz-Security-Token=topsecret",
        "https://host/?Signature=topsecret",
        "https://host/?access_token=topsecret",
        "https://host:99999/a",
    ],
)
def test_what_may_not_be_kept_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(UsageError) as error:
        normalize_uri(text)
    assert "topsecret" not in f"{error.value}{error.value.subject}"


def test_a_signed_query_is_kept_when_allowed_and_not_shown() -> None:
    uri = normalize_uri("https://host/a?sv=1&sig=topsecret", allow_signed=True)
    assert uri.endswith("sig=topsecret")
    assert redact_uri(uri) == "https://host/a?[redacted]"
    assert redact_uri("https://host/a?id=3") == "https://host/a?id=3"


def test_azure_urls_are_objects_in_a_container() -> None:
    found = find_bucket_key("https://acc1.blob.core.windows.net/box/a%20b/c")
    assert found is not None
    assert (found.scheme, found.account, found.bucket, found.key) == ("az", "acc1", "box", "a b/c")
    assert find_bucket_key("https://acc1.blob.core.windows.net.evil.org/box/a") is None


@pytest.mark.parametrize(
    ("uri", "prefix", "below"),
    [
        ("s3://b/data/x", "s3://b/data", True),
        ("s3://b/data", "s3://b/data", True),
        ("s3://b/database", "s3://b/data", False),
        ("s3://b/database", "s3://b/data/", False),
        ("s3://other/x", "s3://", True),
        ("https://host.evil/x", "https://host", False),
        ("https://host:8443/x", "https://host", False),
        ("https://host/?/data/", "https://host/data", False),
    ],
)
def test_a_prefix_ends_where_a_name_does(uri: str, prefix: str, below: bool) -> None:
    assert is_below(uri, prefix) is below


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "::",
        "fd00:ec2::254", "name",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_or_network_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")


def test_no_local_file_is_followed_by_default_and_nothing_by_an_empty_list() -> None:
    ReferencePolicy().check("s3://b/x")
    with pytest.raises(AccessDeniedError, match="follow_references"):
        ReferencePolicy().check("file:///etc/passwd")
    with pytest.raises(AccessDeniedError):
        ReferencePolicy(()).check("s3://b/x")


@pytest.mark.parametrize(
    ("prefixes", "source"),
    [
        (DEFAULT_PREFIXES, "web"),
        (("https://",), "web"),
        (("https://acc1.blob.core.windows.net/box",), "bucket"),
        (("https://acc2.blob.core.windows.net", "https://"), "web"),
    ],
)
def test_credentials_go_to_azure_accounts_that_the_owner_names(
    prefixes: tuple[str, ...], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(name: str) -> None:
        def describe(self: object, uri: str, *, checksum: bool) -> None:
            asked.append(name)
            raise SourceNotFoundError("nothing")

        kind = BucketSource if name == "bucket" else WebSource
        monkeypatch.setattr(kind, "describe", describe)

    note("bucket")
    note("web")
    monkeypatch.setattr(BucketSource, "iter_below", lambda self, uri, *, checksum: iter(()))
    with pytest.raises(SourceNotFoundError):
        list(References(ReferencePolicy(prefixes)).iter_entries("https://acc1.blob.core.windows.net/box/a"))
    assert asked == [source]


def test_a_version_that_was_recorded_with_credentials_is_not_looked_for_without() -> None:
    validator = Validator("version", "2026-11-28T00:00:00Z")
    entry = ReferenceEntry(b"a", 0o644, 0, 1, "https://acc1.blob.core.windows.net/box/a", validator, bytes(32), False)
    with pytest.raises(AccessDeniedError, match="its version") as caught:
        References().open(entry)
    assert "follow_references" in caught.value.hint


def test_a_version_that_needs_credentials_has_not_changed() -> None:
    uri = "https://acc1.blob.core.windows.net/box/a"
    entry = ReferenceEntry(b"a", 0o644, 0, 3, uri, Validator("version", "v1"), bytes(32), False)
    references = References(ReferencePolicy(("https://",)))
    for ask in (references.open, references.find_drift):
        with pytest.raises(AccessDeniedError, match="recorded by its version"):
            ask(entry)
