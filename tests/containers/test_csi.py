"""The CSI node plugin, over its socket: every call, code and repeat that the specification's sanity suite makes.

Source: kubernetes-csi/csi-test, pkg/sanity/identity.go and node.go; Container Storage Interface 1.11.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.registry import iter_live
from artifactfs.mount.syscalls import may_mount
from artifactfs.repository.pins import iter_pins
from artifactfs.repository.repository import Repository
from tests.containers.support import Host, is_mounted, kill
from tests.mount.conftest import iter_servers, put, wait_until

grpc = pytest.importorskip("grpc")
schema = pytest.importorskip("artifactfs.serve.csi.schema")
pytestmark = [pytest.mark.mounted, pytest.mark.skipif(not may_mount(), reason="needs CAP_SYS_ADMIN")]
MESSAGES = schema.Messages()
WRITER = {"mount": {}, "access_mode": {"mode": 1}}
BLOCK = {"block": {}, "access_mode": {"mode": 1}}
Code = grpc.StatusCode


class Plugin:
    """The plugin as a process, and a client of its socket."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.endpoint = host.top / "csi" / "csi.sock"
        self.mountpoint = host.top / "one" / "artifacts"
        self.pods = host.top / "pods"
        self.pods.mkdir()
        self.process: subprocess.Popen[Any] | None = None
        self.channel: Any = None

    def start(self) -> None:
        words = ["csi", "--endpoint", f"unix://{self.endpoint}", "--mount", self.mountpoint, "--node-id", "node-1"]
        with open(self.host.top / "csi.log", "ab") as log:
            self.process = self.host.start("artifactfs", *words, stderr=log)
        self.channel = grpc.insecure_channel(f"unix:{self.endpoint}")
        grpc.channel_ready_future(self.channel).result(timeout=60)

    def end(self, *, kills: bool = False) -> None:
        self.channel.close()
        self.process.kill() if kills else self.process.terminate()
        assert kills or self.process.wait(timeout=30) == 0
        self.process.wait()

    def call(self, name: str, **fields: Any) -> Any:
        service = next(service for service, calls in schema.SERVICES.items() if name in calls)
        method = self.channel.unary_unary(
            f"/csi.v1.{service}/{name}",
            request_serializer=MESSAGES[f"{name}Request"].SerializeToString,
            response_deserializer=MESSAGES[f"{name}Response"].FromString,
        )
        return method(MESSAGES[f"{name}Request"](**fields), timeout=60)

    def code(self, name: str, **fields: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(name, **fields)
        return caught.value.code()

    def target(self, name: str) -> Path:
        path = self.pods / name
        path.mkdir(exist_ok=True)
        return path / "mount"

    def publish_fields(self, name: str, **attributes: str) -> dict[str, Any]:
        context = {"artifact": "animals:latest", "csi.storage.k8s.io/ephemeral": "true"} | attributes
        return {
            "volume_id": f"csi-{name}",
            "target_path": str(self.target(name)),
            "volume_capability": WRITER,
            "volume_context": context,
        }

    def publish(self, name: str, **attributes: str) -> Path:
        self.call("NodePublishVolume", **self.publish_fields(name, **attributes))
        return self.target(name)

    def unpublish(self, name: str) -> None:
        self.call("NodeUnpublishVolume", volume_id=f"csi-{name}", target_path=str(self.target(name)))


@pytest.fixture
def plugin(host: Host) -> Iterator[Plugin]:
    found = Plugin(host)
    found.start()
    yield found
    if found.process.poll() is None:
        found.end()


def test_identity(plugin: Plugin) -> None:
    info = plugin.call("GetPluginInfo")
    assert info.name == "csi.artifactfs"
    assert info.vendor_version
    assert list(plugin.call("GetPluginCapabilities").capabilities) == []
    assert plugin.call("Probe").ready.value is True


def test_the_node_and_what_it_can(plugin: Plugin) -> None:
    info = plugin.call("NodeGetInfo")
    assert (info.node_id, info.max_volumes_per_node) == ("node-1", 0)
    assert [found.rpc.type for found in plugin.call("NodeGetCapabilities").capabilities] == [2, 4]


@pytest.mark.parametrize("call", ["NodeStageVolume", "NodeUnstageVolume", "NodeExpandVolume"])
def test_calls_that_are_not_offered(plugin: Plugin, call: str) -> None:
    method = plugin.channel.unary_unary(f"/csi.v1.Node/{call}")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"", timeout=30)
    assert caught.value.code() is Code.UNIMPLEMENTED


def test_codes_of_publish(plugin: Plugin) -> None:
    good = plugin.publish_fields("codes")

    def code(**other: Any) -> Any:
        fields = {name: value for name, value in (good | other).items() if value is not None}
        return plugin.code("NodePublishVolume", **fields)

    def attribute(**other: str) -> Any:
        return code(volume_context=good["volume_context"] | other)

    assert code(volume_id=None) is Code.INVALID_ARGUMENT
    assert code(target_path=None) is Code.INVALID_ARGUMENT
    assert code(target_path="relative/path") is Code.INVALID_ARGUMENT
    assert code(volume_capability=None) is Code.INVALID_ARGUMENT
    assert code(volume_capability={"mount": {}}) is Code.INVALID_ARGUMENT
    assert code(volume_capability=BLOCK) is Code.INVALID_ARGUMENT
    assert code(volume_capability=WRITER | {"mount": {"fs_type": "ext4"}}) is Code.INVALID_ARGUMENT
    assert code(volume_capability=WRITER | {"mount": {"mount_flags": ["nonsense"]}}) is Code.INVALID_ARGUMENT
    assert code(volume_context={}) is Code.INVALID_ARGUMENT
    assert code(volume_id="x" * 300) is Code.INVALID_ARGUMENT
    assert attribute(mode="rw") is Code.INVALID_ARGUMENT
    assert attribute(pin="yes") is Code.INVALID_ARGUMENT
    assert attribute(atEnd="commit") is Code.INVALID_ARGUMENT
    assert attribute(unknown="x") is Code.INVALID_ARGUMENT
    assert attribute(artifact="animals:latest/images") is Code.INVALID_ARGUMENT
    assert attribute(**{"csi.storage.k8s.io/ephemeral": "false"}) is Code.INVALID_ARGUMENT
    assert attribute(artifact="nothing") is Code.NOT_FOUND
    assert attribute(artifact="animals:v7") is Code.NOT_FOUND
    assert attribute(artifact="animals:best") is Code.NOT_FOUND
    assert not plugin.target("codes").exists()


def test_codes_of_unpublish_and_stats(plugin: Plugin) -> None:
    assert plugin.code("NodeUnpublishVolume") is Code.INVALID_ARGUMENT
    assert plugin.code("NodeUnpublishVolume", volume_id="x") is Code.INVALID_ARGUMENT
    assert plugin.code("NodeGetVolumeStats", volume_path="some/path") is Code.INVALID_ARGUMENT
    assert plugin.code("NodeGetVolumeStats", volume_id="x") is Code.INVALID_ARGUMENT
    assert plugin.code("NodeGetVolumeStats", volume_id="x", volume_path="some/path") is Code.NOT_FOUND
    plugin.publish("stats")
    assert plugin.code("NodeGetVolumeStats", volume_id="csi-stats", volume_path="some/path") is Code.NOT_FOUND


def test_a_volume_is_published_once_however_often_it_is_asked_for(plugin: Plugin) -> None:
    for _ in range(3):
        target = plugin.publish("pod")
        assert (target / "README").read_text() == "hello\n"
    mount_id = find_mount(str(target)).mount_id
    plugin.publish("pod")
    assert find_mount(str(target)).mount_id == mount_id
    options = subprocess.run(["findmnt", "-no", "OPTIONS", target], capture_output=True, text=True, check=True).stdout
    assert "ro" in options.split(",")
    stats = plugin.call("NodeGetVolumeStats", volume_id="csi-pod", volume_path=str(target))
    assert [usage.unit for usage in stats.usage] == [1, 2]
    assert stats.usage[0].used == stats.usage[0].total > 9_000_000
    assert not stats.volume_condition.abnormal
    for _ in range(3):
        plugin.unpublish("pod")
        assert not target.exists()
    assert plugin.code("NodeGetVolumeStats", volume_id="csi-pod", volume_path=str(target)) is Code.NOT_FOUND


def test_a_volume_shows_one_thing_at_one_place(plugin: Plugin) -> None:
    plugin.publish("pod")
    fields = plugin.publish_fields("pod")
    assert plugin.code("NodePublishVolume", **fields | {"readonly": True}) is Code.ALREADY_EXISTS
    assert plugin.code("NodePublishVolume", **plugin.publish_fields("pod", pin="true")) is Code.ALREADY_EXISTS
    elsewhere = fields | {"target_path": str(plugin.target("other"))}
    assert plugin.code("NodePublishVolume", **elsewhere) is Code.FAILED_PRECONDITION


def test_what_somebody_else_mounted_is_left_alone(plugin: Plugin) -> None:
    target = plugin.target("taken")
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", target], check=True)
    try:
        assert plugin.code("NodePublishVolume", **plugin.publish_fields("taken")) is Code.FAILED_PRECONDITION
        fields = {"volume_id": "csi-taken", "target_path": str(target)}
        assert plugin.code("NodeUnpublishVolume", **fields) is Code.INTERNAL
        assert is_mounted(target)
    finally:
        subprocess.run(["umount", target], check=True)


def test_a_version_stays_when_its_alias_moves(plugin: Plugin, repository: Repository, source: Path) -> None:
    target = plugin.publish("pod", pin="true")
    (source / "README").write_text("changed\n")
    put(repository, source)
    assert (target / "README").read_text() == "hello\n"
    assert [(pin.version, pin.purpose) for pin in iter_pins(repository)] == [(0, "volume csi-pod")]
    plugin.end(kills=True)
    subprocess.run(["umount", "-l", target], check=True)
    plugin.start()
    assert (target / "README").read_text() == "hello\n"
    assert (plugin.publish("second") / "README").read_text() == "changed\n"
    plugin.unpublish("pod")
    repository.refresh()
    assert list(iter_pins(repository)) == []


@pytest.mark.parametrize(("at_end", "versions"), [("keep", 1), ("commit", 2), ("discard", 1)])
def test_staging_volumes(plugin: Plugin, repository: Repository, at_end: str, versions: int) -> None:
    target = plugin.publish("pod", mode="staging", atEnd=at_end)
    (target / "new").write_text("from a pod\n")
    assert (target / "README").read_text() == "hello\n"
    plugin.publish("pod", mode="staging", atEnd=at_end)
    plugin.unpublish("pod")
    plugin.unpublish("pod")
    assert not target.exists()
    assert len(repository.load_state("animals").versions) == versions
    left = plugin.host.run("staging", "animals")
    assert ("csi-" in left) == (at_end == "keep")


def forkers(host: Host) -> set[int]:
    """Return the forkers of servers of staging directories, and what they have forked."""
    found = set()
    for pid in iter_servers(str(host.top)):
        with contextlib.suppress(OSError):
            if b"\0--forker\0staging\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def await_forker(host: Host) -> int:
    """Return the forker when it has left the process that was started for it, which leads a session."""

    def left() -> list[int]:
        with contextlib.suppress(OSError):  # it has just ended
            return [pid for pid in forkers(host) if os.getsid(pid) != pid]
        return []

    wait_until(lambda: len(left()) == 1)
    return left()[0]


def test_staging_volumes_are_served_by_what_one_forker_has_forked(plugin: Plugin) -> None:
    first = await_forker(plugin.host)
    for name in ("one", "two", "three"):
        plugin.publish(name, mode="staging")
    served = {info.pid for info in iter_live(plugin.host.folders) if info.kind == "staging"}
    assert len(served) == 3
    assert served < forkers(plugin.host)
    assert first in forkers(plugin.host) - served


def test_a_forker_ends_with_the_plugin(plugin: Plugin) -> None:
    wait_until(lambda: forkers(plugin.host))
    plugin.end()
    wait_until(lambda: not forkers(plugin.host))


def test_a_forker_that_was_killed_is_not_missed(plugin: Plugin) -> None:
    gone = await_forker(plugin.host)
    os.kill(gone, signal.SIGKILL)
    assert (plugin.publish("pod", mode="staging") / "README").read_text() == "hello\n"
    wait_until(lambda: forkers(plugin.host) - {gone})


def test_an_unchanged_staging_volume_leaves_nothing(plugin: Plugin) -> None:
    plugin.publish("pod", mode="staging")
    plugin.unpublish("pod")
    assert "csi-" not in plugin.host.run("staging")


def test_a_collection_that_does_not_exist_yet_is_staged(plugin: Plugin, repository: Repository) -> None:
    target = plugin.publish("pod", mode="staging", artifact="models", atEnd="commit")
    (target / "weights").write_bytes(b"1234")
    plugin.unpublish("pod")
    assert list(repository.load_state("models").versions) == [0]


def test_a_reading_pod_notices_nothing_of_a_killed_supervisor(plugin: Plugin) -> None:
    target = plugin.publish("pod")
    pid = plugin.host.supervisor(plugin.mountpoint)
    kill(pid)
    assert (target / "images" / "cat.png").stat().st_size == 300_000
    wait_until(lambda: plugin.host.supervisor(plugin.mountpoint) != pid)
    plugin.unpublish("pod")


def test_a_mount_that_is_gone_is_made_again_and_bound_again(plugin: Plugin) -> None:
    target = plugin.publish("pod")
    subprocess.run(["umount", "-l", plugin.mountpoint / ".artifactfs"], check=False)
    subprocess.run(["umount", "-l", plugin.mountpoint], check=True)
    begun = time.monotonic()
    wait_until(lambda: is_mounted(plugin.mountpoint))
    device = find_mount(str(plugin.mountpoint)).device
    wait_until(lambda: (line := find_mount(str(target))) is not None and line.device == device)
    assert time.monotonic() - begun < 20
    assert (target / "README").read_text() == "hello\n"


def test_after_a_reboot_volumes_are_shown_again_or_forgotten(plugin: Plugin, repository: Repository) -> None:
    stays, goes = plugin.publish("stays"), plugin.publish("goes", pin="true")
    pid = plugin.host.supervisor(plugin.mountpoint)
    plugin.end(kills=True)
    for path in (stays, goes, plugin.mountpoint / ".artifactfs", plugin.mountpoint):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    goes.rmdir()
    goes.parent.rmdir()
    plugin.start()
    assert (stays / "README").read_text() == "hello\n"
    assert not goes.exists()
    assert list(iter_pins(repository)) == []
    plugin.unpublish("goes")


def test_calls_at_once(plugin: Plugin) -> None:
    codes: list[Any] = []

    def publish(name: str) -> None:
        try:
            plugin.publish(name)
            codes.append("ok")
        except grpc.RpcError as error:
            codes.append(error.code())

    threads = [threading.Thread(target=publish, args=(f"p{number % 4}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {"ok", Code.ABORTED}
    for number in range(4):
        assert (plugin.publish(f"p{number}") / "README").read_text() == "hello\n"
        plugin.unpublish(f"p{number}")


def test_a_second_plugin_at_one_socket_is_refused(plugin: Plugin) -> None:
    words = ["csi", "--endpoint", f"unix://{plugin.endpoint}", "--mount", plugin.mountpoint]
    assert "another process" in plugin.host.run(*words, code=21)
    assert "not a Unix socket" in plugin.host.run("csi", "--endpoint", "tcp://127.0.0.1:1", code=2)


def test_ended_processes_that_nobody_waits_for_are_reaped() -> None:
    server = pytest.importorskip("artifactfs.serve.csi.server")
    pid = os.fork()
    if not pid:
        os._exit(0)
    seen: set[int] = set()
    wait_until(lambda: pid in server.reap_orphans(set()))
    seen = {pid}
    assert pid not in server.reap_orphans(seen)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_the_table_is_the_write_up(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    folder = Path(schema.__file__).parent
    out = tmp_path / "compiled"
    program = (
        "import os, sys, grpc_tools; from grpc_tools import protoc; "
        "sys.exit(protoc.main(['protoc', '-I' + sys.argv[1], "
        "'-I' + os.path.join(os.path.dirname(grpc_tools.__file__), '_proto'), "
        "'--descriptor_set_out=' + sys.argv[2], 'csi.proto']))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, folder, out], check=True)
    from google.protobuf import descriptor_pb2

    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    made = schema.describe_file()
    assert shape(made.message_type) == shape(compiled.message_type)
    services = {service.name: tuple(call.name for call in service.method) for service in compiled.service}
    assert services == schema.SERVICES


def shape(messages: Any, above: str = "") -> dict[str, Any]:
    """Return names, numbers, types and oneofs of all messages, and the values of enums."""
    found: dict[str, Any] = {}
    for message in messages:
        name = f"{above}.{message.name}"
        found[name] = {
            (field.name, field.number, field.type, field.label, field.type_name, field.HasField("oneof_index"))
            for field in message.field
        } | {(enum.name, value.name, value.number) for enum in message.enum_type for value in enum.value}
        found |= shape(message.nested_type, name)
    return found
