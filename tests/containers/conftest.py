"""Mounts that reach containers: the fixtures of mounted tests, and what namespaces and containers need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.support import Host
from tests.mount.conftest import folders, mountpoint, repository, source

__all__ = ["folders", "mountpoint", "repository", "source"]


@pytest.fixture
def host(folders, repository, tmp_path: Path) -> Iterator[Host]:
    """Return what a test calls the machine: a repository with `animals:v0`, and the command line for it."""
    found = Host(folders, tmp_path)
    yield found
    found.end()


@pytest.fixture(scope="session")
def private_namespaces() -> None:
    """Skip where no mount namespace can be had."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
