"""The metrics of a mount without a mount: what a port or a file that is in the way does to the supervisor."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from artifactfs.mount.kernel import asking, metrics
from artifactfs.mount.kernel.backing_table import create_backings
from artifactfs.mount.kernel.metrics import CONNECTION_LIMIT, MetricsWriter
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.serving import Mounted
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.shared import create_counters
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.kernel.supervisor import Supervisor

MOUNTPOINT = "/nowhere"


class Stepped(Supervisor):
    """A supervisor without children, which does what is due when it is told to."""

    def __init__(self, mountpoint: str = MOUNTPOINT) -> None:
        settings = ServeSettings(mountpoint, SourceSpec("none", {}), 1)
        super().__init__(Mounted(settings, Negotiated(45, 0, 0, 0, 256), -1, create_counters(), create_backings()))

    def step(self) -> None:
        for key, _ in self._selector.select(0.05):
            key.data()
        for tick in self._ticks:
            tick()


@pytest.fixture
def begin() -> Iterator[Callable[..., Stepped]]:
    writers: list[MetricsWriter] = []

    def start(target: str, supervisor: Stepped | None = None) -> Stepped:
        stepped = supervisor or Stepped()
        writers.append(MetricsWriter(stepped, target))
        writers[-1].start()
        return stepped

    yield start
    for writer in writers:
        writer.close()


def address() -> tuple[str, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return "127.0.0.1", port


def scrape(supervisor: Stepped, place: tuple[str, int], request: bytes = b"GET /metrics HTTP/1.0\r\n\r\n") -> bytes:
    """Return the answer, in which time the supervisor takes a few steps."""
    with socket.create_connection(place, timeout=5) as client:
        client.sendall(request)
        for _ in range(5):
            supervisor.step()
        client.settimeout(5)
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
    return answer


def test_a_mount_point_that_is_not_utf8_is_escaped(begin: Callable[..., Stepped], tmp_path: Path) -> None:
    begin(str(tmp_path / "m.prom"), Stepped('/m\udcff"\né'))
    assert r'mountpoint="/m\\xff\"\né"' in (tmp_path / "m.prom").read_text(encoding="utf-8")


def test_a_port_that_is_taken_ends_nothing_and_is_tried_again(
    begin: Callable[..., Stepped], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = address()
    now = 100.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    with socket.socket() as other:
        other.bind(place)
        other.listen()
        supervisor = begin(f"127.0.0.1:{place[1]}")
        for _ in range(3):
            now += 1.5
            supervisor.step()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Address already in use" in caplog.text
    now += 1.5
    supervisor.step()
    assert b"artifactfs_workers" in scrape(supervisor, place)


def test_clients_who_say_nothing_hold_nobody_up(begin: Callable[..., Stepped]) -> None:
    place = address()
    supervisor = begin(f"127.0.0.1:{place[1]}")
    idle = []
    for _ in range(CONNECTION_LIMIT + 3):
        idle.append(socket.create_connection(place, timeout=5))
        start = time.monotonic()
        supervisor._selector.select(1)[0][0].data()
        assert time.monotonic() - start < 0.1
    assert b"artifactfs_workers" in scrape(supervisor, place)
    idle[0].settimeout(5)
    assert idle[0].recv(1) == b""  # the oldest was sent away
    for one in idle:
        one.close()


def test_a_client_who_says_nothing_is_sent_away_after_a_while(
    begin: Callable[..., Stepped], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = address()
    supervisor = begin(f"127.0.0.1:{place[1]}")
    with socket.create_connection(place, timeout=5) as client:
        client.sendall(b"GET /me")
        supervisor.step()
        supervisor.step()
        later = time.monotonic() + metrics.PATIENCE_SECONDS + 1
        monkeypatch.setattr(metrics.time, "monotonic", lambda: later)
        supervisor.step()
        assert client.recv(1) == b""


def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(
    begin: Callable[..., Stepped], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    target = tmp_path / "later" / "metrics.prom"
    supervisor = begin(str(target))
    now += 1.5
    supervisor.step()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    target.parent.mkdir()
    now += 1.5
    supervisor.step()
    assert "artifactfs_workers" in target.read_text()


def test_children_have_none_of_the_sockets(begin: Callable[..., Stepped]) -> None:
    """One would keep the port taken while the program is replaced."""
    place = address()
    supervisor = begin(f"127.0.0.1:{place[1]}")
    ours, theirs = socket.socketpair()

    def wait() -> int:
        theirs.send(b"begun")
        return len(theirs.recv(1))

    with ours, theirs:
        supervisor._fork_child("waits", wait)
        ours.recv(5)
        for key in list(supervisor._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=5)
        ours.send(b"x")
    supervisor._selector = selectors.DefaultSelector()


def test_a_server_that_ended_while_it_was_replaced_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None: ...

        def ask(self, what: str) -> dict[str, dict[str, int]]:
            return {"figures": {"upgrades": 0}} if what == "figures" else {}

    class Info:
        mountpoint, log = MOUNTPOINT, "/log"

    monkeypatch.setattr(asking, "_get_info", lambda *_: Info())
    monkeypatch.setattr(asking, "_connect", lambda _: Client())
    monkeypatch.setattr(asking, "find_figures", lambda _: None)
    monkeypatch.setattr(asking, "slot_for", lambda *_: None)
    monkeypatch.setattr(asking, "is_served", lambda _: False)
    with pytest.raises(asking.MountError, match="nothing is mounted there any more"):
        asking.upgrade_mount(None, MOUNTPOINT)  # type: ignore[arg-type]  # nobody looks at it


def test_what_is_asked_of_a_supervisor_does_not_end_it_by_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    Stepped()._call(fail)
    assert "unexpected" in caplog.text
