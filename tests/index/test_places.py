"""Where the index may lie: local disks only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.errors import IndexCorruptError
from artifactfs.index import places as module
from artifactfs.index.places import find_local_directory

MOUNTS = """proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
server:/home /mnt/home nfs4 rw 0 0
/dev/b /mnt/home/fast xfs rw 0 0
server:/odd /mnt/a\\040b\\134c fuse.sshfs rw 0 0
"""


def test_network_disks_are_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(module, "LOCAL_FALLBACK", str(tmp_path / "var"))
    (tmp_path / "var").mkdir()
    assert find_local_directory("/mnt/home/fast/x", mounts=str(mounts)) == "/mnt/home/fast/x"
    assert find_local_directory("/mnt/homework/x", mounts=str(mounts)) == "/mnt/homework/x"
    assert find_local_directory("/mnt/a b\\c/x", mounts=str(mounts)) != "/mnt/a b\\c/x"
    assert find_local_directory("/mnt/home/x", mounts=str(tmp_path / "none")) == "/mnt/home/x", "no /proc"
    found = find_local_directory("/mnt/home/x", mounts=str(mounts))
    assert found.startswith(str(tmp_path / "var"))
    os.chmod(os.path.dirname(found), 0o777)
    with pytest.raises(IndexCorruptError, match="belong to you alone"):
        find_local_directory("/mnt/home/x", mounts=str(mounts))
