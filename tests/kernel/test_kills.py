"""Workers are killed while programs use the mount: no failed read, no wrong byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Server
from .killing import clients, drop_caches, kill, needs_resend
from .slow_disk import slow_disk, why_not
from .waiting import wait_until

pytestmark = pytest.mark.mounted
Serve = Callable[..., Server]


@needs_resend
@pytest.mark.parametrize("all_at_once", [False, True], ids=["one", "all"])
def test_killed_workers_are_not_noticed(serve: Serve, forest: Path, tmp_path: Path, all_at_once: bool) -> None:
    server = serve(forest)
    with clients(server.path, forest, tmp_path):
        kill(server.workers, count=40, all_at_once=all_at_once, pause=0.02, between=lambda: None)
    assert server.process.poll() is None
    assert "Traceback" not in server.logged()


@needs_resend
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("all_at_once", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_a_thousand_kills(serve: Serve, forest: Path, tmp_path: Path, all_at_once: bool, cold: bool) -> None:
    if cold and os.getuid():
        pytest.skip("dropping caches needs root")
    server = serve(forest)
    with clients(server.path, forest, tmp_path):
        between = drop_caches if cold else lambda: None
        kill(server.workers, count=500, all_at_once=all_at_once, pause=0.03, between=between)
    assert server.logged().count("killed by SIGKILL") >= 500
    assert server.process.poll() is None
    assert "Traceback" not in server.logged()


@needs_resend
@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.timeout(900)
@pytest.mark.parametrize("all_at_once", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("count", [8, pytest.param(500, marks=pytest.mark.slow)])
def test_killed_workers_on_a_slow_cold_disk(
    serve: Serve, forest: Path, tmp_path: Path, all_at_once: bool, count: int
) -> None:
    with slow_disk(tmp_path) as disk:
        shutil.copytree(forest, disk.root / "forest", symlinks=True)
        os.sync()  # what is dirty cannot be dropped
        server = serve(disk.root / "forest")
        for pid in (server.pid, *server.workers()):
            disk.slow(pid)
        drop_caches()
        with clients(server.path, forest, tmp_path):
            kill(server.workers, count=count, all_at_once=all_at_once, pause=0.1, between=drop_caches)
        assert disk.was_read()
        assert server.process.poll() is None
        assert "Traceback" not in server.logged()
        server.close()


@needs_resend
def test_a_worker_that_is_told_to_stop_is_replaced(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    first = server.workers()
    os.kill(first[0], signal.SIGTERM)
    wait_until(lambda: len(server.workers()) == 2 and first[0] not in server.workers())
    assert (server.path / "cat.txt").read_bytes() == (tree / "cat.txt").read_bytes()


@needs_resend
def test_a_worker_that_is_stopped_while_idle_is_replaced(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--workers", "1")
    assert (server.path / "cat.txt").exists()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    asked = subprocess.run(["cat", server.path / "cat.txt"], capture_output=True, check=True, timeout=20)
    assert asked.stdout == (tree / "cat.txt").read_bytes()
    assert worker not in server.workers()
    assert f"process {worker} of row 0 is stopped; it is replaced" in server.logged()


def test_a_stuck_worker_is_reported_and_replaced(serve: Serve, tree: Path) -> None:
    server = serve(tree, "--stuck", "1", "--workers", "1")
    fifo = tree / "cat.txt"
    data = fifo.read_bytes()
    assert (server.path / "cat.txt").stat().st_size == len(data)
    fifo.unlink()
    os.mkfifo(fifo)  # opening it waits for a writer: the worker hangs in open(2)
    reader = subprocess.Popen(["cat", server.path / "cat.txt"], stdout=subprocess.PIPE)
    wait_until(lambda: "has worked for over" in server.logged(), what="a report")
    (tree / "whole").write_bytes(data)
    os.replace(tree / "whole", fifo)  # never an empty file: the next worker opens what it finds
    out, _ = reader.communicate(timeout=20)
    assert out == data
    assert "READ of node" in server.logged()


def test_workers_die_with_their_supervisor(serve: Serve, tree: Path) -> None:
    server = serve(tree)
    wait_until(lambda: len(server.workers()) == 2)
    workers = server.workers()
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    with pytest.raises(OSError, match="not connected"):
        os.stat(server.path)
    subprocess.run(["umount", server.path], check=True)
    again = Server(tree, server.path, log=server.log)
    assert (server.path / "cat.txt").read_bytes() == (tree / "cat.txt").read_bytes()
    again.close()


@needs_resend
def test_upgrading_under_load(serve: Serve, forest: Path, tmp_path: Path) -> None:
    server = serve(forest)
    with clients(server.path, forest, tmp_path):
        for _ in range(5):
            before = set(server.workers())
            server.process.send_signal(signal.SIGUSR2)
            wait_until(lambda old=before: len(set(server.workers()) - old) == 2 == len(server.workers()))
    assert server.process.poll() is None
    assert server.logged().count("goes on with the installed version") == 5


def test_a_descriptor_that_somebody_else_mounted(serve: Serve, tree: Path, tmp_path: Path) -> None:
    from artifactfs.mount.kernel.mounting import MountRequest, open_mount

    mountpoint = tmp_path / "mnt0"
    mountpoint.mkdir()
    descriptor = open_mount(MountRequest(str(mountpoint)))
    server = serve(tree, "--fd", str(descriptor), pass_fds=(descriptor,))
    os.close(descriptor)
    assert (server.path / "cat.txt").read_bytes() == (tree / "cat.txt").read_bytes()


def test_a_thousand_readers_at_once(serve: Serve, forest: Path) -> None:
    server = serve(forest)
    program = (
        "import sys,threading\n"
        "data=open(sys.argv[2],'rb').read(); wrong=[]\n"
        "def read():\n"
        "    if open(sys.argv[1],'rb').read()!=data: wrong.append(1)\n"
        "ts=[threading.Thread(target=read) for _ in range(1000)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]; sys.exit(len(wrong))\n"
    )
    place = "large.bin"
    subprocess.run([sys.executable, "-c", program, server.path / place, forest / place], check=True, timeout=100)
