"""Two hosts, each in a network of its own, commit to one bucket while one of them is cut off and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from artifactfs.repository.repository import open_repository
from tests.remote.faulty_proxy import running_proxy
from tests.remote.servers import Server, s3_server

COMMITS = 12
WRITER = """
import sys
from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.repository.repository import open_repository
from artifactfs.testing.repositories import commit_files
endpoint, location, state, name, count = sys.argv[1:]
options = RemoteOptions(
    config={"endpoint": endpoint, "access_key_id": "AKAKAKAK", "secret_access_key": "SKSKSKSK"},
    read_timeout_seconds=1, connect_timeout_seconds=1, attempts=50, deadline_seconds=60,
)
with open_repository(location, state=state, author=f"{name}@host", remote=options) as repository:
    for number in range(int(count)):
        version = commit_files(repository, "animals", {b"who": f"{name} {number}".encode()})
        print(version.number, flush=True)
"""


@contextmanager
def host(number: int) -> Iterator[tuple[str, str, str]]:
    """Give the namespace, this side's interface and its address, of a host with a cable to this one."""
    name = f"af{os.getpid()}h{number}"
    cable, address = f"afv{os.getpid() % 10000}n{number}", f"198.18.{os.getpid() % 200}.{number * 4 + 1}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "up0", "netns", name)
        ip("address", "add", f"{address}/30", "dev", cable)
        ip("link", "set", cable, "up")
        far = address.rpartition(".")[0] + f".{number * 4 + 2}"
        ip("-n", name, "address", "add", f"{far}/30", "dev", "up0")
        ip("-n", name, "link", "set", "up0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, cable, address
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def may_make_networks() -> str:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "needs root and iproute2"
    name = f"af{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


@pytest.mark.remote
def test_nothing_is_lost_or_made_twice_while_one_host_is_cut_off(ceph: Server, tmp_path: Path) -> None:
    if reason := may_make_networks():
        pytest.skip(reason)
    location = f"s3://{ceph.make_bucket()}/shared"
    options = s3_server(ceph.endpoint, "AKAKAKAK", "SKSKSKSK").options()
    # The first write to a new service makes its pools, which takes seconds.
    open_repository(location, state=str(tmp_path / "first"), author="c", remote=options).close()
    with ExitStack() as stack:
        hosts = [stack.enter_context(host(number)) for number in (1, 2)]
        proxies = [stack.enter_context(running_proxy(ceph.endpoint, address=address)) for _, _, address in hosts]
        writers = []
        for (name, _, _), proxy in zip(hosts, proxies, strict=True):
            command = ["ip", "netns", "exec", name, sys.executable, "-c", WRITER]
            command += [proxy.endpoint, location, str(tmp_path / name), name, str(COMMITS)]
            writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        stack.callback(lambda: [writer.kill() for writer in writers])
        wait_until(lambda: writers[0].poll() is not None or proxies[0].count("PUT", "/log/") >= 3)
        assert writers[0].poll() is None, writers[0].communicate()
        ip("link", "set", hosts[0][1], "down")
        seen = proxies[1].count("PUT", "/log/")
        wait_until(lambda: writers[1].poll() is not None or proxies[1].count("PUT", "/log/") > seen + 3)
        assert writers[0].poll() is None
        ip("link", "set", hosts[0][1], "up")
        ends = [writer.communicate(timeout=100) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], ends
    said = [[int(line) for line in out.split()] for out, _ in ends]
    with open_repository(location, state=str(tmp_path / "check"), author="c", remote=options) as repository:
        records = list(repository.log.iter_records("animals"))
        assert [record.seq for record in records] == list(range(1, 2 * COMMITS + 1))
        made = Counter(record.author for record in records)
        assert set(made.values()) == {COMMITS}
        for (name, _, _), numbers in zip(hosts, said, strict=True):
            assert [record.body.version for record in records if record.author == f"{name}@host"] == numbers
    with open_repository(location, state=str(tmp_path / hosts[0][0]), author="c", remote=options) as repository:
        assert repository.get_collection("animals").next_version == 2 * COMMITS


def wait_until(is_true) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
