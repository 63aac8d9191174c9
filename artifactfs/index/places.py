"""Where an LMDB environment may lie: not on a network disk, because a memory map does not belong there.

Used by `index` and `epoch`. Threading: functions without state.

Source: "Do not use LMDB databases on remote filesystems" in lmdb.h; the mount table's escapes are of proc(5).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from typing import Final

from artifactfs.errors import IndexCorruptError

LOCAL_FALLBACK: Final = "/var/tmp"  # noqa: S108 (the directory made in it is checked)
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "afs", "orangefs"}
)
_NETWORK_FUSE: Final = ("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone")
_ESCAPE = re.compile(r"\\([0-7]{3})")

_log = logging.getLogger(__name__)


def find_local_directory(directory: str, *, mounts: str = "/proc/self/mounts", uid: int | None = None) -> str:
    """Return `directory`, or, when that is on a network disk, one of this user's under `/var/tmp`.

    Args:
        directory: where it should be; need not exist.
        mounts: the table of mounts.
        uid: who must own the directory under `/var/tmp`; None is whoever runs this.

    Raises:
        IndexCorruptError: the directory under `/var/tmp` belongs to somebody else.
    """
    if not _is_on_network(os.path.realpath(directory), mounts):
        return directory
    owner = os.getuid() if uid is None else uid
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    parent = os.path.join(LOCAL_FALLBACK, f"artifactfs-{owner}")
    os.makedirs(parent, mode=0o700, exist_ok=True)
    status = os.lstat(parent)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
        msg = f"{parent} does not belong to you alone"
        raise IndexCorruptError(msg, hint="remove it, or set ARTIFACTFS_STATE to a local directory", subject=parent)
    _log.info("%s is on a network disk: the index is kept under %s", directory, parent)
    return os.path.join(parent, name)


def _is_on_network(path: str, mounts: str) -> bool:
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ") for line in file]
    except OSError:
        return False  # no /proc: macOS
    best, kind = "", ""
    for line in lines:
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), line[1])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, line[2]
    return kind in _NETWORK or kind.startswith(_NETWORK_FUSE)
