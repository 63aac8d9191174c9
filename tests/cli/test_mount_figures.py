"""What a mount tells about itself: figures, metrics, a line for each request; and a descriptor from somebody else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artifactfs.mount.kernel.mounting import MountRequest, open_mount
from artifactfs.mount.syscalls import may_mount
from tests.cli.support import PROGRAM, Cli, run

pytestmark = pytest.mark.mounted
Mount = Callable[..., Path]


NOT_UTF8 = "m\udcff"


@pytest.fixture
def mount(animals: Cli, tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts `animals:v0` by the kernel transport with further options."""
    folders: list[Path] = []

    def start(*options: str, name: str = "mnt") -> Path:
        folder = tmp_path / f"{name}{len(folders)}"
        folder.mkdir()
        folders.append(folder)
        done = run("mount", str(folder), "--artifact", "animals:v0", "--transport", "kernel", *options)
        assert done.returncode == 0, done.stderr
        return folder

    yield start
    for folder in folders:
        run("umount", "--lazy", str(folder))


def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.02)


def read_everything(folder: Path) -> int:
    return sum(len(path.read_bytes()) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def values(text: str) -> dict[str, float]:
    """Return the sum of the samples of each name, as the parser of Prometheus' own client reads them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            assert sample.labels["mountpoint"]
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_figures_as_json_and_for_people(mount: Mount) -> None:
    folder = mount()
    size = read_everything(folder)
    [told] = json.loads(run("mounts", str(folder), "--json").stdout)["mounts"]
    figures = told["figures"]
    assert told["transport"] == "kernel"
    assert figures["bytes"] >= size > 0
    assert figures["requests"]["read"] > 0
    assert figures["workers"]
    assert set(figures["latency_us"]) == {"p50", "p90", "p99"}
    text = run("mounts", str(folder)).stdout.decode()
    for part in ("animals:v0", "protocol 7.", "workers ", "restarts 0", "p99", "read "):
        assert part in text


def test_everyday_answers_are_no_errors(mount: Mount) -> None:
    folder = mount()
    for path in (folder, *folder.rglob("*")):
        os.lstat(path)
        with suppress(OSError):
            os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    assert not (folder / "nothing").exists()
    [told] = json.loads(run("mounts", str(folder), "--json").stdout)["mounts"]
    assert told["figures"]["errors"] == 0
    assert told["figures"]["requests"]["getxattr"] > 0


def test_watching_goes_on_until_it_is_interrupted(mount: Mount) -> None:
    folder = mount()
    with subprocess.Popen([*PROGRAM, "mounts", "--watch", str(folder)], stdout=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        seen = 0
        while seen < 3:
            line = watch.stdout.readline()
            assert line, "it ended"
            seen += line.startswith(str(folder).encode())
        watch.send_signal(signal.SIGINT)
        rest = watch.stdout.read()
        assert watch.wait(20) == 130
    assert b"Traceback" not in rest


def test_watching_sees_mounts_come_and_rates(mount: Mount) -> None:
    with subprocess.Popen([*PROGRAM, "mounts", "--watch"], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        folder = mount()
        for line in watch.stdout:
            if line.startswith(str(folder)):
                break
        for line in watch.stdout:
            if "readdirplus" in line and line.endswith("/s\n"):
                break
        run("umount", str(folder))
        again = (line for line in watch.stdout if not line.startswith(str(folder)))
        watch.send_signal(signal.SIGINT)
        assert "Traceback" not in "".join(again)
        assert watch.wait(20) == 130


def test_watching_a_mount_ends_with_it(mount: Mount) -> None:
    folder = mount()
    command = [*PROGRAM, "mounts", "--watch", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith(str(folder))
        run("umount", str(folder))
        _, error = watch.communicate(timeout=20)
    assert watch.returncode == 60
    assert "no artifactfs of this user is mounted" in error


def test_a_place_where_nothing_is_mounted_is_an_error(animals: Cli, tmp_path: Path) -> None:
    done = run("mounts", str(tmp_path))
    assert done.returncode == 60
    assert b"no artifactfs" in done.stderr


def test_metrics_in_a_file(mount: Mount, tmp_path: Path) -> None:
    target = tmp_path / "metrics.prom"
    folder = mount("--metrics", str(target))
    size = read_everything(folder)
    wait_until(lambda: target.exists() and values(target.read_text())["artifactfs_read_bytes_total"] >= size)
    found = values(target.read_text())
    assert found["artifactfs_workers"] >= 1
    assert found["artifactfs_request_seconds_count"] > 0
    assert found["artifactfs_requests_total"] >= found["artifactfs_request_seconds_count"] - 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return values(answer.read().decode())


def test_metrics_on_a_port_of_this_machine_alone(mount: Mount) -> None:
    port = free_port()
    folder = mount("--metrics", f"127.0.0.1:{port}")
    size = read_everything(folder)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert values(answer.read().decode())["artifactfs_read_bytes_total"] <= size
    wait_until(lambda: scrape(port)["artifactfs_read_bytes_total"] == size)  # a worker counts after it has answered
    # Whoever connects and says nothing holds up nobody for long.
    with socket.create_connection(("127.0.0.1", port)):
        assert read_everything(folder) == size
    assert run("umount", str(folder)).returncode == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_an_upgrade_takes_the_port_of_the_metrics_along(mount: Mount) -> None:
    port = free_port()
    folder = mount("--metrics", f"127.0.0.1:{port}")
    for _ in range(2):
        upgraded = run("mount", "--upgrade", str(folder))
        assert upgraded.returncode == 0, upgraded.stderr
        assert (folder / "cat.txt").read_bytes() == b"cat\n"
        assert scrape(port)["artifactfs_workers"] >= 1


def test_a_mount_point_that_is_not_utf8_has_metrics_and_upgrades(mount: Mount, tmp_path: Path) -> None:
    target = tmp_path / "m.prom"
    folder = mount("--metrics", str(target), name=NOT_UTF8)
    assert (folder / "cat.txt").read_bytes() == b"cat\n"
    wait_until(target.exists)
    upgraded = run("mount", "--upgrade", os.fsencode(folder))
    assert upgraded.returncode == 0, upgraded.stderr
    assert (folder / "cat.txt").read_bytes() == b"cat\n"
    wait_until(lambda: values(target.read_text())["artifactfs_read_bytes_total"] >= 4)
    [told] = json.loads(run("mounts", os.fsencode(folder), "--json").stdout)["mounts"]
    assert told["figures"]["upgrades"] == 1


def test_an_upgrade_keeps_the_options_and_takes_no_others(mount: Mount) -> None:
    folder = mount()
    for options in (["--workers", "2"], ["--no-passthrough"], ["--artifact", "animals:v0"], ["-o", "noexec"]):
        done = run("mount", "--upgrade", str(folder), *options)
        assert done.returncode == 2, done.stderr
        assert f"{options[0].replace('--no-', '--')} means nothing with --upgrade".encode() in done.stderr
    done = run("mount", "--upgrade", str(folder), "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_mount_point_that_is_not_utf8_is_printed_readably(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / NOT_UTF8
    folder.mkdir()
    done = run("mount", os.fsencode(folder))
    try:
        assert done.returncode == 0, done.stderr
        assert rb"m\xff" in done.stderr
        assert rb"m\xff is served by" in run("mount", "--upgrade", os.fsencode(folder)).stderr
    finally:
        run("umount", os.fsencode(folder))


def check_refused(tmp_path: Path, target: str, *, says: bytes) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    done = run("mount", str(folder), "--transport", "kernel", "--metrics", target)
    assert done.returncode == 4, done.stderr
    assert says in done.stderr
    assert not os.path.ismount(folder)


@pytest.mark.parametrize(
    "target",
    ["0.0.0.0:9100", "example.org:80", "127.0.0.1:http", "127.0.0.1:99999", "127.0.0.1:0", f"127.0.0.1:{'9' * 5000}"],
)
def test_metrics_go_nowhere_else(animals: Cli, tmp_path: Path, target: str) -> None:
    check_refused(tmp_path, target, says=b"127.0.0.1:PORT")


@pytest.mark.parametrize(
    ("target", "says"), [("missing/m.prom", b"there is no directory"), ("", b"it is a directory")], ids=["in", "is"]
)
def test_metrics_that_cannot_be_written_are_an_error(animals: Cli, tmp_path: Path, target: str, says: bytes) -> None:
    check_refused(tmp_path, str(tmp_path / target), says=says)


@pytest.mark.parametrize("inside", ["mnt/m.prom", "link/m.prom", "mnt"])
def test_metrics_of_a_mount_in_itself_are_an_error(animals: Cli, tmp_path: Path, inside: str) -> None:
    """Its supervisor would wait for workers that it has yet to start."""
    (tmp_path / "link").symlink_to("mnt")
    check_refused(tmp_path, str(tmp_path / inside), says=b"in the mount that they are of")


def test_metrics_on_a_port_that_is_taken_are_an_error(animals: Cli, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        check_refused(tmp_path, f"127.0.0.1:{other.getsockname()[1]}", says=b"Address already in use")


def test_a_file_of_metrics_is_relative_to_the_working_directory(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mount("--metrics", "mm.prom")
    wait_until((tmp_path / "mm.prom").exists)


def test_a_line_for_each_request(mount: Mount) -> None:
    folder = mount("--debug")
    before = (folder / "cat.txt").read_bytes()
    [told] = json.loads(run("mounts", str(folder), "--json").stdout)["mounts"]
    log = Path(told["log"])
    wait_until(lambda: "READ node=" in log.read_text())
    line = next(line for line in log.read_text().splitlines() if "READ node=" in line)
    assert f"-> {len(before)} in " in line


@pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="mounting for somebody else needs root")
def test_an_unprivileged_process_serves_what_somebody_else_mounted(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    # The descriptor is all that the server gets; it may mount and unmount nothing.
    descriptor = open_mount(MountRequest(str(folder)))
    command = [
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *PROGRAM),
        *("mount", str(folder), "--artifact", "animals:v0", "--fd", str(descriptor), "--foreground"),
    ]
    with subprocess.Popen(command, pass_fds=(descriptor,), stderr=subprocess.PIPE) as server:
        os.close(descriptor)
        try:
            wait_until(lambda: server.poll() is not None or run("mounts").stdout)
            assert server.poll() is None
            seen = subprocess.run(
                [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read(), end='')", folder / "cat.txt"],
                capture_output=True, check=True, timeout=20,
            )  # fmt: skip
            assert seen.stdout == b"cat\n"
            caps = Path(f"/proc/{server.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in caps
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        assert server.stderr is not None
        assert b"Traceback" not in server.stderr.read()


def check_descriptor_refused(folder: Path, descriptor: int | str, *options: str, says: bytes, **more: object) -> None:
    before = run("mounts").stdout
    done = run("mount", str(folder), "--fd", str(descriptor), *options, **more)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert b"Traceback" not in done.stderr
    assert run("mounts").stdout == before


def test_a_descriptor_of_something_else_is_refused(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    with open("/etc/passwd", "rb") as file:
        check_descriptor_refused(folder, file.fileno(), says=b"is not one of /dev/fuse", pass_fds=(file.fileno(),))
    # The command has something of its own there, or nothing.
    check_descriptor_refused(folder, 3, says=b"descriptor 3 is not")
    check_descriptor_refused(folder, 77, says=b"descriptor 77 is not open")
    check_descriptor_refused(folder, "99999999999999999", says=b"--fd")
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        check_descriptor_refused(folder, device, says=b"has no mount behind it", pass_fds=(device,))
    finally:
        os.close(device)


@pytest.mark.skipif(not may_mount() or os.getuid() != 0, reason="mounting for somebody else needs root")
def test_a_descriptor_is_served_once_and_by_the_kernel_transport(animals: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    descriptor = open_mount(MountRequest(str(folder)))
    passed = {"pass_fds": (descriptor,)}
    try:
        check_descriptor_refused(folder, descriptor, "--transport", "fusepy", says=b"kernel transport", **passed)
        done = run("mount", str(folder), "--artifact", "animals:v0", "--fd", str(descriptor), **passed)
        assert done.returncode == 0, done.stderr
        [told] = json.loads(run("mounts", "--json").stdout)["mounts"]
        assert told["transport"] == "kernel"
        again = run("mount", str(folder), "--fd", str(descriptor), **passed)
        assert again.returncode == 21, again.stderr
        assert b"another process is serving" in again.stderr
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        check_descriptor_refused(elsewhere, descriptor, says=b"is served already", **passed)
        assert (folder / "cat.txt").read_bytes() == b"cat\n"
    finally:
        os.close(descriptor)
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
