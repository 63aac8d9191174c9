"""mount(8), umount(8) and lines of fstab(5) with the type artifactfs, through the real programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from artifactfs.errors import UsageError
from artifactfs.mount import kernel_options
from artifactfs.mount.fstab import parse_fstab
from artifactfs.mount.service.host import HostFiles, install, uninstall
from tests.containers.support import PROGRAMS, Host

LABEL = 'context="system_u:object_r:container_file_t:s0:c1,c2"'


@pytest.mark.parametrize(
    "words",
    [
        "rw",
        "ro,noatime,nosuid,nodev",
        "defaults,_netdev,nofail,x-systemd.automount,x-systemd.requires=network.target,X-mount.mkdir,comment=a",
        "noauto,user,exec,async",
    ],
)
def test_words_of_others_are_accepted_and_ask_for_nothing(words: str) -> None:
    assert parse_fstab(words, for_others=False).arguments == ("--keep",)


def test_words_become_options() -> None:
    found = parse_fstab("artifact=animals:v0,uid=7,noexec,nokeep,state=/s,offline," + LABEL, for_others=True)
    assert found.arguments == (
        "--artifact", "animals:v0", "--uid", "7", "-o", "noexec", "--offline",
        "-o", "context=system_u:object_r:container_file_t:s0:c1,c2", "--allow-other",
    )  # fmt: skip
    assert found.environment == {"ARTIFACTFS_STATE": "/s"}


@pytest.mark.parametrize("word", ["remount", "uid", "artifact", "context=", "nonsense", "cache_size"])
def test_unknown_words_are_refused_unless_told_otherwise(word: str) -> None:
    with pytest.raises(UsageError):
        parse_fstab(f"ro,{word}", for_others=True)
    assert parse_fstab(f"ro,{word}", for_others=True, is_sloppy=True).arguments == ("--keep", "--allow-other")


def test_labels_go_to_a_kernel_that_reads_them(tmp_path: Path) -> None:
    filesystems = tmp_path / "filesystems"
    options = ("noexec", "context=u:r:t:s0:c1,c2", "fscontext=u:r:t:s0")
    filesystems.write_text("nodev\tfuse\n")
    assert kernel_options.labels_in_force(options, filesystems=str(filesystems)) == []
    filesystems.write_text("nodev\tselinuxfs\nnodev\tfuse\n")
    assert kernel_options.labels_in_force(options, filesystems=str(filesystems)) == [
        'context="u:r:t:s0:c1,c2"',
        "fscontext=u:r:t:s0",
    ]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    files = HostFiles(str(tmp_path), str(PROGRAMS))
    paths = install(files)
    assert install(files) == paths
    # An instance: a template alone is not looked at as a whole.
    instance = tmp_path / "artifactfs@srv-artifacts.service"
    instance.write_text(Path(files.unit()).read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(instance)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert uninstall(files) == paths
    assert uninstall(files) == []
    assert not any(os.path.lexists(path) for path in paths)


def test_the_unit_gives_the_service_no_mount_namespace(tmp_path: Path) -> None:
    install(HostFiles(str(tmp_path), str(PROGRAMS)))
    names = {
        line.partition("=")[0]
        for line in (tmp_path / "etc/systemd/system/artifactfs@.service").read_text().splitlines()
    }
    # Source: systemd.exec(5), what implies a mount namespace.
    assert not names & {
        "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ReadOnlyPaths",
        "ReadWritePaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "ProtectKernelModules",
        "ProtectKernelTunables", "ProtectControlGroups", "ProtectKernelLogs", "ProtectProc", "ProtectHostname",
        "DynamicUser", "RootDirectory", "RootImage", "MountFlags", "StateDirectory",
    }  # fmt: skip


SCRIPT = """
set -eu
mkdir "$TOP/upper" "$TOP/work"
mount -t tmpfs none "$TOP/upper"
mkdir "$TOP/upper/u" "$TOP/upper/w"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$TOP/upper/u,workdir=$TOP/upper/w" /usr/sbin
mount -t tmpfs none /mnt
mkdir "$MNT"
trap 'umount -l "$MNT" 2>/dev/null || true' EXIT
ln -sf "$PROGRAMS/mount.artifactfs" "$PROGRAMS/umount.artifactfs" "$PROGRAMS/umount.fuse.artifactfs" /usr/sbin/
mkdir -p /run/mount
mount -t tmpfs none /run/mount
"""


@pytest.mark.mounted
@pytest.mark.usefixtures("private_namespaces")
@pytest.mark.parametrize(
    "options",
    ["uhelper=artifactfs", f"uhelper=artifactfs,ro,noexec,_netdev,nofail,x-systemd.automount,uid=1234,{LABEL}"],
)
def test_a_line_of_fstab_is_mounted_and_unmounted(host: Host, tmp_path: Path, options: str) -> None:
    mountpoint = "/mnt/artifacts"
    paths = {name: host.env[f"ARTIFACTFS_{name.upper()}"] for name in ("state", "cache", "runtime")}
    more = ",".join(f"{name}={path}" for name, path in paths.items())
    table = tmp_path / "fstab"
    table.write_text(f"{host.folders.repository} {mountpoint} artifactfs {options},{more} 0 0\n")
    script = SCRIPT + (
        'mount -T "$TABLE" "$MNT"\n'
        'grep " $MNT " /proc/self/mountinfo\n'
        'stat -c %u "$MNT/animals/v0/README"\n'
        'setpriv --reuid 4321 --regid 4321 --clear-groups cat "$MNT/animals/v0/README"\n'
        'umount "$MNT"\n'
        'if grep -q " $MNT " /proc/self/mountinfo; then exit 9; fi\n'
    )
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TOP": str(tmp_path), "TABLE": str(table), "MNT": mountpoint}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env=env | {"PROGRAMS": str(PROGRAMS)}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    line, uid, content = done.stdout.splitlines()
    assert content == "hello"
    assert uid == ("1234" if "uid" in options else "0")
    assert ("noexec" in line) == ("noexec" in options)
    assert "ro," in line
    assert "allow_other" in line


@pytest.mark.parametrize(("words", "code"), [("nonsense", 1), ("artifact=nothing", 32)])
def test_the_helper_ends_as_mount_does(host: Host, mountpoint: Path, words: str, code: int) -> None:
    done = subprocess.run(
        ["mount.artifactfs", host.folders.repository, mountpoint, "-o", words],
        env=host.env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code
    assert done.stderr.startswith(("mount.artifactfs: ", "artifactfs: "))
    assert done.stdout == ""
