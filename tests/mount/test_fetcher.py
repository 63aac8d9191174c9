"""The fetcher of kernel mounts: who waits for a server that stalls, and who does not."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.mount import api
from artifactfs.mount.kernel.asking import find_figures, upgrade_mount
from artifactfs.mount.openfiles import OpenFile, find_open_files
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.referring import Referred
from artifactfs.repository.repository import open_repository
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.reference.odd_server import Odd, running_odd_server

pytestmark = pytest.mark.mounted
READERS = 100
ATTEMPTS = 8
"""More than the kernel asks: once to read ahead, and again for the page that somebody waits for."""
PROMPT_SECONDS = 5.0
"""Far below the deadline of a request that stalls, and far above what a busy machine needs for a local file."""
LARGE = os.urandom(1 << 16) * (5 * CHUNK_SIZE // (1 << 16)) + b"end"


class Stage:
    """A mount of references to two servers, and of files of its own."""

    def __init__(self, odd: Odd, other: Odd, info: MountInfo) -> None:
        self.odd = odd
        self.other = other
        self.info = info
        self.top = Path(info.mountpoint, "animals", "v0")

    def stall(self, count: int) -> list[Path]:
        """Have the next answers for so many files stall, and return their paths in the mount."""
        for number in range(count):
            self.odd.faults[f"/set/{number}"] = ["stall"]
        return [self.top / str(number) for number in range(count)]

    @property
    def fetcher(self) -> int:
        figures = find_figures(self.info)
        assert figures is not None
        return figures["fetcher"]


@pytest.fixture
def stage(folders: Folders, mountpoint: Path, tmp_path: Path) -> Iterator[Stage]:
    local = tmp_path / "local"
    local.mkdir()
    for number in range(50):
        (local / f"local-{number}").write_bytes(b"%d" % number * 1000)
    with running_odd_server() as odd, running_odd_server() as other:
        odd.files |= {f"/set/{number}": b"%d\n" % number * 5000 for number in range(READERS)}
        odd.files["/set/large"] = LARGE
        other.files["/well"] = b"well\n"
        policy = ReferencePolicy((odd.url, other.url))
        with open_repository(
            folders.repository, state=folders.state, author="tester", references=lambda: References(policy)
        ) as found:
            names = [*map(str, range(READERS)), "large"]
            sources = [Source(bytes(local), b""), *(Referred(f"{odd.url}/set/{name}") for name in names)]
            put_paths(found, "animals", [*sources, Referred(f"{other.url}/well")], CommitOptions())
        options = MountOptions(author="tester", transport="kernel", follow_references=(odd.url, other.url))
        odd.requests.clear()
        yield Stage(odd, other, api.mount(folders, str(mountpoint), options=options))


def test_100_readers_of_a_stalled_server_hold_up_nobody_else(stage: Stage) -> None:
    paths = stage.stall(READERS)
    with ThreadPoolExecutor(READERS) as threads:
        stalled = [threads.submit(errno_of, path.read_bytes) for path in paths]
        wait_until(lambda: len(stage.odd.requests) >= 16)
        start = time.monotonic()
        assert sorted(os.listdir(stage.top))[0] == "0"
        for number in range(50):
            assert (stage.top / f"local-{number}").read_bytes() == b"%d" % number * 1000
        assert (stage.top / "well").read_bytes() == b"well\n", "nor another server"
        assert time.monotonic() - start < PROMPT_SECONDS
        assert not any(reader.done() for reader in stalled)
        stage.odd.released.set()
        assert [reader.result() for reader in stalled] == [None] * READERS


def test_each_request_has_a_line_also_where_it_was_fetched(stage: Stage, folders: Folders, tmp_path: Path) -> None:
    place = tmp_path / "debugged"
    place.mkdir()
    options = MountOptions(transport="kernel", follow_references=(stage.odd.url, stage.other.url), debug=True)
    info = api.mount(folders, str(place), options=options)
    try:
        assert (place / "animals/v0/well").read_bytes() == b"well\n"
        node = (place / "animals/v0/well").stat().st_ino
        line = re.compile(rf"READ node={node} pid={os.getpid()} -> 5 in \d+ us")
        wait_until(lambda: line.search(Path(info.log).read_text()))
        assert len(line.findall(Path(info.log).read_text())) == 1
    finally:
        api.unmount(folders, str(place), lazy=True)


def test_what_is_fetched_is_named_with_who_waits_for_it(stage: Stage) -> None:
    [path] = stage.stall(1)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: stage.odd.requests)
        figures = find_figures(stage.info)
        assert figures is not None
        node = path.stat().st_ino
        assert {"request": "READ", "node": node, "offset": 0} in figures["fetches"]
        assert len(figures["fetches"]) == figures["fetching"]
        found = find_open_files(stage.info.mountpoint, {node})
        assert found == {node: OpenFile(node, b"animals/v0/0", process.pid, "cat")}
        stage.odd.released.set()
        process.wait(PROMPT_SECONDS)
    wait_until(lambda: (find_figures(stage.info) or {})["fetches"] == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_reader_that_is_interrupted_returns(stage: Stage, number: signal.Signals) -> None:
    [path] = stage.stall(1)
    command = ["cat", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: stage.odd.requests)
        process.send_signal(number)
        assert process.wait(PROMPT_SECONDS) == -number


def test_a_question_to_a_stalled_server_can_be_interrupted(stage: Stage) -> None:
    """Extended attributes are asked for while the process waits: only INTERRUPT lets it go."""
    stage.odd.stalls_head = True
    ask = "import os, sys; os.getxattr(sys.argv[1], 'user.artifactfs.drift')"
    with subprocess.Popen([sys.executable, "-c", ask, str(stage.top / "0")], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: stage.odd.requests)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(PROMPT_SECONDS) != 0
        assert time.monotonic() - start < PROMPT_SECONDS
    stage.odd.stalls_head = False


def test_what_a_killed_fetcher_had_taken_is_answered_by_its_successor(stage: Stage) -> None:
    paths = stage.stall(16)
    with ThreadPoolExecutor(16) as threads:
        found = [threads.submit(path.read_bytes) for path in paths]
        wait_until(lambda: len(stage.odd.requests) >= 16)
        killed = stage.fetcher
        os.kill(killed, signal.SIGKILL)
        for number, reader in enumerate(found):
            assert reader.result(timeout=30) == b"%d\n" % number * 5000
    assert stage.fetcher != killed


def test_an_upgrade_answers_what_the_old_fetcher_had_taken(stage: Stage, folders: Folders) -> None:
    paths, before = stage.stall(10), stage.fetcher
    with ThreadPoolExecutor(10) as threads:
        found = [threads.submit(path.read_bytes) for path in paths]
        wait_until(lambda: len(stage.odd.requests) >= 10)
        upgrade_mount(folders, stage.info.mountpoint)
        for number, reader in enumerate(found):
            assert reader.result(timeout=30) == b"%d\n" % number * 5000
    assert stage.fetcher != before


def test_100_readers_of_one_cold_file_ask_for_each_range_once(stage: Stage) -> None:
    start = threading.Barrier(READERS)

    def read(number: int) -> str:
        start.wait()
        with open(stage.top / "large", "rb", buffering=0) as file:
            offset = number * len(LARGE) // READERS
            file.seek(offset)
            data = file.readall()
            assert data == LARGE[offset:]
            file.seek(0)
            return hashlib.sha256(file.readall()).hexdigest()

    with ThreadPoolExecutor(READERS) as threads:
        found = set(threads.map(read, range(READERS)))
    assert found == {hashlib.sha256(LARGE).hexdigest()}
    gets = [path for method, path in stage.odd.requests if method == "GET" and path == "/set/large"]
    assert len(gets) == -(-len(LARGE) // CHUNK_SIZE)


def test_what_was_read_is_read_again_without_the_server(stage: Stage, folders: Folders, mountpoint: Path) -> None:
    assert (stage.top / "large").read_bytes() == LARGE
    api.unmount(folders, str(mountpoint))
    before = len(stage.odd.requests)
    options = MountOptions(author="tester", transport="kernel", follow_references=(stage.odd.url,))
    api.mount(folders, str(mountpoint), options=options)
    assert (stage.top / "large").read_bytes() == LARGE
    assert len(stage.odd.requests) == before
    assert errno_of((stage.top / "well").read_bytes) == errno.EACCES


def test_a_worker_that_dies_meanwhile_takes_nothing_along(stage: Stage) -> None:
    paths = stage.stall(10)
    with ThreadPoolExecutor(10) as threads:
        found = [threads.submit(path.read_bytes) for path in paths]
        wait_until(lambda: len(stage.odd.requests) >= 10)
        figures = find_figures(stage.info)
        assert figures is not None
        for worker in figures["workers"]:
            os.kill(worker, signal.SIGKILL)
        stage.odd.released.set()
        for number, reader in enumerate(found):
            assert reader.result(timeout=30) == b"%d\n" % number * 5000


@pytest.mark.parametrize("fault", ["cut", "503", "shifted", "lie"])
def test_what_goes_wrong_once_is_asked_for_again(stage: Stage, fault: str) -> None:
    stage.odd.faults["/set/1"] = [fault]
    assert (stage.top / "1").read_bytes() == b"1\n" * 5000


def test_no_bytes_are_handed_out_that_were_not_recorded(stage: Stage) -> None:
    """The object changes in the middle of being read; and so does one that keeps its ETag, but not its size."""
    half = len(LARGE) // 2 // CHUNK_SIZE * CHUNK_SIZE
    with open(stage.top / "large", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4096, 0) == LARGE[:4096]
        stage.odd.faults["/set/large"] = ["change"]
        assert errno_of(lambda: os.pread(file.fileno(), 4096, half)) == errno.ESTALE
    stage.odd.faults["/set/1"] = ["lie"] * ATTEMPTS
    assert errno_of((stage.top / "1").read_bytes) == errno.ESTALE
    stage.odd.files["/set/2"] = b"shorter"
    assert errno_of((stage.top / "2").read_bytes) == errno.ESTALE
    del stage.odd.files["/set/3"]
    assert errno_of((stage.top / "3").read_bytes) == errno.ESTALE


def test_servers_that_know_no_ranges_or_conditions_are_read(stage: Stage) -> None:
    stage.odd.ignores_ranges = stage.odd.ignores_conditions = True
    assert (stage.top / "large").read_bytes() == LARGE
    stage.odd.etags["/set/1"] = '"two"'
    assert errno_of((stage.top / "1").read_bytes) == errno.ESTALE


def test_a_login_that_nobody_has_is_no_permission(stage: Stage) -> None:
    stage.odd.faults["/set/1"] = ["401"] * ATTEMPTS
    assert errno_of((stage.top / "1").read_bytes) == errno.EACCES
    del stage.odd.faults["/set/1"]
    # For a second only, and only if it took long, as it does on a busy machine.
    wait_until(lambda: errno_of((stage.top / "1").read_bytes) is None)
    assert (stage.top / "1").read_bytes() == b"1\n" * 5000


def test_redirects_are_followed_to_what_is_followed(stage: Stage) -> None:
    stage.odd.redirects["/set/1"] = f"{stage.odd.url}/set/2"
    stage.odd.files["/set/2"] = stage.odd.files["/set/1"]
    assert (stage.top / "1").read_bytes() == b"1\n" * 5000
    with running_odd_server() as inner:
        inner.files["/secret"] = stage.odd.files["/set/3"]
        stage.odd.redirects["/set/3"] = f"{inner.url}/secret"
        assert errno_of((stage.top / "3").read_bytes) == errno.EACCES
        assert inner.requests == []
