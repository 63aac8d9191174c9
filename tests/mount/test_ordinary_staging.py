"""Staging directories of an ordinary user, who may not mount: by fusermount3, in a mount name space of his own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from artifactfs.mount.syscalls import may_mount
from tests.kernel.test_ordinary_user import as_nobody, folder

__all__ = ["folder"]

SCRIPT = Path(__file__).with_name("ordinary_staging.py")
missing = [name for name in ("unshare", "setpriv", "fusermount3") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(os.getuid() != 0 or not may_mount(), reason="becoming somebody else needs root"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


def test_from_end_to_end(folder: Path) -> None:
    as_nobody(folder, sys.executable, SCRIPT, folder / "home", device=folder / "fuse")
