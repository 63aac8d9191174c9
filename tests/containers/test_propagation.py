"""What a bind of the directory above a mount sees: start order, lost mounts, arbitrary users, read-only roots."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifactfs.mount.mountpoint import is_dead
from artifactfs.mount.sharing import is_shared
from tests.containers.support import RECOVERY_SECONDS, Host, kill
from tests.mount.conftest import wait_until

pytestmark = [pytest.mark.mounted, pytest.mark.usefixtures("private_namespaces")]

CONTAINER = """
set -eu
mount --make-rslave /
mkdir "$TOP/root"
mount -t tmpfs -o mode=755 none "$TOP/root"
cd "$TOP/root"
mkdir usr proc mnt dev
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$name"; done
mount --bind /usr usr
mount --bind /proc proc
mount --bind /dev dev
mount --rbind "$SHARED" mnt
mount --make-rslave mnt
mount -o remount,bind,ro .
exec chroot --userspec=54321:54321 . /bin/sh -c "$WHAT"
"""
"""A container as runtimes make one: its own root, read-only, an arbitrary user, a bind with `rslave`."""
WAIT = """
echo started
read line
while ! text=$(cat /mnt/artifacts/animals/v0/README 2>/dev/null); do sleep 0.05; done; echo "$text"
read line
while ! text=$(cat /mnt/artifacts/animals/v0/README 2>/dev/null); do sleep 0.05; done; echo "$text"
if touch /file 2>/dev/null; then echo writable; fi
"""
AGAIN = """
file=/mnt/artifacts/animals/v0/images/cat.png
echo started
while read line; do
    dd if=$file iflag=nocache count=0 status=none 2>/dev/null
    while ! text=$(sha256sum < $file 2>/dev/null); do sleep 0.02; done
    echo "$text"
done
"""
"""Reads a file, out of no cache, whenever it is told to."""


def start_container(host: Host, shared: Path, what: str, *, name: str) -> subprocess.Popen[str]:
    top = host.top / name
    top.mkdir()
    env = {**host.env, "TOP": str(top), "SHARED": str(shared), "WHAT": what}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return host.start("unshare", "-m", "--propagation", "slave", "sh", "-c", CONTAINER, **pipes, env=env)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "shared" / "artifacts"
    path.mkdir(parents=True)
    subprocess.run(["mount", "--bind", path.parent, path.parent], check=True)
    subprocess.run(["mount", "--make-shared", path.parent], check=True)
    yield path
    subprocess.run(["umount", "-l", "-R", path.parent], check=False)


def say(container: subprocess.Popen[str]) -> None:
    container.stdin.write("go on\n")
    container.stdin.flush()


def test_a_container_that_was_first_sees_the_mount_and_the_next_one(host: Host, place: Path) -> None:
    container = start_container(host, place.parent, WAIT, name="first")
    assert container.stdout.readline() == "started\n"
    host.run("mount", "--allow-other", place)
    say(container)
    assert container.stdout.readline() == "hello\n"
    kill(host.supervisor(place))
    wait_until(lambda: is_dead(str(place)))
    begun = time.monotonic()
    host.run("mount", "--allow-other", place)
    say(container)
    assert container.stdout.readline() == "hello\n"
    assert time.monotonic() - begun < 30
    assert container.communicate(timeout=30)[0] == ""  # its root cannot be written


@pytest.mark.slow
def test_a_bind_recovers_within_five_seconds(host: Host, place: Path) -> None:
    container = start_container(host, place.parent, AGAIN, name="again")
    assert container.stdout.readline() == "started\n"
    taken: list[float] = []

    def read_since(begun: float) -> str:
        say(container)
        line = container.stdout.readline()
        taken.append(time.monotonic() - begun)
        return line

    for _ in range(2):  # a mount is given up when six servers in a row lived less than ten seconds
        host.run("mount", "--allow-other", "--keep", place)
        before = read_since(time.monotonic())
        for _ in range(5):
            begun = time.monotonic()
            kill(host.supervisor(place))
            assert read_since(begun) == before
        host.run("umount", place)
    for _ in range(5):  # nobody keeps it: it is mounted again
        host.run("mount", "--allow-other", place)
        assert read_since(time.monotonic()) == before
        begun = time.monotonic()
        kill(host.supervisor(place))
        host.run("mount", "--allow-other", place)
        assert read_since(begun) == before
        host.run("umount", place)
    assert max(taken) < RECOVERY_SECONDS, taken


def test_a_hundred_containers_read_from_one_daemon(host: Host, place: Path) -> None:
    host.run("mount", "--allow-other", "--keep", place)
    what = "sha256sum < /mnt/artifacts/animals/v0/big; read line; cat /mnt/artifacts/animals/v0/README"
    containers = [start_container(host, place.parent, what, name=f"c{number}") for number in range(100)]
    sums = {container.stdout.readline() for container in containers}
    assert len(sums) == 1
    kill(host.supervisor(place))
    for container in containers:
        say(container)
    assert {container.communicate(timeout=60)[0] for container in containers} == {"hello\n"}
    assert all(container.returncode == 0 for container in containers)


def test_the_directory_above_becomes_shared(host: Host, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "mnt").mkdir(parents=True)
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent.parent.parent)!r})
from artifactfs.mount.sharing import is_shared, share_parent
assert not is_shared({str(above)!r})
share_parent({str(above / "mnt")!r})
assert is_shared({str(above)!r})
share_parent({str(above / "mnt")!r})
"""
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", script]
    subprocess.run(command, check=True, timeout=60)
    assert isinstance(is_shared("/"), bool)


def test_a_user_namespace_mounts_and_keeps_its_mount(host: Host, mountpoint: Path) -> None:
    script = """
set -eu
artifactfs mount --keep "$0"
cat "$0/animals/v0/README"
kill -9 "$(artifactfs mounts --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["mounts"][0]["pid"])')"
cat "$0/animals/v0/run.sh" | head -1
artifactfs umount "$0"
"""
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, mountpoint],
        env=host.env, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(f"user namespaces are not allowed here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["hello", "#!/bin/sh"]
