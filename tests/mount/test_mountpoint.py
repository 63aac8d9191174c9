"""Mount points that cannot be used, and machines that cannot mount: a clear error, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from artifactfs.errors import AccessDeniedError, BusyError, MountError
from artifactfs.mount import api, beginning, doctor, fusedevice, launch
from artifactfs.mount.mountinfo import parse_mount
from artifactfs.mount.mountpoint import check_mountpoint, detach
from artifactfs.mount.options import Finding, MountInfo, MountOptions
from artifactfs.mount.registry import held_slot, is_served, iter_live, prepare_folders, slot_for, write_record
from artifactfs.mount.syscalls import unmount_privileged
from tests.mount.conftest import Folders

is_root = os.geteuid() == 0


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="does not exist") as caught:
        check_mountpoint(str(tmp_path / "none"), repository="/repository")
    assert "mkdir" in caught.value.hint
    assert caught.value.exit_code == 60


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MountError, match="not a directory"):
        check_mountpoint(str(tmp_path / "file"), repository="/repository")


def test_not_empty_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "odd\x1bname").write_text("")
    with pytest.raises(MountError, match=r"not empty: it holds odd\\x1bname"):
        check_mountpoint(str(tmp_path), repository="/repository")


def test_inside_the_repository(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(MountError, match="inside the repository"):
        check_mountpoint(str(tmp_path / "inside"), repository=str(tmp_path))


def test_around_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    with pytest.raises(MountError, match="would hide the repository"):
        check_mountpoint(str(tmp_path), repository=str(tmp_path / "repository"))


def test_around_what_its_server_needs(tmp_path: Path) -> None:
    """Before anything is there: the server would make it, and then wait for itself."""
    for needed in (tmp_path, tmp_path / "state"):
        with pytest.raises(MountError, match="which its server needs"):
            check_mountpoint(str(tmp_path), repository="/repository", others=["/elsewhere", str(needed)])
    check_mountpoint(str(tmp_path), repository="/repository", others=["/elsewhere", f"{tmp_path}-beside"])


@pytest.mark.mounted
@pytest.mark.skipif(not is_root, reason="only root can mount a tmpfs")
def test_taken_by_another_file_system(folders: Folders, mountpoint: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mountpoint)], check=True)
    try:
        with pytest.raises(MountError, match="tmpfs"):
            api.mount(folders, str(mountpoint), options=MountOptions())
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


def test_umount_of_what_is_not_ours(folders: Folders, mountpoint: Path) -> None:
    with pytest.raises(MountError, match="no artifactfs is mounted"):
        api.unmount(folders, str(mountpoint))


def test_no_device(folders: Folders, mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "DEVICE", "/dev/no-fuse-here")
    with pytest.raises(MountError, match="/dev/no-fuse-here does not exist") as caught:
        api.mount(folders, str(mountpoint), options=MountOptions())
    assert "modprobe fuse" in caught.value.hint


@pytest.mark.parametrize("device", ["/dev/null", __file__])
def test_another_device(device: str, folders: Folders, mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "DEVICE", device)
    with pytest.raises(MountError, match="is not FUSE's device") as caught:
        api.mount(folders, str(mountpoint), options=MountOptions())
    assert "mknod" in caught.value.hint
    assert not doctor.diagnose(folders, device=device)[1].ok


def test_a_forbidden_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Root may open everything, so the refusal is made up.
    monkeypatch.setattr("artifactfs.mount.fusedevice.os.open", refuse)
    found = fusedevice.look_at_device()
    assert not found.ok
    assert "Permission denied" in found.message
    assert "chmod 666" in found.mend


@pytest.mark.mounted
def test_no_libfuse(folders: Folders, mountpoint: Path, memory_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSE_LIBRARY_PATH", "/nowhere/libfuse.so.2")
    with pytest.raises(MountError, match="libfuse 2 cannot be loaded") as caught:
        api.mount(folders, str(mountpoint), options=MountOptions())
    assert "apt-get install libfuse2" in caught.value.hint
    assert list(iter_live(folders)) == []
    assert os.listdir(mountpoint) == []


def test_one_server_for_a_mount_point(folders: Folders, mountpoint: Path) -> None:
    prepare_folders(folders)
    slot = slot_for(folders, str(mountpoint))
    assert not is_served(slot)
    with held_slot(slot, mountpoint=str(mountpoint)):
        assert is_served(slot)
        with pytest.raises(BusyError, match="another process"), held_slot(slot, mountpoint=str(mountpoint)):
            pass
    assert not is_served(slot)


@pytest.mark.mounted
@pytest.mark.skipif(not is_root, reason="only root can mount a tmpfs")
def test_what_the_kernel_holds_for_a_moment_longer_is_waited_for(mountpoint: Path) -> None:
    """Nobody can be seen in it, and still it is busy."""
    inner = mountpoint / "inner"
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mountpoint)], check=True)
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(inner)], check=True)
    leaving = threading.Timer(0.2, unmount_privileged, [str(inner)])
    leaving.start()
    try:
        detach(str(mountpoint), lazy=False)
        assert not os.path.ismount(mountpoint)
    finally:
        leaving.join()
        subprocess.run(["umount", "-l", str(mountpoint)], check=False, capture_output=True)


def make_info(folders: Folders, mountpoint: str) -> MountInfo:
    return MountInfo(
        mountpoint=mountpoint,
        repository=folders.repository,
        repository_id="0" * 32,
        kind="repository",
        pid=1,
        transport="fusepy",
        read_only=True,
        socket="/none",
        log="/none",
        started_ns=1,
    )


def test_records_of_dead_servers_are_swept(folders: Folders) -> None:
    prepare_folders(folders)
    mountpoint = "/mnt/odd-\udcff"
    slot = slot_for(folders, mountpoint)
    info = make_info(folders, mountpoint)
    with held_slot(slot, mountpoint=mountpoint):
        write_record(slot, info)
        assert list(iter_live(folders)) == [info]
    write_record(slot, info)
    assert list(iter_live(folders)) == []
    assert not os.path.exists(slot.record)


@pytest.mark.skipif(not is_root, reason="needs a second user")
def test_a_runtime_directory_of_somebody_else_is_not_used(folders: Folders, mountpoint: Path) -> None:
    prepare_folders(folders)
    slot = slot_for(folders, str(mountpoint))
    with held_slot(slot, mountpoint=str(mountpoint)):
        write_record(slot, make_info(folders, str(mountpoint)))
        os.chown(os.path.dirname(slot.record), 65534, 65534)
        assert list(iter_live(folders)) == []
    os.chown(folders.runtime, 65534, 65534)
    with pytest.raises(AccessDeniedError, match="runtime directory"):
        api.mount(folders, str(mountpoint), options=MountOptions())


def test_mount_points_with_odd_names_are_parsed() -> None:
    line = parse_mount(rb"36 35 0:98 / /mnt/a\040b\012c\134d rw shared:1 - fuse.artifactfs artifactfs ro")
    assert line.mountpoint == "/mnt/a b\nc\\d"
    assert line.is_ours


def finding(findings: list[Finding], name: str) -> Finding:
    return next(found for found in findings if found.name == name)


def test_doctor_says_what_is_missing_and_how_to_mend_it(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_libfuse", lambda: None)
    findings = doctor.diagnose(folders, device="/dev/no-fuse-here")
    assert not finding(findings, "device").ok
    assert "modprobe" in finding(findings, "device").mend
    assert "apt-get install libfuse2" in finding(findings, "libfuse").mend
    assert finding(findings, "state").message == folders.state
    assert all(found.mend for found in findings if not found.ok)


@pytest.mark.mounted
def test_doctor_is_content_where_mounts_work(folders: Folders) -> None:
    findings = [found for found in api.diagnose(folders) if found.name != "mount"]
    assert [found for found in findings if not found.ok] == []


def test_doctor_misses_the_mount_table_of_ordinary_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "may_mount", lambda: False)
    found = doctor.look_at_table(str(tmp_path / "mtab"))
    assert not found.ok
    assert "ln -s" in found.mend
    assert doctor.look_at_table("/proc/self/mounts").ok


def test_the_first_listing_outlives_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = [PermissionError(13, "Permission denied")] * 2
    scandir = os.scandir

    def refusing(path: str) -> os.ScandirIterator[str]:
        if refusals:
            raise refusals.pop()
        return scandir(path)

    monkeypatch.setattr("artifactfs.mount.launch.os.scandir", refusing)
    launch._list_once(str(tmp_path), "log")
    assert not refusals


def test_a_listing_that_is_refused_for_good_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: str) -> os.ScandirIterator[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("artifactfs.mount.launch.os.scandir", refusing)
    monkeypatch.setattr(launch, "_FIRST_SECONDS", 0.05)
    with pytest.raises(PermissionError):
        launch._list_once(str(tmp_path), "log")
