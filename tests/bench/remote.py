"""Measure reading from a bucket through a mount: `python -m tests.bench.remote [--runs 3] [--big 2048] [--peers]`.

Everything is read from Ceph's S3 gateway on this machine, beside what the client library can do at best, and with
--peers beside `rclone mount` and `s3fs` with the same files as objects. Each run of a cold measure has a cache and a
mount of its own. Needs root, and what `tests/remote/object-stores.sh install` installs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import obstore

from artifactfs.blobstore.connecting import connect
from artifactfs.blobstore.locations import parse_remote_location
from tests.bench import machine, workload
from tests.bench.table import format_table
from tests.bench.workload import Shape, timed
from tests.remote.servers import Server, running_ceph

RANGE = 8 << 20
AT_ONCE = 16
BATCH = 64
PEER_FILES = 2000
"""The others are so slow that they read only so many."""


class Remote:
    """A repository in a bucket, with a tree in it."""

    def __init__(self, server: Server, work: Path, shape: Shape) -> None:
        self.work, self.shape, self.server = work, shape, server
        self.bucket = server.make_bucket()
        self.location = f"s3://{self.bucket}/team"
        self.tree = work / "tree"
        workload.make_tree(self.tree, shape)
        self.client = connect(parse_remote_location(self.location), server.options())
        self._count = 0
        self.run("put", "animals", f"{self.tree}/", name="writer")

    def environ(self, name: str) -> dict[str, str]:
        places = {f"ARTIFACTFS_{kind}": str(self.work / name / kind.lower()) for kind in ("STATE", "CACHE", "RUNTIME")}
        return {**self.server.environ, **places, "ARTIFACTFS_REPO": self.location}

    def run(self, *arguments: str, name: str, **more: str) -> None:
        command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()", *arguments]
        workload.run(*command, **self.environ(name), **more)

    @contextmanager
    def mounted(self, **more: str) -> Iterator[Path]:
        """Give the newest version, mounted by a machine that has never seen it."""
        self._count += 1
        name = f"new{self._count}"
        mount = self.work / name / "mnt"
        mount.mkdir(parents=True)
        self.run("mount", str(mount), name=name, **more)
        try:
            yield mount / "animals" / "latest"
        finally:
            self.run("umount", str(mount), name=name)
            shutil.rmtree(self.work / name)

    def keys(self, prefix: str) -> list[tuple[str, int]]:
        """Return the keys and sizes of objects."""
        return [(item["path"], item["size"]) for page in self.client.list(prefix) for item in page]

    def download(self, prefix: str) -> None:
        """Fetch all objects below a prefix by parallel ranges, hash them and write them: the best that can be done."""
        target = self.work / "download"

        def fetch(job: tuple[int, str, int, int]) -> None:
            descriptor, key, start, size = job
            data = memoryview(obstore.get_range(self.client, key, start=start, length=size))
            hashlib.sha256(data).digest()
            os.pwrite(descriptor, data, start)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            for key, size in sorted(self.keys(prefix), key=lambda item: -item[1]):
                descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                jobs = [(descriptor, key, start, min(RANGE, size - start)) for start in range(0, size, RANGE)]
                list(threads.map(fetch, jobs))
                os.close(descriptor)
        target.unlink()


def read_batch(root: Path, names: list[str]) -> None:
    """Read the first batch of random files with as many threads as a loader has."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: (root / "small" / name).read_bytes(), names))


def measure(remote: Remote, seconds: dict[str, list[float]]) -> None:
    """Take every measure once."""

    def add(key: str, action: Callable[[], object]) -> None:
        workload.drop_caches()
        seconds.setdefault(key, []).append(timed(action))

    add("download the big file", lambda: remote.download("blobs"))
    with remote.mounted() as root:
        add("big file, cold, through the mount", lambda: workload.read_big(root))
        add("big file, cached, through the mount", lambda: workload.read_big(root))
    add("download the packs", lambda: remote.download("packs"))
    with remote.mounted() as root:
        files = sorted(workload.iter_files(root))
        add("small files, cold epoch in order", lambda: workload.read_files(files))
        add("small files, warm epoch in order", lambda: workload.read_files(files))
    with remote.mounted() as root:
        files = workload.shuffled_files(root)
        add("small files, cold epoch shuffled", lambda: workload.read_files(files))
        add("small files, warm epoch shuffled", lambda: workload.read_files(files))
    half = remote.shape.file_count * remote.shape.size // 2
    with remote.mounted(ARTIFACTFS_CACHE_SIZE=str(half)) as root:
        files = workload.shuffled_files(root)
        add("small files, shuffled, cache of half the data", lambda: workload.read_files(files))
    names = [
        str(Path(name).relative_to(remote.tree / "small")) for name in workload.shuffled_files(remote.tree)[:BATCH]
    ]
    begun = time.perf_counter()
    with remote.mounted() as root:
        read_batch(root, names)
        seconds.setdefault("mount and first batch of 64", []).append(time.perf_counter() - begun)
    target = remote.work / "got"
    add("get of all small files", lambda: remote.run("get", "animals/small", str(target), name="getter"))
    shutil.rmtree(target)
    shutil.rmtree(remote.work / "getter")


def measure_peers(remote: Remote, seconds: dict[str, list[float]]) -> None:
    """Read some of the same files, stored as objects, through the others' mounts."""
    for path in workload.shuffled_files(remote.tree):
        obstore.put(remote.client, "files/" + str(Path(path).relative_to(remote.tree)), Path(path).read_bytes())
    keys = remote.work / "keys"
    keys.write_text(f"{remote.server.environ['AWS_ACCESS_KEY_ID']}:{remote.server.environ['AWS_SECRET_ACCESS_KEY']}")
    keys.chmod(0o600)
    place = f"{remote.bucket}/team/files"
    rclone = f":s3,provider=Ceph,env_auth=true,endpoint='{remote.server.endpoint}':{place}"
    commands = {
        "rclone mount": ["rclone", "mount", rclone, "MNT", "--daemon", "--read-only", "--vfs-cache-mode", "full"],
        "s3fs": ["s3fs", f"{remote.bucket}:/team/files", "MNT", "-o", f"url={remote.server.endpoint}"],
    }
    commands["s3fs"] += ["-o", f"passwd_file={keys}", "-o", "use_path_request_style", "-o", "ro"]
    names = [str(Path(name).relative_to(remote.tree)) for name in sorted(workload.iter_files(remote.tree))[:PEER_FILES]]
    for name, command in commands.items():
        mount = remote.work / name.replace(" ", "-")
        mount.mkdir()
        arguments = [str(mount) if word == "MNT" else word for word in command]
        workload.run(*arguments, **remote.server.environ, XDG_CACHE_HOME=str(remote.work / "peer-cache"))
        try:
            seconds[name] = [timed(lambda: workload.read_files([str(mount / file) for file in names]))]  # noqa: B023
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False)


def print_table(remote: Remote, seconds: dict[str, list[float]]) -> None:
    """Print the medians, and what they mean in files or bytes a second."""
    rows = [["what", "seconds (median)", "speed"]]
    for key, runs in seconds.items():
        median = statistics.median(runs)
        if "big file" in key:
            speed = f"{remote.shape.big_mib / median:,.0f} MiB/s"
        else:
            count = (
                PEER_FILES if key in ("rclone mount", "s3fs") else BATCH if "batch" in key else remote.shape.file_count
            )
            speed = f"{count / median:,.0f} files/s"
        rows.append([key, f"{median:.2f}", speed])
    print(format_table(rows))


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--big", type=int, default=2048, metavar="MIB")
    parser.add_argument("--directories", type=int, default=200)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--where", default=None)
    options = parser.parse_args()
    print(machine.describe())
    random.seed(1)
    with tempfile.TemporaryDirectory(dir=options.where, prefix="af-bench-") as work, running_ceph() as server:
        remote = Remote(server, Path(work), Shape(directories=options.directories, big_mib=options.big))
        seconds: dict[str, list[float]] = {}
        for _ in range(options.runs):
            measure(remote, seconds)
        if options.peers:
            measure_peers(remote, seconds)
        print_table(remote, seconds)


if __name__ == "__main__":
    main()
