"""`connections` and `bandwidth` limit what is asked of a bucket; room that is reserved is seen by whoever counts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifactfs.blobstore.cachequota import CacheLimits
from artifactfs.blobstore.diskcache import DiskCache
from artifactfs.blobstore.limiting import Gate, LimitingStore
from tests.remote.faulty_proxy import Seen
from tests.remote.servers import Server
from tests.remote.test_ahead import Machine, machine, team

__all__ = ["machine", "team"]
KEY = "blobs/ab/" + "ab" * 32


def count_at_once(seen: list[Seen]) -> int:
    """Return how many requests were under way at once, at most."""
    moments = sorted([(request.begun, 1) for request in seen] + [(request.ended, -1) for request in seen])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def fetch_with(machine: Machine, connections: int) -> int:
    """Fetch through so many connections, the first two of which wait for each other if they can."""
    machine("ls", "animals/")
    proxy = machine.team.proxy
    proxy.seen.clear()
    both, guard, held = threading.Barrier(min(connections, 2)), threading.Lock(), [0]

    def hold(seen: Seen) -> None:
        with guard:
            is_held = bool(seen.range) and held[0] < both.parties
            held[0] += is_held
        if is_held:
            both.wait(60)

    proxy.hold = hold
    machine("fetch", "animals", ARTIFACTFS_CONNECTIONS=str(connections))
    assert not both.broken
    return count_at_once(proxy.seen)


def test_no_more_requests_at_once_than_connections(machine: Machine) -> None:
    assert fetch_with(machine, 1) == 1


@pytest.mark.slow
def test_as_many_requests_at_once_as_connections(machine: Machine) -> None:
    assert fetch_with(machine, 2) == 2


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_bytes_in_a_second_are_limited_in_both_directions(moto: Server) -> None:
    clock = Clock()
    gate = Gate(4, 1000, now=lambda: clock.now, sleep=clock.sleep)
    store = LimitingStore(moto.open_bucket(moto.make_bucket()), gate)  # type: ignore[arg-type]
    store.create("a/b", b"x" * 5000)
    assert clock.now == 0, "the first goes at once, and what comes next waits for it"
    for number in range(10):
        assert store.read_range("a/b", number * 500, 500) == b"x" * 500
        assert clock.now == 5 + number * 0.5
    assert store.read("a/b") == b"x" * 5000
    store.find_size("a/b")
    assert clock.now == 10, "what moves no bytes waits for nobody"


def test_room_that_is_reserved_is_seen_by_whoever_counts_at_that_moment(tmp_path: Path) -> None:
    limits = CacheLimits(10_000, 0)
    cache, other = DiskCache(str(tmp_path), limits), DiskCache(str(tmp_path), limits)
    began, go_on = threading.Event(), threading.Event()

    def fetch() -> bytes:
        began.set()
        assert go_on.wait(60)
        return b"x" * 6000

    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(cache.load, KEY, 0, 6000, fetch)
        try:
            assert began.wait(60)
            (tmp_path / "size").write_bytes(b"")  # so that the next one counts
            assert other.quota.used() >= 6000
            other.quota.clean()
            assert other.load(KEY, 1, 6000, lambda: b"y" * 6000) == b"y" * 6000
            assert not other.has(KEY, 1), "there was no room beside what is being fetched"
        finally:
            go_on.set()
        assert loading.result() == b"x" * 6000
    assert other.has(KEY, 0)
    assert other.quota.used() <= 10_000
