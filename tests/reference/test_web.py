"""References to URLs, read from a server that misbehaves."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

import msgspec
import pytest

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.errors import (
    AccessDeniedError,
    ArtifactFSError,
    ReferenceChangedError,
    RemoteDeniedError,
    RemoteTimeoutError,
    RemoteUnavailableError,
    SourceNotFoundError,
    UsageError,
)
from artifactfs.reference.base import is_unverified
from artifactfs.reference.failures import name_failure
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References

from .odd_server import Odd, running_odd_server

DATA = os.urandom(70_000)


@pytest.fixture
def odd() -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files["/data/a.bin"] = DATA
        yield server


def following(*prefixes: str, attempts: int = 3) -> References:
    options = RemoteOptions(attempts=attempts, connect_timeout_seconds=2, read_timeout_seconds=0.3, deadline_seconds=5)
    return References(ReferencePolicy(prefixes), options)


def add(odd: Odd, path: str = "/data/a.bin", **more):
    [(_, entry)] = list(following(odd.url).iter_entries(odd.url + path, **more))
    return entry


def read(odd: Odd, entry, **more) -> bytes:
    return following(odd.url, **more).open(entry).read_at(0, entry.size)


def test_a_url_becomes_an_entry_and_is_read_by_ranges(odd: Odd) -> None:
    entry = add(odd)
    assert (entry.name, entry.size, entry.validator.kind, entry.validator.value) == (b"a.bin", 70_000, "etag", '"one"')
    assert not entry.has_sha256
    assert not is_unverified(entry)
    assert read(odd, entry) == DATA
    assert following(odd.url).open(entry).read_at(69_990, 100) == DATA[-10:]


def test_an_empty_file_is_an_entry_and_reads_as_nothing(odd: Odd) -> None:
    odd.files["/empty"] = b""
    entry = add(odd, "/empty")
    assert entry.size == 0
    assert read(odd, entry) == b""
    odd.takes_no_head = True
    assert add(odd, "/empty").size == 0


def test_a_server_without_head_is_asked_for_the_first_byte(odd: Odd) -> None:
    odd.takes_no_head = True
    assert add(odd).size == 70_000


@pytest.mark.parametrize("fault", ["503", "cut", "stall", "shifted"])
def test_what_fails_once_is_tried_again(odd: Odd, fault: str) -> None:
    entry = add(odd)
    odd.faults["/data/a.bin"] = [fault]
    assert read(odd, entry) == DATA
    assert odd.requests.count(("GET", "/data/a.bin")) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [("503", RemoteUnavailableError), ("cut", RemoteUnavailableError), ("stall", RemoteTimeoutError)],
)
def test_what_fails_each_time_is_an_error_and_no_bytes(odd: Odd, fault: str, error: type[Exception]) -> None:
    entry = add(odd)
    odd.faults["/data/a.bin"] = [fault] * 9
    with pytest.raises(error):
        read(odd, entry)
    assert odd.requests.count(("GET", "/data/a.bin")) == 3


def test_a_server_that_asks_for_a_login_is_not_asked_again(odd: Odd) -> None:
    entry = add(odd)
    odd.faults["/data/a.bin"] = ["401"] * 9
    with pytest.raises(RemoteDeniedError, match="401"):
        read(odd, entry)
    assert odd.requests.count(("GET", "/data/a.bin")) == 1


def test_a_server_that_ignores_ranges_sends_all_and_the_part_is_taken(odd: Odd) -> None:
    entry = add(odd)
    odd.ignores_ranges = True
    source = following(odd.url)._web
    assert source.read_range(entry, 65_530, 20) == DATA[65_530:65_550]
    assert source.read_range(entry, 5, 20) == DATA[5:25]


def test_another_length_than_recorded_is_a_change(odd: Odd) -> None:
    entry = add(odd)
    odd.faults["/data/a.bin"] = ["lie"]
    with pytest.raises(ReferenceChangedError, match=r"recorded were 70000 bytes.*there is 70001 bytes"):
        read(odd, entry)


@pytest.mark.parametrize("ignores", [False, True])
def test_a_change_between_two_reads_is_an_error_that_says_what_is_there(odd: Odd, ignores: bool) -> None:
    odd.files["/data/a.bin"] = big = os.urandom(5 << 20)
    odd.ignores_conditions = ignores
    file = following(odd.url).open(add(odd))
    assert file.read_at(0, 10) == big[:10]
    odd.faults["/data/a.bin"] = ["change"]
    with pytest.raises(ReferenceChangedError, match='etag "one"; there is 5242880 bytes, etag "changed"'):
        file.read_at(4 << 20, 10)


def test_what_is_gone_is_a_change_when_read_and_missing_when_added(odd: Odd) -> None:
    entry = add(odd)
    del odd.files["/data/a.bin"]
    with pytest.raises(ReferenceChangedError, match="there is nothing"):
        read(odd, entry)
    assert "there is nothing" in (following(odd.url).find_drift(entry) or "")
    with pytest.raises(SourceNotFoundError):
        add(odd)


@pytest.mark.parametrize(
    ("etag", "dates", "checksum", "kind"),
    [
        ('W/"x"', True, True, "weak-etag"),
        ("", True, True, "modified"),
        ("", False, True, "none"),
        ('"x"', True, False, "modified"),
    ],
)
def test_weak_validators_are_read_and_marked_unverified(
    odd: Odd, etag: str, dates: bool, checksum: bool, kind: str
) -> None:
    odd.etags["/data/a.bin"], odd.sends_dates = etag, dates
    entry = add(odd, checksum=checksum)
    assert entry.validator.kind == kind
    assert is_unverified(entry)
    assert read(odd, entry) == DATA
    assert following(odd.url).find_drift(entry) is None


def test_a_weak_etag_that_changed_is_a_change(odd: Odd) -> None:
    odd.etags["/data/a.bin"] = 'W/"x"'
    entry = add(odd)
    odd.etags["/data/a.bin"] = 'W/"y"'
    with pytest.raises(ReferenceChangedError):
        read(odd, entry)
    assert 'weak-etag W/"y"' in (following(odd.url).find_drift(entry) or "")


def test_drift_is_found_without_reading(odd: Odd) -> None:
    entry = add(odd)
    assert following(odd.url).find_drift(entry) is None
    odd.etags["/data/a.bin"] = '"two"'
    assert 'there is 70000 bytes, etag "two"' in (following(odd.url).find_drift(entry) or "")
    assert not [method for method, _ in odd.requests if method == "GET"]


def test_addresses_that_are_not_public_are_refused_unless_the_host_is_named(odd: Odd) -> None:
    entry = add(odd)
    for url in (entry.uri, entry.uri.replace("127.0.0.1", "localhost")):
        with pytest.raises(AccessDeniedError, match="not public"):
            list(following("http://", "https://").iter_entries(url))
    odd.requests.clear()
    with pytest.raises(AccessDeniedError, match="not public"):
        following("http://").open(entry).read_at(0, 1)
    with pytest.raises(AccessDeniedError, match="no prefix"):
        following(odd.url + "/other").open(entry)
    with pytest.raises(AccessDeniedError, match="no prefix"):
        following().open(entry)
    assert odd.requests == []


@pytest.mark.parametrize(
    "host", ["localhost", "2130706433", "127.1", "0x7f.0.0.1", "0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]"]
)
def test_no_other_spelling_of_an_address_leads_to_this_machine(odd: Odd, host: str) -> None:
    """Also not when this machine is named by another one."""
    entry = add(odd)
    url = f"http://{host}:{odd.url.rpartition(':')[2]}/data/a.bin"
    odd.requests.clear()
    for prefixes in (("http://",), ("http://", odd.url)):
        with pytest.raises((AccessDeniedError, RemoteUnavailableError)):
            following(*prefixes, attempts=1).open(msgspec.structs.replace(entry, uri=url)).read_at(0, 1)
    odd.redirects["/data/b"] = url
    with pytest.raises((AccessDeniedError, RemoteUnavailableError)):
        list(following(odd.url, attempts=1).iter_entries(odd.url + "/data/b"))
    assert {path for _, path in odd.requests} == {"/data/b"}, "nobody was asked"


def test_a_name_is_resolved_once(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address when it is looked at, and to this machine afterwards, is of no use."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host, *args, **more):
        if host != "rebinding.example":
            return real(host, *args, **more)
        asked.append(host)
        address = "203.0.113.1" if len(asked) > 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 9))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    entry = msgspec.structs.replace(add(odd), uri=f"http://rebinding.example:{odd.url.rpartition(':')[2]}/data/a.bin")
    odd.requests.clear()
    with pytest.raises(AccessDeniedError, match=r"127\.0\.0\.1"):
        following("http://", attempts=1).open(entry).read_at(0, 1)
    assert asked == ["rebinding.example"]
    assert odd.requests == []


def test_redirects_are_followed_but_not_to_what_is_not_public(odd: Odd) -> None:
    odd.redirects["/data/b"] = "/data/a.bin"
    entry = add(odd, "/data/b")
    assert read(odd, entry) == DATA
    with running_odd_server() as inner:
        inner.files["/latest/meta-data"] = b"secret"
        odd.redirects["/data/b"] = f"{inner.url}/latest/meta-data"
        with pytest.raises(AccessDeniedError, match="not public"):
            following(odd.url).open(entry).read_at(0, 1)
        assert inner.requests == []


def test_a_redirect_within_a_named_host_stays_below_its_prefixes(odd: Odd) -> None:
    odd.files["/private/x"] = b"x" * 70_000
    entry = add(odd)
    odd.redirects["/data/a.bin"] = "/private/x"
    with pytest.raises(AccessDeniedError, match="no prefix"):
        following(odd.url + "/data").open(entry).read_at(0, 1)


def test_redirects_without_end_and_to_files_are_refused(odd: Odd) -> None:
    odd.redirects["/data/b"] = "/data/b"
    with pytest.raises(RemoteUnavailableError, match="redirects more than"):
        add(odd, "/data/b")
    odd.redirects["/data/b"] = "file:///etc/passwd"
    with pytest.raises((AccessDeniedError, UsageError)):
        add(odd, "/data/b")


def test_a_signed_url_is_refused_unless_allowed_and_never_shown(odd: Odd) -> None:
    url = "/data/a.bin?X-Amz-Signature=topsecret"
    with pytest.raises(UsageError, match="signature") as refused:
        add(odd, url)
    assert "topsecret" not in str(refused.value)
    entry = add(odd, url, allow_signed=True)
    assert entry.uri == odd.url + url
    odd.faults["/data/a.bin"] = ["401"]
    with pytest.raises(RemoteDeniedError) as denied:
        read(odd, entry)
    assert "topsecret" not in f"{denied.value}{denied.value.subject}"
    odd.etags["/data/a.bin"] = '"two"'
    with pytest.raises(ReferenceChangedError) as other:
        read(odd, entry)
    assert "topsecret" not in f"{other.value}{other.value.subject}"


def refuse(url: str, *prefixes: str) -> str:
    with pytest.raises(ArtifactFSError) as error:
        list(following(*prefixes, attempts=1).iter_entries(url))
    return str(error.value)


def test_a_failure_says_which_and_of_what_host(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        assert f"{host} cannot be reached: connection refused" in refuse(f"http://{host}/a", f"http://{host}")
    https = odd.url.replace("http:", "https:")
    assert f"{https[8:]} does not speak TLS as it should (" in refuse(f"{https}/a", https)

    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert "the name nowhere.example cannot be resolved" in refuse("http://nowhere.example/a", "http://")


def test_a_certificate_that_cannot_be_verified_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL] certificate verify failed")
    error.verify_message = "certificate has expired"
    wrapped = type("SSLError", (Exception,), {})(error)  # as urllib3 has it
    said = name_failure("https://host:44/a?token=topsecret", wrapped)
    assert said == "the certificate of host:44 cannot be verified: certificate has expired"


def test_a_login_and_a_redirect_to_a_file_say_what_to_do(odd: Odd) -> None:
    odd.takes_no_head = True
    odd.faults["/data/a.bin"] = ["401"]
    assert "presigned URL with --allow-signed" in refuse(f"{odd.url}/data/a.bin", odd.url)
    odd.redirects["/data/b"] = "file:///etc/passwd"
    assert "/data/b redirects to file:, which is not followed (redirects lead" in refuse(f"{odd.url}/data/b", odd.url)


def test_an_unreachable_server_is_an_error_without_its_query() -> None:
    url = "http://127.0.0.1:9/a?token=topsecret"
    with pytest.raises(RemoteUnavailableError) as error:
        list(following("http://127.0.0.1:9", attempts=1).iter_entries(url, allow_signed=True))
    assert "topsecret" not in str(error.value)


@pytest.mark.parametrize("length", ["nonsense", "-1", "", "9" * 5000])
def test_a_length_that_is_none_is_not_believed(odd: Odd, length: str) -> None:
    odd.lengths["/data/a.bin"], odd.ignores_ranges = length, True
    with pytest.raises(UsageError, match="does not say how large"):
        add(odd)
