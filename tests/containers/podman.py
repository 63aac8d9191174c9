"""Real containers: podman with runc, in a storage of the tests' own, from an image that debootstrap makes once.

Source: podman-run(1); systemd(1), "container_runtime".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.containers.support import PROJECT

STORAGE = Path("/var/tmp/artifactfs-tests-podman")
BASE = "localhost/artifactfs-tests-base"
IMAGE = "localhost/artifactfs-tests"
PACKAGES = "ca-certificates,fuse3,libfuse2,procps,python3,python3-venv,systemd,util-linux"
CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs", "/opt/wheels", "/opt/pypi", "/opt/pypi-more")


def missing() -> str:
    """Return what keeps this machine from running containers, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [tool for tool in ("podman", "runc", "debootstrap") if not shutil.which(tool)]
    return f"missing: {', '.join(absent)}" if absent else ""


def podman(
    *words: str | Path, check: bool = True, timeout: float = 100, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run podman."""
    done = subprocess.run(
        command(*words), env=environment(), text=True, check=False, timeout=timeout,
        **({"capture_output": True} | more),
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done


def command(*words: str | Path) -> list[str]:
    """Return the command line of podman."""
    return [
        "podman",
        "--root",
        f"{STORAGE}/root",
        "--runroot",
        f"{STORAGE}/run",
        "--storage-driver",
        "vfs",
        *map(str, words),
    ]


def environment() -> dict[str, str]:
    """Return podman's environment."""
    return {**os.environ, "CONTAINERS_CONF": str(STORAGE / "containers.conf")}


def make_base() -> None:
    """Make the image of a small Debian, if it is not there."""
    STORAGE.mkdir(mode=0o700, exist_ok=True)
    (STORAGE / "containers.conf").write_text(CONF)
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return
    root = STORAGE / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root],
        check=True, capture_output=True, timeout=900,
    )  # fmt: skip
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        podman("import", "-", BASE, stdin=tar.stdout, timeout=300)
    shutil.rmtree(root, ignore_errors=True)


def build_image() -> None:
    """Build the image of vagrant/Containerfile from this checkout."""
    volumes = [word for path in PIP_FILES if os.path.exists(path) for word in ("-v", f"{path}:{path}:ro")]
    podman(
        "build", "--isolation", "chroot", "--network", "host", *volumes, "--build-arg", f"BASE={BASE}",
        "-f", PROJECT / "vagrant" / "Containerfile", "-t", IMAGE, PROJECT, timeout=600,
    )  # fmt: skip


def with_checkout() -> list[str]:
    """Return options that show this checkout and its interpreter in a container, at the same places."""
    places = {sys.base_prefix, sys.prefix, str(PROJECT)} - {"/usr"}
    return [word for place in sorted(places) for word in ("-v", f"{place}:{place}:ro")]
