"""The command line, with the directories of one test, as programs of a machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from artifactfs.mount.mountinfo import find_mount, read_mounts
from artifactfs.mount.registry import iter_live
from tests.mount.conftest import Folders, wait_until

PROGRAMS = Path(sys.executable).parent
PROJECT = Path(__file__).parent.parent.parent
RECOVERY_SECONDS = 5
"""The longest that a killed supervisor may make a reader wait."""


class Host:
    """A machine with one repository; what is started through it is ended by `end`."""

    def __init__(self, folders: Folders, top: Path) -> None:
        self.folders = folders
        self.top = top
        self.env = {
            **os.environ,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "ARTIFACTFS_REPO": folders.repository,
            "ARTIFACTFS_STATE": folders.state,
            "ARTIFACTFS_CACHE": folders.cache,
            "ARTIFACTFS_RUNTIME": folders.runtime,
            "ARTIFACTFS_AUTHOR": "tester",
        }
        self.processes: list[subprocess.Popen[Any]] = []

    def run(self, *arguments: str | Path, code: int = 0, timeout: float = 60) -> str:
        """Run the command line; return its standard output."""
        done = subprocess.run(
            ["artifactfs", *arguments], env=self.env, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def start(self, *command: str | Path, **more: Any) -> subprocess.Popen[Any]:
        """Start a program in the background."""
        process = subprocess.Popen([str(word) for word in command], **{"env": self.env, **more})
        self.processes.append(process)
        return process

    def supervisor(self, mountpoint: Path) -> int:
        """Return the process that serves a mount, once there is one."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [info.pid for info in iter_live(self.folders) if info.mountpoint == str(mountpoint)]
            return bool(found)

        wait_until(look, seconds=30)
        return found[0]

    def end(self) -> None:
        """Unmount what is mounted, and end what was started."""
        for line in reversed(read_mounts()):
            if line.is_ours and line.mountpoint.startswith(str(self.top)):
                subprocess.run(["umount", "-l", line.mountpoint], capture_output=True, check=False)
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(timeout=30)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def kill(pid: int) -> None:
    """End a process at once, and return when it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or state_of(pid) == "Z")


def state_of(pid: int) -> str:
    """Return the letter of a process's state; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted on a path."""
    return find_mount(str(path)) is not None


READER = """
import os, sys, time
path, stop = sys.argv[1:]
expected = open(path, "rb").read()
print("reading", flush=True)
count, longest = 0, 0.0
while not os.path.exists(stop):
    begun = time.monotonic()
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    data = os.read(descriptor, len(expected) + 1)
    os.close(descriptor)
    assert data == expected, (len(data), len(expected))
    count, longest = count + 1, max(longest, time.monotonic() - begun)
print(count, longest, flush=True)
"""
"""Reads a file, out of no cache, until a file appears; every byte is compared."""


def finish_reading(reader: subprocess.Popen[str], stop: Path) -> None:
    """Let a READER end, and expect that none of its reads failed, or took five seconds."""
    stop.touch()
    said, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    count, longest = said.split()
    assert int(count) > 0
    assert float(longest) < RECOVERY_SECONDS


def read_through_kills(host: Host, shared: Path, enter: list[str], *, env: dict[str, str]) -> None:
    """Kill what serves a mount under a container that reads it, and expect that it reads on.

    Args:
        shared: what the container sees as /mnt; nothing is mounted in it yet.
        enter: a command line that runs another one in the container.
        env: its environment.
    """
    place, stop = shared / "artifacts", shared / "stop"
    host.run("mount", "--keep", "--allow-other", place)
    words = [*enter, "python3", "-c", READER, "/mnt/artifacts/animals/v0/images/cat.png", "/mnt/stop"]
    reader = host.start(*words, env=env, stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    for _ in range(5):
        supervisor = host.supervisor(place)
        for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        begun = time.monotonic()
        kill(supervisor)
        wait_until(lambda gone=supervisor: host.supervisor(place) != gone)
        read_uncached(place / "animals" / "v0" / "README")
        assert time.monotonic() - begun < RECOVERY_SECONDS
    finish_reading(reader, stop)
    # Now nobody keeps it: the bind of the directory above sees the next mount.
    host.run("umount", place)
    host.run("mount", "--allow-other", place)
    kill(host.supervisor(place))
    begun = time.monotonic()
    host.run("mount", "--allow-other", place)
    assert time.monotonic() - begun < RECOVERY_SECONDS
    done = subprocess.run(
        [*enter, "cat", "/mnt/artifacts/animals/v0/README"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "hello\n", done.stderr


def read_uncached(path: Path) -> bytes:
    """Return a file's content, out of no cache."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()
