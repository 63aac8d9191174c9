"""A daemon whose memory is limited, as by `MemoryMax=` of systemd: whoever is killed for it, reads go on."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.registry import find_live
from artifactfs.mount.syscalls import may_mount
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import put_paths
from artifactfs.repository.referring import Referred
from artifactfs.repository.repository import open_repository
from tests.containers.support import READER, Host, finish_reading
from tests.memory_group import count_kills, memory_group
from tests.mount.conftest import wait_until
from tests.reference.odd_server import Odd, running_odd_server

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.slow,
    pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="control groups need root"),
]
MIB = 1 << 20
LIMIT = 256 * MIB
KILLS = 4
LARGE_MIB = 256
JOIN = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
HOG = "kept = []\nwhile True: kept.append(b'x' * (1 << 20))"
"""Takes memory until it is killed, as a job does that shares its limit with the daemon."""


@pytest.fixture
def far(host: Host) -> Iterator[Odd]:
    """Return a server, to whose files `far:v0` refers."""
    with running_odd_server() as odd:
        odd.files |= {f"/set/{number}": b"%d\n" % number * 5000 for number in range(KILLS)}
        references = References(ReferencePolicy((odd.url,)))
        with open_repository(
            host.folders.repository, state=host.folders.state, author="tester", references=lambda: references
        ) as repository:
            put_paths(repository, "far", [Referred(f"{odd.url}/set/{n}") for n in range(KILLS)], CommitOptions())
        yield odd


def join(group: Path, *command: str | Path) -> list[str]:
    """Return a command line that runs another one in a control group."""
    return ["sh", "-c", JOIN, str(group), *map(str, command)]


class Daemon:
    """The processes of one mount, by what they do."""

    def __init__(self, host: Host, mountpoint: Path) -> None:
        self.host = host
        self.mountpoint = mountpoint

    def find(self, role: str) -> int:
        """Return the process that has a role, once there is one."""
        found: list[int] = []

        def look() -> bool:
            info = find_live(self.host.folders, str(self.mountpoint))
            figures = None if info is None else find_figures(info)
            if figures:
                worker = next(iter(figures["workers"]), 0)
                found[:] = [{"supervisor": info.pid, "fetcher": figures["fetcher"], "worker": worker}[role]]
            return any(found)

        wait_until(look, seconds=30)
        return found[0]


@pytest.mark.parametrize("role", ["worker", "fetcher", "supervisor"])
def test_reads_go_on_when_the_kernel_kills_for_memory(
    host: Host, mountpoint: Path, tmp_path: Path, far: Odd, role: str
) -> None:
    with memory_group(LIMIT) as group:
        config = tmp_path / "config.toml"
        config.write_text(f'follow_references = ["{far.url}"]\n')
        words = ["artifactfs", "mount", "--keep", mountpoint]
        subprocess.run(join(group, *words), env=host.env | {"ARTIFACTFS_CONFIG": str(config)}, check=True, timeout=60)
        daemon = Daemon(host, mountpoint)
        path, stop = mountpoint / "animals" / "v0" / "images" / "cat.png", tmp_path / "stop"
        reader = host.start(sys.executable, "-c", READER, path, stop, stdout=subprocess.PIPE, text=True)
        assert reader.stdout.readline() == "reading\n"
        for number in range(KILLS):
            victim = daemon.find(role)
            Path(f"/proc/{victim}/oom_score_adj").write_text("1000")  # the kernel takes it first, and the hog next
            before = count_kills(group)
            hog = subprocess.run(join(group, sys.executable, "-c", HOG), check=False, timeout=60)
            assert hog.returncode == -signal.SIGKILL
            assert count_kills(group) >= before + 2
            wait_until(lambda gone=victim: daemon.find(role) != gone)
            assert (mountpoint / "far" / "v0" / str(number)).read_bytes() == b"%d\n" % number * 5000
        finish_reading(reader, stop)
        host.run("umount", mountpoint)


def test_a_limit_below_the_size_of_a_file_kills_nobody(host: Host, mountpoint: Path, tmp_path: Path) -> None:
    content = os.urandom(MIB) * LARGE_MIB
    (tmp_path / "large").write_bytes(content)
    host.run("put", "large", tmp_path / "large")
    with memory_group(LARGE_MIB * MIB // 2) as group:
        subprocess.run(join(group, "artifactfs", "mount", "--keep", mountpoint), env=host.env, check=True, timeout=60)
        path = mountpoint / "large" / "v0" / "large"
        for _ in range(2):
            done = subprocess.run(join(group, "sha256sum", path), capture_output=True, check=True, timeout=100)
            assert done.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
        assert count_kills(group) == 0
        host.run("umount", mountpoint)
