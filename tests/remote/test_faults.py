"""A bucket behind a network that stalls, cuts off, loses answers and lies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.objectstore import BucketStore
from artifactfs.blobstore.retrying import RetryPolicy
from artifactfs.errors import (
    BlobMissingError,
    RemoteError,
    RemoteTimeoutError,
    RemoteUnavailableError,
)
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from tests.remote.faulty_proxy import BUSY, CUT, LOSE, SHORT, STALL, STALL_BODY, WHOLE, FaultyProxy, running_proxy
from tests.remote.servers import Server, with_retries

SHORTLY = {"read_timeout_seconds": 2.0, "connect_timeout_seconds": 2.0}
"""For what is never answered: each time is waited for; on a busy machine other requests must be done within it."""


@pytest.fixture
def proxy(moto: Server) -> Iterator[FaultyProxy]:
    with running_proxy(moto.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bucket(moto: Server, proxy: FaultyProxy, request: pytest.FixtureRequest) -> BucketStore:
    """Give a bucket that waits shortly only in tests of what stalls."""
    callspec = getattr(request.node, "callspec", None)
    stalls = callspec is not None and callspec.params.get("fault") in (STALL, STALL_BODY)
    return open_through(moto, proxy, **(SHORTLY if stalls else {}))


def open_through(moto: Server, proxy: FaultyProxy, **timeouts: float) -> BucketStore:
    return replace(moto, endpoint=proxy.endpoint).open_bucket(moto.make_bucket(), **timeouts)


@pytest.mark.parametrize("fault", [BUSY, CUT, LOSE, STALL, STALL_BODY, WHOLE])
def test_a_read_that_fails_is_made_again(bucket: BucketStore, proxy: FaultyProxy, fault: str) -> None:
    bucket.create("a/b", b"0123456789")
    proxy.fail(fault, path="a/b", times=2)
    waits: list[float] = []
    assert with_retries(bucket, sleep=waits.append).read_range("a/b", 2, 6) == b"234567"
    assert len(waits) == 2
    assert waits[1] > waits[0]


@pytest.mark.parametrize("fault", [BUSY, CUT, LOSE, STALL, STALL_BODY])
def test_a_whole_read_that_fails_is_made_again(bucket: BucketStore, proxy: FaultyProxy, fault: str) -> None:
    bucket.create("a/b", b"0123456789")
    proxy.fail(fault, path="a/b")
    assert with_retries(bucket, sleep=lambda seconds: None).read("a/b") == b"0123456789"


def test_a_range_of_wrong_length_is_no_answer(bucket: BucketStore, proxy: FaultyProxy) -> None:
    bucket.create("a/b", b"0123456789")
    proxy.fail(SHORT, path="a/b")
    with pytest.raises(RemoteError):
        bucket.read_range("a/b", 0, 10)


def test_errors_tell_silence_from_refusal_to_work(moto: Server, proxy: FaultyProxy) -> None:
    bucket = open_through(moto, proxy, **SHORTLY)
    bucket.create("a/b", b"x")
    proxy.fail(STALL)
    with pytest.raises(RemoteTimeoutError, match=r"reading a/b at s3://.*no answer in time") as timed_out:
        bucket.read("a/b")
    assert timed_out.value.exit_code == 41
    proxy.fail(BUSY)
    with pytest.raises(RemoteUnavailableError, match=r"503 \(SlowDown\)") as busy:
        bucket.read("a/b")
    assert busy.value.exit_code == 40


@pytest.mark.parametrize("fault", [BUSY, LOSE, STALL])
def test_a_creation_whose_answer_was_lost_is_known_as_ones_own(
    bucket: BucketStore, proxy: FaultyProxy, fault: str
) -> None:
    proxy.fail(fault, method="PUT")
    store = with_retries(bucket, sleep=lambda seconds: None)
    assert store.create("log/1", b"mine")
    assert proxy.count("PUT") == 2
    proxy.fail(fault, method="PUT")
    assert not store.create("log/1", b"another's")
    assert store.read("log/1") == b"mine"


def test_a_listing_that_breaks_goes_on_where_it_was(bucket: BucketStore, proxy: FaultyProxy) -> None:
    keys = [f"runs/{number:04}" for number in range(1010)]
    with with_retries(bucket).begin_batch() as batch:
        for key in keys:
            batch.name(batch.write((b"x",)), key)
        batch.flush()
    proxy.fail(CUT, path="list-type=2")
    found = with_retries(bucket, sleep=lambda seconds: None).iter_keys("runs/")
    first = next(found)
    proxy.fail(BUSY, path="list-type=2")
    assert [first, *found] == keys


def test_what_is_missing_is_asked_for_once(bucket: BucketStore, proxy: FaultyProxy) -> None:
    with pytest.raises(BlobMissingError):
        with_retries(bucket).read("a/none")
    assert proxy.count("GET") == 1


def test_tries_end_at_the_deadline_and_after_the_last_attempt(bucket: BucketStore, proxy: FaultyProxy) -> None:
    proxy.fail(BUSY, times=100)
    with pytest.raises(RemoteUnavailableError):
        with_retries(bucket, attempts=4, sleep=lambda seconds: None).read("a/b")
    assert proxy.count("GET") == 4


def test_nothing_is_sent_again_once_the_machine_was_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete that is sent again hours later takes what others have stored since."""
    real, sent = time.clock_gettime, list[int]()
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + 7200 * len(sent))

    def send() -> None:
        sent.append(1)
        msg = "no answer in time"
        raise RemoteTimeoutError(msg)

    with pytest.raises(RemoteTimeoutError):
        RetryPolicy(8, 60, os.urandom, sleep=lambda seconds: None).run(send)
    assert len(sent) == 1


@pytest.mark.parametrize(("fault", "doubtful"), [("", 0), (LOSE, 1), (BUSY, 1)])
def test_a_delete_that_was_sent_again_is_counted(
    bucket: BucketStore, proxy: FaultyProxy, fault: str, doubtful: int
) -> None:
    """The first one may arrive after the answer to the second."""
    store = with_retries(bucket, sleep=lambda seconds: None)
    store.create("a/b", b"x")
    if fault:
        proxy.fail(fault, method="POST")
    store.delete(["a/b"])
    assert store.find_size("a/b") is None
    assert store.doubtful_deletes == doubtful


def test_what_is_never_answered_fails_at_the_deadline(moto: Server, proxy: FaultyProxy) -> None:
    deadline = 0.3
    server = replace(moto, endpoint=proxy.endpoint)
    bucket = server.open_bucket(moto.make_bucket(), deadline_seconds=deadline)
    uri = f"s3://{moto.make_bucket()}/a"
    references = References(ReferencePolicy(("s3://",)), server.options(deadline_seconds=deadline))
    proxy.is_cut_off = True
    for read in (
        lambda: RetryPolicy(8, deadline, os.urandom).run(lambda: bucket.read("a/b")),
        lambda: list(references.iter_entries(uri)),
    ):
        begun = time.monotonic()
        with pytest.raises(RemoteTimeoutError):
            read()
        assert time.monotonic() - begun < deadline + 4, "it was 20 seconds for each attempt"


def test_attempts_fill_the_deadline() -> None:
    waits = [RemoteOptions(deadline_seconds=seconds).wait_seconds for seconds in (60, 50, 25, 20, 3)]
    assert waits == [20, pytest.approx(16.67, abs=0.01), 12.5, 20, 3]


def test_a_wrong_server_is_not_taken_for_a_bucket_without_the_object(moto: Server) -> None:
    with running_proxy(moto.endpoint) as proxy:
        # moto's console answers 404 with a page of its own there.
        store = replace(moto, endpoint=f"{proxy.endpoint}/moto-api/none").open_bucket("bucket")
        with pytest.raises(RemoteUnavailableError, match="not the object store"):
            store.read("a/b")
