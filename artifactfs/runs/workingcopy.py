"""Which commit a run was started from, and whether files differed from it.

git is asked, because only it knows its own formats; it is told to run no program of the working copy's choosing, and
given two seconds.

Used when a run begins. Threading: functions without state.

Source: git-status(1), "Porcelain Format Version 2".
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final

from artifactfs.runs.events import Git
from artifactfs.runs.secrets import strip_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS: Final = 2.0
_GIT: Final = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")


def find_git(directory: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Git | None:
    """Return the state of the working copy that a directory lies in, or None when it lies in none.

    Untracked files do not make it dirty: most working copies are full of them.
    """
    return ask_git(directory, timeout_seconds=timeout_seconds)()


def ask_git(directory: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Callable[[], Git | None]:
    """Have git look at a working copy meanwhile, and return what waits for the answer, which is that of `find_git`."""
    status = _begin(directory, "status", "--porcelain=v2", "--branch", "-uno")
    remote = _begin(directory, "config", "--get", "remote.origin.url")

    def find_answer() -> Git | None:
        deadline = time.monotonic() + timeout_seconds
        code, heads = _end(status, deadline)
        _, origin = _end(remote, deadline)
        if code is None:  # a working copy so large that it takes longer
            _, commit = _end(_begin(directory, "rev-parse", "HEAD"), time.monotonic() + timeout_seconds)
            return Git(commit.strip()) if commit else None
        return _read_status(heads, origin) if code == 0 else None

    return find_answer


def _read_status(status: str, remote: str) -> Git:
    heads = dict(line[2:].partition(" ")[::2] for line in status.splitlines() if line.startswith("# "))
    dirty = any(not line.startswith("#") for line in status.splitlines())
    commit, branch = heads.get("branch.oid", ""), heads.get("branch.head", "")
    return Git(
        "" if commit == "(initial)" else commit,
        dirty,
        "" if branch == "(detached)" else branch,
        strip_credentials(remote.strip()),
    )


def _begin(directory: str, *arguments: str) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            [*_GIT, "-C", directory, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def _end(process: subprocess.Popen[bytes] | None, deadline: float) -> tuple[int | None, str]:
    """Return the exit code and what was printed; None and nothing when it took too long, or was not begun."""
    if process is None:
        return None, ""
    with process:
        try:
            printed, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            return None, ""
        return process.returncode, printed.decode("utf-8", "replace") if process.returncode == 0 else ""
