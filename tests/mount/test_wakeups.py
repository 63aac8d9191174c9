"""Quick wake-ups are asked for while requests come fast, and given up when they end."""

import itertools
import os
import struct
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountOptions
from artifactfs.mount.wakeups import DEVICE, Wakeups, should_hasten, wakes_slowly
from artifactfs.repository.repository import Repository
from tests.mount.conftest import Folders, put, wait_until


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def holders(path: Path) -> int:
    """Return how many descriptors of this process are open on a file."""
    return sum(os.path.realpath(f"/proc/self/fd/{number}") == str(path) for number in os.listdir("/proc/self/fd"))


def burst(wakeups: Wakeups) -> None:
    for _ in range(64):
        wakeups.note()


def test_a_burst_of_requests_opens_the_device_and_its_end_closes_it(device: Path) -> None:
    wakeups = Wakeups(hasten=True, device=str(device))
    burst(wakeups)
    wait_until(lambda: holders(device) == 1)
    wait_until(lambda: holders(device) == 0)
    assert struct.unpack("=i", device.read_bytes())[0] in {0, 2}


def test_a_second_burst_opens_it_again(device: Path) -> None:
    wakeups = Wakeups(hasten=True, device=str(device))
    burst(wakeups)
    wait_until(lambda: holders(device) == 1)
    wait_until(lambda: holders(device) == 0)
    burst(wakeups)
    wait_until(lambda: holders(device) == 1)


def test_the_wish_stands_as_long_as_requests_come(device: Path) -> None:
    wakeups = Wakeups(hasten=True, device=str(device))
    burst(wakeups)
    wait_until(lambda: holders(device) == 1)
    seen: set[int] = set()

    def look() -> bool:
        burst(wakeups)
        seen.add(holders(device))
        return False

    with pytest.raises(AssertionError):
        wait_until(look, seconds=0.5)
    assert seen == {1}


def test_single_requests_do_not_open_it(device: Path) -> None:
    wakeups = Wakeups(hasten=True, device=str(device))
    for _ in range(63):
        wakeups.note()
    assert holders(device) == 0


def test_off_does_nothing(device: Path) -> None:
    wakeups = Wakeups(hasten=False, device=str(device))
    burst(wakeups)
    assert device.read_bytes() == b""


def test_a_device_that_cannot_be_opened_is_tried_once_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wakeups = Wakeups(hasten=True, device=str(tmp_path / "missing"))
    burst(wakeups)
    wait_until(lambda: "quick wake-ups cannot be asked for" in caplog.text)
    burst(wakeups)
    assert caplog.text.count("quick wake-ups") == 1


@pytest.mark.parametrize(
    ("driver", "poll", "slow"),
    [("haltpoll\n", "0\n", True), ("haltpoll\n", "200000\n", False), ("intel_idle\n", "0\n", False), ("", "x", False)],
)
def test_only_guests_that_halt_at_once_wake_slowly(tmp_path: Path, *, driver: str, poll: str, slow: bool) -> None:
    (tmp_path / "driver").write_text(driver)
    (tmp_path / "poll").write_text(poll)
    assert wakes_slowly(str(tmp_path / "driver"), str(tmp_path / "poll")) is slow
    assert not wakes_slowly(str(tmp_path / "missing"), str(tmp_path / "poll"))


@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_user_says_decides(*, wanted: bool) -> None:
    assert should_hasten(wanted) is wanted


@pytest.mark.mounted
@pytest.mark.skipif(not os.access(DEVICE, os.W_OK), reason=f"{DEVICE} may not be written to")
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_busy_mount_asks_and_an_idle_one_does_not(
    folders: Folders, repository: Repository, mountpoint: Path, tmp_path: Path, *, transport: str
) -> None:
    tree = tmp_path / "many"
    tree.mkdir()
    for number in range(2000):
        (tree / str(number)).write_text(str(number))
    put(repository, tree)
    workers = 1 if transport == "kernel" else 0
    options = MountOptions(artifact="animals", transport=transport, quick_wakeups=True, workers=workers)
    info = api.mount(folders, str(mountpoint), options=options)
    assert not asks(info.pid)
    names = iter(range(2000))

    def read_some() -> bool:
        for number in itertools.islice(names, 200):
            assert (mountpoint / str(number)).read_text() == str(number)
        return asks(info.pid)

    wait_until(read_some)
    wait_until(lambda: not asks(info.pid))


def asks(pid: int) -> bool:
    """Return whether a server or a child of it holds the device."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(
        os.path.realpath(entry) == DEVICE
        for number in (str(pid), *children)
        for entry in Path(f"/proc/{number}/fd").iterdir()
    )
