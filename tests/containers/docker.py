"""A Docker daemon of the tests' own, with sockets and data in a directory of its own, and without networks.

Its mount namespace is a slave of this one, and its network namespace its own: nothing of the machine changes.
Debian's `docker.io` and `docker-compose` need only be on PATH, not installed as services.

Source: dockerd(8); docker-run(1).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.containers import podman as pods
from tests.mount.conftest import wait_until

IMAGE: Final = f"{pods.BASE}:latest"
_OPTIONS: Final = (
    "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--storage-driver=vfs",
    "--oom-score-adjust=0", "--default-ulimit=nofile=20000:20000", "--default-ulimit=nproc=4096:4096",
)  # fmt: skip

_FORGET: Final = r"""
for place in $(grep -E '^[^ ]+ [^ ]+ fuse' /proc/mounts | cut -d ' ' -f 2); do umount -l "$(printf %b "$place")"; done
exec "$0" "$@"
"""
"""Runs a command after letting go of the mounts of others, which could not end while this namespace has them."""


def missing(*tools: str) -> str:
    """Return what keeps this machine from running a daemon, or an empty string."""
    absent = [tool for tool in ("dockerd", "containerd", "docker", *tools) if not shutil.which(tool)]
    return pods.missing() or (f"missing: {', '.join(absent)}" if absent else "")


class Docker:
    """A daemon, started by `start` and ended, with its containers and data, by `end`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = f"artifactfs-test-{os.getpid()}"
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock", "DOCKER_CONFIG": str(folder)}
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it, and return when it answers and has the image of a small Debian."""
        (self.folder / "daemon.json").write_text("{}")
        places = [
            f"--host={self.env['DOCKER_HOST']}", f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid", f"--config-file={self.folder}/daemon.json",
            f"--cgroup-parent=/{self.group}",
        ]  # fmt: skip
        command = ["unshare", "-m", "-n", "--propagation", "slave", "sh", "-c", _FORGET, "dockerd", *_OPTIONS, *places]
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.run("version", check=False).returncode == 0, seconds=60)
        pods.make_base()
        words = pods.command("save", "--format", "docker-archive", IMAGE)
        with subprocess.Popen(words, env=pods.environment(), stdout=subprocess.PIPE) as image:
            self.run("load", stdin=image.stdout, timeout=300)

    def run(
        self, *words: str | Path, program: str = "docker", check: bool = True, timeout: float = 100, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a client."""
        done = subprocess.run(
            [program, *map(str, words)], env=self.env, text=True, capture_output=True, check=False, timeout=timeout,
            **more,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def end(self) -> None:
        """End its containers, itself, and remove what it wrote."""
        if self._process is not None:
            if names := self.run("ps", "-q", check=False).stdout.split():
                self.run("kill", *names, check=False)
            self._process.terminate()
            self._process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
        for group in Path("/sys/fs/cgroup").glob(f"**/{self.group}"):
            with contextlib.suppress(OSError):
                group.rmdir()
