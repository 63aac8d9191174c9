"""What is measured of reading from a bucket. Each function takes its measures once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.bench import workload
from tests.bench.remote_tree import Remote
from tests.bench.workload import timed
from tests.remote.faulty_proxy import FaultyProxy, running_proxy

BATCH = 64
READERS = 100
PEER_FILES = 1000
"""The others are so slow that they read only so many."""

Seconds = dict[str, list[float]]


def add(seconds: Seconds, key: str, action: Callable[[], object], *, drops: bool = False) -> None:
    """Time an action and note it; `drops` empties the kernel's caches before."""
    if drops:
        workload.drop_caches()
    note(seconds, key, timed(action))


def note(seconds: Seconds, key: str, spent: float) -> None:
    """Note what was measured, and print it, so that a run that is cut off has told something."""
    seconds.setdefault(key, []).append(spent)
    print(f"{key}: {spent:.2f} s", file=sys.stderr, flush=True)


def measure_big(remote: Remote, seconds: Seconds) -> None:
    """A large file."""
    add(seconds, "big: download", lambda: remote.download("blobs"), drops=True)
    with remote.mounted() as root:
        add(seconds, "big: cold", lambda: workload.read_big(root))
        add(seconds, "big: cached", lambda: workload.read_big(root), drops=True)
    with remote.mounted(ARTIFACTFS_REPO=remote.local) as root:
        add(seconds, "big: local", lambda: workload.read_big(root), drops=True)


def measure_small(remote: Remote, seconds: Seconds) -> None:
    """Small files: cold, again, and again from the disk, in order and shuffled; the last two of a local repository."""
    add(seconds, "small: download", lambda: remote.download("packs"), drops=True)
    for order, sort in (("in order", sorted), ("shuffled", workload.shuffle)):
        with remote.mounted() as root:
            found: list[str] = []
            add(seconds, f"small: list, {order}", lambda: found.extend(workload.iter_files(root)))  # noqa: B023
            files = sort(found)
            add(seconds, f"small: cold, {order}", lambda: workload.read_files(files))  # noqa: B023
            add(seconds, f"small: again, {order}", lambda: workload.read_files(files))  # noqa: B023
            add(seconds, f"small: warm, {order}", lambda: workload.read_files(files), drops=True)  # noqa: B023
        with remote.mounted(ARTIFACTFS_REPO=remote.local) as root:
            files = sort(list(workload.iter_files(root)))
            add(seconds, f"small: local from memory, {order}", lambda: workload.read_files(files))  # noqa: B023
            add(seconds, f"small: local again, {order}", lambda: workload.read_files(files))  # noqa: B023
            add(seconds, f"small: local, {order}", lambda: workload.read_files(files), drops=True)  # noqa: B023


def measure_half(remote: Remote, seconds: Seconds) -> None:
    """Small files, shuffled, with a cache of half of them."""
    half = remote.shape.file_count * remote.shape.size // 2
    with remote.mounted(ARTIFACTFS_CACHE_SIZE=str(half)) as root:
        files = workload.shuffle(list(workload.iter_files(root)))
        add(seconds, "half: first epoch", lambda: workload.read_files(files))
        add(seconds, "half: second epoch", lambda: workload.read_files(files), drops=True)


def measure_batch(remote: Remote, seconds: Seconds) -> None:
    """From mounting to the first batch of random files, beside `get` of all of them."""
    picked = workload.shuffle(list(workload.iter_files(remote.tree)))[:BATCH]
    names = [str(Path(name).relative_to(remote.tree)) for name in picked]
    workload.drop_caches()
    begun = time.perf_counter()
    with remote.mounted() as root, ThreadPoolExecutor(8) as threads:
        mounted = time.perf_counter()
        list(threads.map(lambda name: (root / name).read_bytes(), names))
        done = time.perf_counter()
    note(seconds, "batch: mount and read", done - begun)
    note(seconds, "batch: read", done - mounted)
    for what, ref in (("small files", "animals/small"), ("everything", "animals")):
        target = remote.work / "got"
        add(seconds, f"batch: get {what}", lambda: remote.run("get", ref, str(target), name="getter"), drops=True)  # noqa: B023
        shutil.rmtree(target)
        shutil.rmtree(remote.work / "getter")


def measure_peers(remote: Remote, seconds: Seconds) -> None:
    """The first of the same small files, stored as objects, through the others' mounts."""
    if not any(remote.client.list("files", chunk_size=1)):
        remote.store_files()
    names = [str(Path(name).relative_to(remote.tree)) for name in sorted(workload.iter_files(remote.tree))[:PEER_FILES]]
    mount = remote.work / "peer"
    mount.mkdir()
    for name, command in remote.peer_commands(mount).items():
        cache = remote.work / "peer-cache"
        # rclone refuses to start with a bundle of certificates for a server without any.
        workload.run(*command, **remote.server.environ, XDG_CACHE_HOME=str(cache), AWS_CA_BUNDLE="")
        try:
            add(seconds, f"peer: {name}", lambda: workload.read_files([str(mount / file) for file in names]))
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False)
        shutil.rmtree(cache, ignore_errors=True)
    mount.rmdir()


def count_requests(remote: Remote) -> dict[str, int]:
    """Return how many requests for the large file 100 readers cause, and how many ranges were asked for twice.

    Also after how many round trips, one after another, the first byte of a small file was there, once mounted.
    """
    with running_proxy(remote.server.endpoint) as proxy:
        environ = {**remote.server.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        through = replace(remote.server, endpoint=proxy.endpoint, environ=environ)
        remote.server, server = through, remote.server
        try:
            return _count(remote, proxy)
        finally:
            remote.server = server


def _count(remote: Remote, proxy: FaultyProxy) -> dict[str, int]:
    with remote.mounted() as root:
        os.stat(root)
        proxy.seen.clear()
        first = next(iter(sorted(workload.iter_files(remote.tree))))
        name = Path(first).relative_to(remote.tree)
        (root / name).read_bytes()
        trips = proxy.count_round_trips()
        proxy.seen.clear()
        with ThreadPoolExecutor(READERS) as threads:
            list(threads.map(lambda _: _read_whole(root / "big"), range(READERS)))
        ranges = Counter(seen.range for seen in proxy.seen if seen.method == "GET" and "/blobs/" in seen.path)
    twice = sum(count - 1 for count in ranges.values())
    return {"round trips": trips, "ranges": len(ranges), "ranges asked for again": twice}


def _read_whole(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
