"""A disk that is slow to read: a file system in a file, whose block device is throttled for one control group.

Source: Documentation/admin-guide/cgroup-v1/blkio-controller.rst; cgroup-v2.rst, io.max.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

READS_PER_SECOND = 100
_V1 = Path("/sys/fs/cgroup/blkio")
_V2 = Path("/sys/fs/cgroup")


class SlowDisk:
    """A mounted file system that processes which were `slowed` read slowly."""

    def __init__(self, root: Path, group: Path) -> None:
        self.root = root
        self._group = group

    def slow(self, pid: int) -> None:
        """Throttle a process, and what it forks from now on."""
        (self._group / "cgroup.procs").write_text(str(pid))

    def was_read(self) -> bool:
        """Return whether the throttled processes have read anything from it, slowly."""
        for name in ("blkio.throttle.io_serviced", "io.stat"):
            with suppress(FileNotFoundError):
                text = (self._group / name).read_text()
                return any(line.split()[-1] != "0" for line in text.splitlines() if "Read" in line or "rios" in line)
        return False


def why_not() -> str:
    """Return what this machine lacks, or nothing."""
    if os.getuid() != 0:
        return "throttling a disk needs root"
    if not shutil.which("mkfs.ext4"):
        return "mkfs.ext4 is not installed"
    if not (_V1 / "blkio.throttle.read_iops_device").exists() and not _has_v2():
        return "this machine cannot throttle disks (control groups without blkio and io)"
    return ""


def _has_v2() -> bool:
    path = _V2 / "cgroup.controllers"
    return path.exists() and "io" in path.read_text().split()


@contextmanager
def slow_disk(folder: Path, *, size: int = 64 << 20) -> Iterator[SlowDisk]:
    """Give a slow disk, made in `folder`."""
    image, root = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    root.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    number = os.stat(root).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    group = (_V2 if _has_v2() else _V1) / f"artifactfs-test-{os.getpid()}"
    try:
        group.mkdir()
        if _has_v2():
            (_V2 / "cgroup.subtree_control").write_text("+io")
            (group / "io.max").write_text(f"{device} riops={READS_PER_SECOND}")
        else:
            (group / "blkio.throttle.read_iops_device").write_text(f"{device} {READS_PER_SECOND}")
        yield SlowDisk(root, group)
    finally:
        # Whoever is left in the group is slow no longer, and the group can go.
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()
        subprocess.run(["umount", "-l", str(root)], check=True)
