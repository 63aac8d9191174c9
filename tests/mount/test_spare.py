"""Servers that are made ahead of their order: what they serve, where they speak, and that none is left over."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.forker import FORKER, start_forker
from artifactfs.mount.options import MountOptions
from artifactfs.mount.orders import LOWER, REPOSITORY, STAGING, Order
from artifactfs.mount.spare import SPARE, Spare, fork_spare, start_spare
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import StagingArea
from tests.mount.conftest import Folders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts need Linux")

_SECONDS = 30


def test_a_spare_server_serves_the_order_that_it_is_given(tmp_path: Path) -> None:
    """The order arrives whole, with names that are not UTF-8, and what it says goes into the log."""
    order = _order(mountpoint=os.fsdecode(b"/m\xff"), artifact="a:v1")
    log = tmp_path / "log"
    found = _in_a_process(_take_and_read(order, str(log)))
    assert found == [repr(order.mountpoint), "a:v1", "left its parent"]
    assert "said something" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_spare_server_without_an_order_ends() -> None:
    """It ends when its maker lets go of it, by `close` or by dying."""
    assert _in_a_process(_close_and_await_the_end) == ["ended"]


def test_a_spare_server_that_cannot_start_is_not_waited_for(tmp_path: Path) -> None:
    """Whoever wants it is told that it is gone, and starts a fresh process."""
    assert _in_a_process(_take_from_a_dead_one(str(tmp_path / "log"))) == ["None", "None"]


@pytest.mark.mounted
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_takes_the_server_that_was_started_ahead(
    folders: Folders, repository: Repository, mountpoint: Path, transport: str
) -> None:
    """It serves as any other does, has left its starter, and a second order needs a process of its own."""
    options = MountOptions(transport=transport)
    other = mountpoint.with_name("other")
    other.mkdir()
    with start_spare(REPOSITORY) as spare:
        first = api.mount(folders, str(mountpoint), options=options, spare=spare)
        second = api.mount(folders, str(other), options=options, spare=spare)
    assert [SPARE.encode() in _command_line(info.pid) for info in (first, second)] == [True, False]
    assert [os.listdir(Path(info.mountpoint, "animals")) for info in (first, second)] == [["latest", "v0"]] * 2
    assert os.getsid(first.pid) != os.getsid(0)
    assert f"mounted {first.mountpoint}" in Path(first.log).read_text()


@pytest.mark.mounted
def test_a_staging_directory_takes_the_server_that_was_started_ahead(
    folders: Folders, repository: Repository, mountpoint: Path
) -> None:
    """It is written through it, by whichever driver is used here."""
    api.mount(folders, str(mountpoint), options=MountOptions())
    staging = StagingArea(repository).create("animals", version=repository.get_collection("animals").versions[0])
    with start_spare(STAGING) as spare:
        path = Path(api.attach_staging(folders, repository, staging=staging, spare=spare) or "")
    (path / "README").write_text("changed\n")
    assert (path / "README").read_text() == "changed\n"
    served = [info for info in api.iter_mounts(folders) if info.kind == STAGING]
    assert [SPARE.encode() in _command_line(info.pid) for info in served] == [True]


@pytest.mark.mounted
def test_a_forker_makes_a_server_for_each_order(folders: Folders, repository: Repository, mountpoint: Path) -> None:
    """They are not its children, have sessions of their own, and go on when it ends."""
    other = mountpoint.with_name("other")
    other.mkdir()
    forker = start_forker(REPOSITORY)
    options = MountOptions()
    infos = [api.mount(folders, str(place), options=options, spare=forker) for place in (mountpoint, other)]
    forker.close()
    assert not forker.is_waiting
    assert [FORKER.encode() in _command_line(info.pid) for info in infos] == [True, True]
    assert len({os.getsid(0), *(os.getsid(info.pid) for info in infos)}) == 3
    assert [os.listdir(Path(info.mountpoint, "animals")) for info in infos] == [["latest", "v0"]] * 2


def test_a_forker_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    """Whoever wants a server is told, and starts a fresh process."""
    forker = start_forker(STAGING)
    forker.close()
    assert forker.take(_order(), log=str(tmp_path / "log")) is None


def test_a_server_that_was_started_ahead_ends_when_it_is_not_taken() -> None:
    """Neither it nor the process that started it is left over."""
    with start_spare(REPOSITORY) as spare:
        watch = os.dup(spare._ready)
    with os.fdopen(watch, "rb") as pipe:
        assert select.select([pipe], [], [], _SECONDS)[0]
        assert pipe.read() == b""


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _order(*, mountpoint: str = "/m", artifact: str | None = None) -> Order:
    return Order(
        kind=LOWER, mountpoint=mountpoint, repository="/r", state="/s", cache="/c", runtime="/t", artifact=artifact
    )


def _in_a_process(steps: Callable[[], list[str]]) -> list[str]:
    """Return what `steps` returns in a forked child: the tests' own process may have threads and lasting pipes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, "\n".join(steps()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert select.select([pipe], [], [], _SECONDS)[0]
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text.splitlines()


def _take_and_read(order: Order, log: str) -> Callable[[], list[str]]:
    def serve(told: Order) -> int:
        assert told.ready_descriptor is not None
        subprocess.run(["sh", "-c", "echo said something >&2"], check=True)
        parent = "left its parent" if os.getsid(0) != os.getsid(maker) else "is in its parent's session"
        os.write(told.ready_descriptor, f"{told.mountpoint!r}\n{told.artifact}\n{parent}".encode())
        return 0

    maker = os.getpid()

    def steps() -> list[str]:
        spare = fork_spare(_order(), load=_load_nothing, serve=serve)
        ready = spare.take(order, log=log)
        assert ready is not None
        with os.fdopen(ready, "rb") as pipe:
            return pipe.read().decode().splitlines()

    return steps


def _close_and_await_the_end() -> list[str]:
    watch, held = os.pipe()
    spare = fork_spare(_order(), load=_load_nothing, serve=_serve_nothing)
    os.close(held)  # now the spare server alone has it
    spare.close()
    return ["ended" if select.select([watch], [], [], _SECONDS)[0] and not os.read(watch, 1) else "lives"]


def _take_from_a_dead_one(log: str) -> Callable[[], list[str]]:
    def fail() -> None:
        os._exit(1)

    def steps() -> list[str]:
        spare = fork_spare(_order(), load=fail, serve=_serve_nothing)
        _await_death(spare)
        return [repr(spare.take(_order(), log=log)), repr(spare.take(_order(), log=log))]

    return steps


def _await_death(spare: Spare) -> None:
    # An ending process closes one after the other, in no certain order.
    for descriptor in (spare._ready, spare._orders):
        poll = select.poll()
        poll.register(descriptor, 0)
        assert poll.poll(_SECONDS * 1000)


def _load_nothing() -> None:
    """Import nothing."""


def _serve_nothing(order: Order) -> int:
    del order
    return 0
