"""The file systems that are measured: the plain tree, artifactfs by either transport, and others of its kind.

Each stores the same tree, without compression, and shows it under a directory. What is not installed is left out, and
the table says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import workload

ARTIFACTFS: Final = str(Path(sys.executable).parent / "artifactfs")
_UP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Commands:
    """How to store a tree with a program and to mount what was stored.

    In each command `{tree}`, `{store}` and `{mount}` are replaced; `store` runs in the tree.

    Attributes:
        name: what the table calls it.
        needs: programs that must be there.
        store: commands, none where the tree itself is mounted.
        mount: a command that returns when the mount is up, or that serves until it is unmounted.
        serves: whether it is the second kind.
        below: where in the mount the tree is.
        once: whether it is so slow that it is measured in the first run alone.
        environment: of the commands.
    """

    name: str
    needs: tuple[str, ...]
    store: tuple[str, ...]
    mount: str
    serves: bool = False
    below: str = ""
    once: bool = False
    environment: dict[str, str] = field(default_factory=dict)


PEERS: Final = (
    Commands(
        "EROFS (kernel)", ("mkfs.erofs",), ("mkfs.erofs {store}.img {tree}",),
        "mount -t erofs -o loop,ro {store}.img {mount}",
    ),
    Commands(
        "squashfuse", ("squashfuse", "mksquashfs"),
        ("mksquashfs {tree} {store}.img -noI -noD -noF -noX -no-progress -quiet",), "squashfuse {store}.img {mount}",
    ),
    Commands(
        "borg mount", ("borg",),
        ("borg init -e none {store}", "borg create --compression none {store}::one ."),
        "borg mount {store}::one {mount}",
    ),
    Commands(
        "ratarmount", ("ratarmount", "tar"), ("tar -cf {store}.tar .",), "ratarmount {store}.tar {mount}",
        once=True,
    ),
    Commands(
        "restic mount", ("restic",),
        ("restic -q -r {store} init", "restic -q -r {store} --cache-dir {store}.cache backup {tree}"),
        "restic -q -r {store} --cache-dir {store}.cache mount {mount}",
        serves=True, below="snapshots/latest{tree}", once=True, environment={"RESTIC_PASSWORD": "bench"},
    ),
    Commands("rclone mount", ("rclone",), (), "rclone mount --read-only {tree} {mount}", serves=True, once=True),
)  # fmt: skip


def missing(peer: Commands) -> str:
    """Return the programs that a peer lacks, separated by commas."""
    return ", ".join(name for name in peer.needs if shutil.which(name) is None)


class Peer:
    """One peer in a directory of its own."""

    def __init__(self, commands: Commands, *, work: Path, tree: Path) -> None:
        self.name = commands.name
        self.once = commands.once
        self._commands = commands
        self._tree = tree
        self._work = work / commands.needs[0]
        self._mountpoint = self._work / "mnt"
        self._mountpoint.mkdir(parents=True)
        self._stored = False

    def _fill(self, text: str) -> str:
        return text.format(tree=self._tree, store=self._work / "store", mount=self._mountpoint)

    def store(self) -> None:
        """Store the tree, the first time."""
        if not self._stored:
            for command in self._commands.store:
                workload.run(*self._fill(command).split(), cwd=self._tree, **self._commands.environment)
            self._stored = True

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount, give the directory that shows the tree, and unmount."""
        command = self._fill(self._commands.mount).split()
        environment = {**os.environ, **self._commands.environment}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, **quiet)  # type: ignore[call-overload]
        if not self._commands.serves and process.wait() != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        root = self._mountpoint / self._fill(self._commands.below).lstrip("/")
        try:
            _wait_for(root / "big")
            yield root
        finally:
            workload.run("umount", str(self._mountpoint))
            process.wait()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            msg = f"{path} did not appear"
            raise TimeoutError(msg)
        time.sleep(0.05)


class ArtifactFS:
    """artifactfs with one transport; repository and state in a directory of its own."""

    def __init__(self, transport: str, *, work: Path, tree: Path) -> None:
        self.name = f"artifactfs, {transport}"
        self._transport = transport
        self._tree = tree
        self._work = work / f"artifactfs-{transport}"
        self._mountpoint = self._work / "mnt"
        self._mountpoint.mkdir(parents=True)

    @property
    def repository(self) -> Path:
        """Where the repository is."""
        return self._work / "repo"

    def run(self, *arguments: str) -> None:
        """Run one command, as a user would."""
        places = {
            f"ARTIFACTFS_{name}": str(self._work / name.lower()) for name in ("REPO", "STATE", "RUNTIME", "CACHE")
        }
        workload.run(ARTIFACTFS, "--quiet", *arguments, PYTHONDONTWRITEBYTECODE="", **places)

    def store(self) -> None:
        """Store the tree, in a new repository."""
        for name in ("repo", "state", "cache"):
            shutil.rmtree(self._work / name, ignore_errors=True)
        self.put()

    def put(self) -> None:
        """Store the tree once more."""
        self.run("put", "data", f"{self._tree}/")

    @contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        """Mount with further options, give the directory that shows the tree, and unmount."""
        self.run("mount", "--transport", self._transport, "--artifact", "data", *options, str(self._mountpoint))
        try:
            yield self._mountpoint
        finally:
            self.run("umount", str(self._mountpoint))
