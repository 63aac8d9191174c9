"""Mounts in real containers: inside one, into many from a host, under systemd, and without any privilege."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount.kernel.mounting import MountRequest, mount_privileged
from artifactfs.mount.service.host import HostFiles, install
from tests.containers import podman as pods
from tests.containers.support import PROGRAMS, PROJECT, READER, Host, read_through_kills
from tests.mount.conftest import wait_until

pytestmark = [
    pytest.mark.containers,
    pytest.mark.mounted,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(pods.missing()), reason=pods.missing() or "-"),
]
CAP_SYS_RESOURCE = 24
MOUNTS = ("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN")
ORDINARY = "setpriv --reuid 1000 --regid 1000 --clear-groups"
SHOW = (
    "artifactfs mount -q /mnt/artifacts && cat /mnt/artifacts/animals/v0/README && artifactfs umount -q /mnt/artifacts"
)


def holds_capability(number: int) -> bool:
    """Return whether this machine lets its root do something; a container cannot do more."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> number & 1)


@pytest.fixture(scope="module")
def base() -> str:
    pods.make_base()
    return pods.BASE


@pytest.fixture(scope="module")
def image(base: str) -> str:
    pods.build_image()
    return pods.IMAGE


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Return a list; the containers that it names in the end are removed."""
    found: list[str] = []
    yield found
    for name in found:
        pods.podman("rm", "-f", "-t", "0", name, check=False)


@pytest.fixture
def shared(host: Host, tmp_path: Path) -> Iterator[Path]:
    """Return a shared directory in which something can be mounted on `artifacts`."""
    above = tmp_path / "shared"
    (above / "artifacts").mkdir(parents=True)
    for folder in (above, *above.parents):
        with contextlib.suppress(PermissionError):
            if folder.is_relative_to("/tmp/pytest-of-root"):
                folder.chmod(0o711)
    subprocess.run(["mount", "--bind", above, above], check=True)
    subprocess.run(["mount", "--make-shared", above], check=True)
    yield above
    subprocess.run(["umount", "-l", "-R", above], check=False)


@pytest.mark.parametrize("become", ["", f"{ORDINARY} env HOME=/home/trainer", f"{ORDINARY} env HOME=/tmp unshare -Urm"])
def test_a_container_mounts_by_itself(image: str, host: Host, become: str) -> None:
    subprocess.run(["chmod", "-R", "a+rX", host.folders.repository], check=True)
    # Debian lets everybody open the device; here it can be root's alone.
    script = f"chmod 666 /dev/fuse; exec {become} sh -c '{SHOW}'"
    repository = f"{host.folders.repository}:/repository"
    done = pods.podman("run", "--rm", "--init", *MOUNTS, "-v", repository, "--entrypoint", "sh", image, "-c", script)
    assert "hello" in done.stdout.splitlines()


def test_a_container_without_privilege_serves_a_descriptor(
    image: str, host: Host, shared: Path, names: list[str]
) -> None:
    place = shared / "artifacts"
    descriptor = mount_privileged(MountRequest(str(place), allow_other=True))
    name = f"afs-{secrets.token_hex(4)}"
    names.append(name)
    code = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execvpe(sys.argv[2], sys.argv[2:], os.environ)"
    subprocess.run(["chmod", "-R", "a+rX", host.folders.repository], check=True)
    words = [
        "run", "--name", name, "--preserve-fds", "1", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--user", "54321:54321", "--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp",
        "--env", "ARTIFACTFS_RUNTIME=/tmp/run", "-v", f"{host.folders.repository}:/repository:ro",
        image, "mount", "--foreground", "--fd", "3", "/mnt/artifacts",
    ]  # fmt: skip
    with open(host.top / "fd.log", "wb") as log:
        host.start(
            sys.executable, "-c", code, str(descriptor), *pods.command(*words),
            env=pods.environment(), pass_fds=[descriptor], stdout=log, stderr=log,
        )  # fmt: skip
    os.close(descriptor)
    done = subprocess.run(["cat", place / "animals" / "v0" / "README"], capture_output=True, timeout=60, check=False)
    assert done.stdout == b"hello\n", (host.top / "fd.log").read_text()


def test_containers_read_while_everything_is_killed(base: str, host: Host, shared: Path, names: list[str]) -> None:
    name = f"afs-{secrets.token_hex(4)}"
    names.append(name)
    # The container is first, with a read-only root, an arbitrary user and little memory.
    pods.podman(
        "run", "-d", "--name", name, "--read-only", "--user", "54321:54321", "--cap-drop", "ALL", "--memory", "128m",
        "-v", f"{shared}:/mnt:ro,rslave", base, "sleep", "600",
    )  # fmt: skip
    read_through_kills(host, shared, pods.command("exec", name), env=pods.environment())


def test_a_pod_reads_while_everything_is_killed(base: str, host: Host, shared: Path, tmp_path: Path) -> None:
    manifest = (PROJECT / "docs" / "kubernetes" / "pod-with-host-mount.yaml").read_text()
    name = f"afs-{secrets.token_hex(4)}"
    changes = {
        r"name: train-with-host-mount": f"name: {name}",
        r"image: .*": f"image: {base}:latest",
        r"command: .*": 'command: ["/bin/sleep", "600"]',
        r"path: /srv/artifactfs": f"path: {shared}",
    }
    for old, new in changes.items():
        manifest, count = re.subn(old, new, manifest)
        assert count == 1
    (tmp_path / "pod.yaml").write_text(manifest)
    try:
        pods.podman("play", "kube", "--network", "none", tmp_path / "pod.yaml", timeout=300)
        read_through_kills(
            host, shared, pods.command("exec", "--env", "PATH=/usr/bin", f"{name}-train"), env=pods.environment()
        )
    finally:
        pods.podman("play", "kube", "--down", tmp_path / "pod.yaml", check=False)


def test_systemd_keeps_the_mount_through_kills_and_restarts(
    base: str, host: Host, tmp_path: Path, names: list[str]
) -> None:
    name = f"afs-{secrets.token_hex(4)}"
    names.append(name)
    root = tmp_path / "files"
    install(HostFiles(str(root), str(PROGRAMS)))
    settings = root / "srv-artifactfs-artifacts.env"
    settings.write_text("ARTIFACTFS_REPO=/repository\n")
    unit = "artifactfs@srv-artifactfs-artifacts.service"
    pods.podman(
        "run", "-d", "--name", name, "--systemd=always", "--privileged", *pods.with_checkout(),
        "-v", f"{host.folders.repository}:/repository",
        "-v", f"{root}/etc/systemd/system/artifactfs@.service:/etc/systemd/system/artifactfs@.service:ro",
        "-v", f"{settings}:/etc/artifactfs/{settings.name}:ro", base, "/lib/systemd/systemd",
    )  # fmt: skip

    def run(*words: str, check: bool = True) -> str:
        return pods.podman("exec", name, *words, check=check).stdout

    def main_pid() -> str:
        return run("systemctl", "show", "-p", "MainPID", "--value", unit).strip()

    wait_until(
        lambda: run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"), seconds=60
    )
    run("systemctl", "start", unit)
    place = "/srv/artifactfs/artifacts"
    assert run("cat", f"{place}/animals/v0/README") == "hello\n"
    device = run("stat", "-c", "%d", place)
    words = ["exec", name, "python3", "-c", READER, f"{place}/animals/v0/images/cat.png", "/tmp/stop"]
    reader = host.start(*pods.command(*words), env=pods.environment(), stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    pid = main_pid()
    run("kill", "-9", pid)
    wait_until(lambda: main_pid() not in ("0", pid), seconds=30)
    run("systemctl", "restart", unit)
    run("systemctl", "reload", unit)
    run("touch", "/tmp/stop")
    reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert run("stat", "-c", "%d", place) == device
    if holds_capability(CAP_SYS_RESOURCE):
        assert run("cat", f"/proc/{main_pid()}/oom_score_adj") == "-900\n"
    run("systemctl", "stop", unit)
    assert run("ls", place) == ""
