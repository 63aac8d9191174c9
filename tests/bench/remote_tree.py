"""A repository in a bucket with the tree that is measured, machines that have never seen it, and what peers mount."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import obstore

from artifactfs.blobstore.connecting import connect
from artifactfs.blobstore.locations import parse_remote_location
from tests.bench import workload
from tests.bench.workload import Shape
from tests.remote.servers import Server

RANGE = 8 << 20
AT_ONCE = 16


class Remote:
    """A repository in a bucket, and a local one, with the same tree in it."""

    def __init__(self, server: Server, work: Path, shape: Shape) -> None:
        self.work, self.shape, self.server = work, shape, server
        self.bucket = server.make_bucket()
        self.location = f"s3://{self.bucket}/team"
        self.local = str(work / "local")
        self.tree = work / "tree"
        workload.make_tree(self.tree, shape)
        self.client = connect(parse_remote_location(self.location), server.options())
        self._count = 0
        self.run("put", "animals", f"{self.tree}/", name="writer")
        self.run("put", "animals", f"{self.tree}/", name="writer", ARTIFACTFS_REPO=self.local)

    def environ(self, name: str) -> dict[str, str]:
        places = {f"ARTIFACTFS_{kind}": str(self.work / name / kind.lower()) for kind in ("STATE", "CACHE", "RUNTIME")}
        return {**self.server.environ, **places, "ARTIFACTFS_REPO": self.location}

    def run(self, *arguments: str, name: str, **more: str) -> None:
        command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()", *arguments]
        workload.run(*command, **{**self.environ(name), **more})

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
            self._unmount(mount, name)
            shutil.rmtree(self.work / name)

    def _unmount(self, mount: Path, name: str) -> None:
        """Unmount; others on the machine who look at all mounts hold one up for a moment."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.run("umount", str(mount), name=name)
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise

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

    def store_files(self) -> None:
        """Store the small files as objects, for those who mount a bucket as it is."""

        def store(path: str) -> None:
            obstore.put(self.client, "files/" + str(Path(path).relative_to(self.tree)), Path(path).read_bytes())

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(store, workload.iter_files(self.tree)))

    def peer_commands(self, mount: Path) -> dict[str, list[str]]:
        """Return the commands that mount the files of `store_files`."""
        environ, server = self.server.environ, self.server
        keys = self.work / "keys"
        keys.write_text(f"{environ['AWS_ACCESS_KEY_ID']}:{environ['AWS_SECRET_ACCESS_KEY']}")
        keys.chmod(0o600)
        place = f"{self.bucket}/team/files"
        rclone = f":s3,provider=Ceph,env_auth=true,endpoint='{server.endpoint}':{place}"
        s3fs = ["-o", f"url={server.endpoint}", "-o", f"passwd_file={keys}", "-o", "use_path_request_style", "-o", "ro"]
        return {
            "rclone mount": [
                "rclone", "mount", rclone, str(mount), "--daemon", "--read-only", "--vfs-cache-mode", "full",
            ],
            "s3fs": ["s3fs", f"{self.bucket}:/team/files", str(mount), *s3fs],
        }  # fmt: skip
