"""A plain directory through a real mount: everything reads as it is, and the kernel asks no more than it must."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Server
from .support import forget, resident
from .waiting import wait_until

pytestmark = pytest.mark.mounted
Serve = Callable[..., Server]


def slurp(path: bytes | Path) -> bytes:
    """Return a file's bytes by open, read and close alone: Python's `open` before 3.14 also asks for a terminal."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while data := os.read(descriptor, 1 << 20):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_everything(path: Path) -> None:
    for folder, _, names in os.walk(os.fsencode(path)):
        for name in names:
            place = folder + b"/" + name
            if not os.path.islink(place):
                slurp(place)


def test_everything_reads_as_it_is(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    subprocess.run(["diff", "-r", "--no-dereference", tree, server.path], check=True)
    for place in ("cat.txt", "images", "run.sh", "nothing", "link"):
        real, seen = os.lstat(tree / place), os.lstat(server.path / place)
        assert (real.st_mode, real.st_mtime_ns) == (seen.st_mode, seen.st_mtime_ns)
        if not stat.S_ISDIR(real.st_mode):
            assert real.st_size == seen.st_size
    assert os.readlink(server.path / "broken") == "no/where"
    assert subprocess.run([server.path / "run.sh"], capture_output=True, check=True).stdout == b"ran\n"
    names = os.listdir(os.fsencode(server.path) + b"/not-utf8-\xff")
    assert names == [b"n" * 255]


def test_mapped(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    descriptor = os.open(server.path / "images/large.bin", os.O_RDONLY)
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
        os.close(descriptor)
        assert mapped[:] == (tree / "images/large.bin").read_bytes()


def test_nothing_can_be_changed(serve: Serve, tree: Path) -> None:
    path = serve(tree).path
    attempts: list[Callable[[], object]] = [
        lambda: (path / "new").write_bytes(b""),
        lambda: (path / "cat.txt").write_bytes(b""),
        (path / "cat.txt").unlink,
        (path / "d").mkdir,
        lambda: (path / "cat.txt").rename(path / "dog.txt"),
        lambda: os.chmod(path / "cat.txt", 0o600),
        lambda: os.utime(path / "cat.txt"),
        lambda: os.truncate(path / "cat.txt", 1),
        lambda: os.setxattr(path / "cat.txt", "user.x", b""),
        lambda: os.link(path / "cat.txt", path / "other"),
        lambda: os.symlink("x", path / "other"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS


def test_attributes_and_space(serve: Serve, tree: Path) -> None:
    path = serve(tree).path
    assert os.listxattr(path) == ["user.artifactfs.digest"]
    assert os.getxattr(path, "user.artifactfs.digest") == b"1"
    with pytest.raises(OSError, match="No data"):
        os.getxattr(path, "user.other")
    assert os.statvfs(path).f_blocks == 1000


def test_a_second_walk_and_read_ask_nothing(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--debug")
    read_everything(server.path)
    subprocess.run(["find", server.path, "-ls"], check=True, capture_output=True)
    before = server.asked()
    assert before["READDIRPLUS"] == 8  # four directories: content, and the end
    read_everything(server.path)
    subprocess.run(["find", server.path, "-size", "+1"], check=True, capture_output=True)
    assert server.asked() == before


def test_opening_with_a_buffer_of_no_size_asks_for_a_terminal(serve: Serve, tmp_path: Path) -> None:
    """The kernel asks an ioctl each time, whatever was answered: docs/training.md says how not to ask it."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_bytes(b"x" * 100)
    server = serve(tmp_path / "one", "--debug")
    path = server.path / "file"
    slurp(path)
    before = server.asked()
    for buffering in (0, 1 << 16):
        with open(path, "rb", buffering=buffering) as file:
            assert file.read() == b"x" * 100
    assert server.asked() == before
    with open(path, "rb") as descriptor, pytest.raises(termios.error):
        termios.tcgetattr(descriptor)
    asked = server.asked()["IOCTL"]
    assert asked == (2 if sys.version_info < (3, 14) else 1)


def test_a_directory_of_1000_files_costs_a_handful(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(1000):
        (root / f"image-{number:06d}.jpg").write_bytes(b"x" * 100)
    server = serve(root, "--debug")
    assert len([entry.stat().st_size for entry in os.scandir(server.path)]) == 1000
    assert server.asked() == {"GETATTR": 1, "OPENDIR": 1, "READDIRPLUS": 7}


@pytest.mark.parametrize("size", [1, 4096, 16384, 65536, 128 << 10])
def test_a_small_file_costs_one_read(serve: Serve, tmp_path: Path, size: int) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(size))
    (root / "other").write_bytes(b"x")
    server = serve(root, "--debug")
    slurp(server.path / "other")  # the first open and close of a mount are asked for, once
    before = server.asked()
    assert slurp(server.path / "file") == (root / "file").read_bytes()
    after = server.asked()
    assert {kind: count - before.get(kind, 0) for kind, count in after.items() if count != before.get(kind, 0)} == {
        "LOOKUP": 1,
        "READ": 1,
    }


def test_a_name_that_does_not_exist_is_asked_for_once(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--debug")
    for _ in range(5):
        assert not (server.path / "no").exists()
    assert server.asked()["LOOKUP"] == 1


def test_a_large_file_comes_in_requests_of_1_mib(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(32 << 20))
    server = serve(root, "--debug")
    assert slurp(server.path / "file") == (root / "file").read_bytes()
    reads = server.asked()["READ"]
    assert reads <= (44 if os.getuid() == 0 else 300)


def test_links_are_kept(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--debug")
    for _ in range(5):
        assert os.readlink(server.path / "link") == "images/large.bin"
    assert server.asked()["READLINK"] == 1


def test_a_file_that_vanished_is_an_error_in_the_log(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    assert (server.path / "cat.txt").stat().st_size == 6000
    (tree / "cat.txt").rename(tree / "gone")
    (tree / "cat.txt").mkdir()
    with pytest.raises(OSError, match="directory"):
        (server.path / "cat.txt").read_bytes()
    wait_until(lambda: "READ of node" in server.logged())


def test_unmounting_ends_the_server(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    subprocess.run(["umount", server.path], check=True)
    assert server.process.wait(timeout=10) == 0
    assert "Traceback" not in server.logged()


def test_sigterm_ends_workers(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    wait_until(lambda: len(server.workers()) == 2)
    workers = server.workers()
    server.close()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert server.process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize("is_cached", [False, True], ids=["cold", "stored just now"])
def test_a_large_file_is_not_cached_twice(serve: Serve, tmp_path: Path, workers: str, *, is_cached: bool) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(64 << 20))
    kind = subprocess.run(["stat", "-f", "-c", "%T", root], capture_output=True, text=True, check=True).stdout.strip()
    if kind in {"tmpfs", "ramfs"}:
        pytest.skip(f"files on {kind} are nowhere but in memory")
    os.sync()  # what is dirty cannot be dropped
    if not is_cached:
        forget(root / "file")
    server = serve(root, "--workers", workers)
    assert len(slurp(server.path / "file")) == 64 << 20
    assert resident(root / "file") <= 16 << 20


@pytest.mark.skipif(os.getuid() != 0, reason="raising read-ahead needs root")
def test_read_ahead_is_raised(serve: Serve, tree: Path) -> None:
    device = os.stat(serve(tree).path).st_dev
    knob = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    assert knob.read_text().strip() == "4096"
