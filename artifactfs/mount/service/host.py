"""What a host gets so that mounts belong to it: a unit of systemd, and the helpers that mount(8) and umount(8) run.

Used by the command line. Threading: functions without state.

Source: docs/design/containers.md, "The unit"; systemd.exec(5), systemd.service(5); mount(8), "external helpers".
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from artifactfs.errors import MountError, translate_os_error

UNIT: Final = "etc/systemd/system/artifactfs@.service"
HELPERS: Final = ("mount.artifactfs", "umount.artifactfs", "umount.fuse.artifactfs")
"""umount(8) takes the second when the mount has `uhelper=artifactfs`, and the third for `umount -l`."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./+-]+")

_TEXT: Final = """\
# Serves one artifactfs mount. The name says where: artifactfs@srv-artifactfs-artifacts.service mounts on
# /srv/artifactfs/artifacts (systemd-escape --path makes names of paths).
# Settings: /etc/artifactfs/NAME.env, such as ARTIFACTFS_REPO=s3://bucket/place and MOUNT_OPTIONS=--cache-size 200G.
# Written by `artifactfs host install`; `artifactfs host uninstall` removes it.
[Unit]
Description=artifactfs on %f
Documentation=man:mount(8)
After=local-fs.target network-online.target
Wants=network-online.target
Before=docker.service podman.service containerd.service crio.service kubelet.service slurmd.service
RequiresMountsFor=/var/lib/artifactfs
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
EnvironmentFile=-/etc/artifactfs/%i.env
Environment=MOUNT_OPTIONS=
ExecStart={program} mount --foreground --allow-other --mkdir --share-parent $MOUNT_OPTIONS %f
ExecReload={program} mount --upgrade %f
Restart=always
RestartSec=100ms

# The descriptor of the mount outlives the server: nobody who reads notices that one was killed or restarted.
FileDescriptorStoreMax=16
RestartKillSignal=SIGUSR1
# Workers end with the server; those of staging directories go on without it.
KillMode=process
TimeoutStopSec=60

# The last to be killed when memory runs out; a worker that is killed all the same is replaced.
OOMScoreAdjust=-900
OOMPolicy=continue
LimitNOFILE=1048576
LimitMEMLOCK=infinity

# Nothing here may give the service a mount namespace of its own: the host would not see what is mounted in it.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_FSETID CAP_KILL
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SYS_PTRACE CAP_SYS_RESOURCE CAP_IPC_LOCK CAP_MKNOD
NoNewPrivileges=yes
DevicePolicy=closed
DeviceAllow=/dev/fuse rw
DeviceAllow=/dev/cpu_dma_latency rw
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class HostFiles:
    """Where a host's files are.

    Attributes:
        root: the directory that stands for `/`.
        programs: the directory in which the programs of this installation are.
    """

    root: str
    programs: str

    def unit(self) -> str:
        """Return the path of the unit."""
        return os.path.join(self.root, UNIT)

    def helpers(self) -> dict[str, str]:
        """Return the path of each helper, and the program that it leads to."""
        return {os.path.join(self.root, "sbin", name): os.path.join(self.programs, name) for name in HELPERS}


def format_unit(program: str) -> str:
    """Return the text of the unit.

    Args:
        program: absolute path of `artifactfs`.

    Raises:
        MountError: a unit cannot name it.
    """
    if not _PLAIN.fullmatch(program):
        msg = f"a unit cannot name the program {program}"
        raise MountError(msg, hint="install artifactfs at a path without blanks", subject=program)
    return _TEXT.format(program=program)


def install(files: HostFiles) -> list[str]:
    """Write the unit and link the helpers, in place of what an earlier release wrote; return their paths.

    Raises:
        MountError: a path cannot be named, or something else stands in a helper's place.
        AccessDeniedError, StorageFullError: a file cannot be written.
    """
    text = format_unit(os.path.join(files.programs, "artifactfs"))
    for path in files.helpers():
        if os.path.lexists(path) and not os.path.islink(path):
            msg = f"{path} is there already, and is no link of artifactfs"
            raise MountError(msg, hint="remove it if it is not needed", subject=path)
    try:
        for path, program in files.helpers().items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.symlink(program, path)
        os.makedirs(os.path.dirname(files.unit()), exist_ok=True)
        with open(f"{files.unit()}.new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(f"{files.unit()}.new", files.unit())
    except OSError as error:
        raise translate_os_error(error, doing="installing on this host", subject=files.root) from error
    return [files.unit(), *files.helpers()]


def uninstall(files: HostFiles) -> list[str]:
    """Remove what `install` wrote; return the paths. What is not there is no error.

    Raises:
        AccessDeniedError: a file cannot be removed.
    """
    removed = []
    try:
        for path in (files.unit(), *files.helpers()):
            if os.path.islink(path) or (path == files.unit() and os.path.exists(path)):
                os.unlink(path)
                removed.append(path)
    except OSError as error:
        raise translate_os_error(error, doing="uninstalling from this host", subject=files.root) from error
    return removed
