"""What a worker does before its first request, and how it says that it is not stuck."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.mount.kernel import backings, serving, shared
from artifactfs.mount.kernel.contents import KEPT_COUNT, Contents
from artifactfs.mount.kernel.shared import create_counters

from .conftest import Server
from .support import forget, slurp
from .waiting import wait_until


class Unverified:
    """A file that is verified piece by piece."""

    def __init__(self, chunks: int) -> None:
        self.size = chunks * CHUNK_SIZE
        self.left = chunks
        self.file = os.memfd_create("content")
        os.truncate(self.file, self.size)

    def extent(self) -> tuple[int, int] | None:
        return None if self.left else (self.file, 0)

    def read_at(self, offset: int, size: int) -> bytes:
        self.left -= 1
        return os.pread(self.file, size, offset)

    def close(self) -> None:
        os.close(self.file)


def test_whoever_verifies_a_large_file_is_not_stuck() -> None:
    """Verifying it takes as long as it takes: a worker that is replaced for it begins anew, and so does the next."""
    row, content = create_counters().row(0), Unverified(3)
    seen = []

    def note() -> None:
        row[shared.BUSY_SINCE] = 1
        serving.get_on(row)
        seen.append(time.monotonic_ns() - row[shared.BUSY_SINCE])

    assert backings._find_verified(content, note) == content.file
    assert len(seen) == 3
    assert max(seen) < 10**9
    assert backings._find_verified(content, note) == content.file
    assert len(seen) == 3
    content.close()


def test_without_the_device_workers_share_one_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(serving, "clone_device", refuse)
    assert serving.own_queue(7) == 7
    assert "/dev/fuse cannot be opened (No such file or directory)" in caplog.text


class Opened(Unverified):
    """A verified file that notes whether it is open."""

    def __init__(self) -> None:
        super().__init__(1)
        self.left = 0
        self.is_open = True

    def close(self) -> None:
        assert self.is_open
        self.is_open = False
        super().close()


class Files:
    """A source of such files."""

    def __init__(self) -> None:
        self.opened: list[Opened] = []

    def open_content(self, node: int) -> Opened:
        self.opened.append(Opened())
        return self.opened[-1]


def test_files_that_are_not_read_for_a_while_are_closed() -> None:
    files, into = Files(), memoryview(bytearray(4096))
    contents = Contents(files)  # type: ignore[arg-type]  # only content is asked for
    for node in (1, 2):
        contents.read(node, into, offset=0)
    contents.close_idle()
    assert [file.is_open for file in files.opened] == [True, True]
    contents.read(2, into, offset=4096)
    contents.close_idle()
    assert [file.is_open for file in files.opened] == [False, True]
    contents.close_idle()
    assert contents.read(1, into, offset=0) == 4096
    assert [file.is_open for file in files.opened] == [False, False, True]
    for node in range(3, 1000):
        contents.read(node, into, offset=0)
    assert len(contents._read) <= KEPT_COUNT + 1, "it does not grow with the number of files"
    contents.close()
    assert not any(file.is_open for file in files.opened)


def names_open_in(pid: int) -> set[str]:
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.add(os.path.basename(os.readlink(f"/proc/{pid}/fd/{number}")))
    return found


@pytest.mark.mounted
def test_a_worker_closes_what_is_idle_now_and_then(serve: Callable[..., Server], tree: Path) -> None:
    server = serve(tree, "--workers", "1")
    (worker,) = server.workers()
    for _ in range(2):
        assert slurp(server.path / "images/large.bin") == (tree / "images/large.bin").read_bytes()
        forget(server.path / "images/large.bin")
    assert "large.bin" in names_open_in(worker)

    def tell() -> bool:
        os.kill(worker, signal.SIGALRM)  # as its timer does
        return "large.bin" not in names_open_in(worker)

    wait_until(tell, what="the file to be closed")
    assert slurp(server.path / "images/large.bin") == (tree / "images/large.bin").read_bytes()
    assert server.workers() == [worker]
