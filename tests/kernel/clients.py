"""Programs that use a mount while its workers are killed: each compares everything with what it must be.

    clients.py KIND MOUNT TRUTH STOPFILE

KIND is read, list, stat, map or signals (reads, interrupted by a timer). Prints the number of things that it compared;
any error or wrong byte ends it with a traceback.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
from pathlib import Path


def files(root: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names
    )


def forget(descriptor: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def read_one(path: str, wanted: bytes, *, by_map: bool, rng: random.Random) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if by_map and wanted:
            with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == wanted, path
            forget(descriptor)
            return
        forget(descriptor)
        start = rng.randrange(len(wanted) + 1)
        assert os.pread(descriptor, 1 << 20, start) == wanted[start : start + (1 << 20)], path
    finally:
        os.close(descriptor)


def main(kind: str, mount: str, truth: str, stop: str) -> None:
    rng = random.Random(os.getpid())
    contents = {name: Path(truth, name).read_bytes() for name in files(truth)}
    listings = {os.path.relpath(folder, truth): sorted(a + b) for folder, a, b in os.walk(truth)}
    if kind == "signals":
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    names, folders, count = list(contents), list(listings), 0
    while not count or not os.path.exists(stop):  # a busy machine may have been slow to start this
        for _ in range(20):
            name = rng.choice(names)
            if kind == "list":
                folder = rng.choice(folders)
                assert sorted(os.listdir(os.path.join(mount, folder))) == listings[folder], folder
            elif kind == "stat":
                assert os.stat(os.path.join(mount, name)).st_size == len(contents[name]), name
                assert os.getxattr(os.path.join(mount, name), "user.artifactfs.digest")
                os.statvfs(mount)
            else:
                read_one(os.path.join(mount, name), contents[name], by_map=kind == "map", rng=rng)
            count += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
