"""A kernel overlay over a checked-out version, without any server: for tests of what a commit reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifactfs.mount.overlay.mounting import OverlayPaths, mount_overlay
from artifactfs.mount.syscalls import unmount_privileged
from artifactfs.repository.checkout import checkout
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import Staging
from artifactfs.staging.conversion import convert_to_overlay
from artifactfs.staging.layout import serving


@contextmanager
def overlaid(repository: Repository, staging: Staging, work: Path) -> Iterator[Path]:
    """Give the directory in which the kernel shows a staging directory."""
    lower, top, kernel = work / "lower", work / "top", work / "kernel"
    for path in (lower, top, kernel):
        shutil.rmtree(path, ignore_errors=True)
    for path in (top, kernel):
        path.mkdir()
    lower.mkdir()
    if staging.info.root is not None:
        checkout(repository, staging.info.root, bytes(lower))
    with serving(staging.layout):
        convert_to_overlay(staging.layout, staging.upper)
        mount_overlay(OverlayPaths(str(lower), os.fsdecode(staging.upper), str(kernel)), str(top))
        try:
            yield top
        finally:
            unmount_privileged(str(top))
