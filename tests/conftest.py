"""What all tests share: an environment of their own, and a header that says what this machine can do."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

XDG_FOLDERS = {
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_RUNTIME_DIR": "run",
}


KERNEL_CACHES = {
    "test_kills",
    "test_kills_repository",
    "test_listings",
    "test_memory_mount",
    "test_raw_bytes",
    "test_repository",
    "test_run_programs",
}
"""Modules that drop the kernel's caches, or count what it asks for because something is not in them: one process runs
them all, one after the other. Of the other modules, each is run by one process."""


def has_libfuse2() -> bool:
    try:
        ctypes.CDLL("libfuse.so.2")
    except OSError:
        return False
    return True


def missing_for_mounts() -> str:
    """Return what keeps this machine from mounting, or an empty string."""
    if not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse may not be opened"
    if not has_libfuse2():
        return "libfuse 2 is missing"
    if not shutil.which("fusermount3") and not shutil.which("fusermount"):
        return "fusermount is missing"
    return ""


def pytest_configure() -> None:
    """Let the programs of the tests be interrupted: what a shell starts in the background ignores SIGINT, inherited."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    tools = [tool for tool in ("rsync", "getfattr", "strace", "mkfs.ext4", "mkfs.xfs", "unshare") if shutil.which(tool)]
    return [
        f"user: {'root' if os.geteuid() == 0 else 'ordinary'}; kernel: {os.uname().release}",
        f"mounts: {missing_for_mounts() or 'yes'}; tools: {', '.join(tools)}",
    ]


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing_for_mounts()
    for item in items:
        item.add_marker(pytest.mark.xdist_group("caches" if item.path.stem in KERNEL_CACHES else item.path.stem))
        if reason and item.get_closest_marker("mounted"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this test's user directories lie; nothing touches those of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    for variable, folder in XDG_FOLDERS.items():
        (home / folder).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(home / folder))
    for variable in [name for name in os.environ if name.startswith("ARTIFACTFS_")]:
        monkeypatch.delenv(variable)
    # Root's is /run/artifactfs whatever XDG says, and other tests' mounts would show there.
    monkeypatch.setenv("ARTIFACTFS_RUNTIME", str(home / "run"))
    return home
