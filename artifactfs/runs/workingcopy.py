"""Which commit a run was started from, and whether files differed from it.

git is asked, because only it knows its own formats; it is told to run no program of the working copy's choosing, and
given two seconds.

Used when a run begins. Threading: functions without state.

Source: git-status(1), "Porcelain Format Version 2".
"""

from __future__ import annotations

import subprocess
from typing import Final

from artifactfs.runs.events import Git
from artifactfs.runs.secrets import strip_credentials

TIMEOUT_SECONDS: Final = 2.0
_GIT: Final = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")


def find_git(directory: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Git | None:
    """Return the state of the working copy that a directory lies in, or None when it lies in none.

    Untracked files do not make it dirty: most working copies are full of them.
    """
    status = _ask(directory, "status", "--porcelain=v2", "--branch", "-uno", timeout_seconds=timeout_seconds)
    if status is None:
        commit = _ask(directory, "rev-parse", "HEAD", timeout_seconds=timeout_seconds)
        return Git(commit.strip()) if commit else None
    heads = dict(line[2:].partition(" ")[::2] for line in status.splitlines() if line.startswith("# "))
    dirty = any(not line.startswith("#") for line in status.splitlines())
    commit, branch = heads.get("branch.oid", ""), heads.get("branch.head", "")
    remote = _ask(directory, "config", "--get", "remote.origin.url", timeout_seconds=timeout_seconds) or ""
    return Git(
        "" if commit == "(initial)" else commit,
        dirty,
        "" if branch == "(detached)" else branch,
        strip_credentials(remote.strip()),
    )


def _ask(directory: str, *arguments: str, timeout_seconds: float) -> str | None:
    try:
        done = subprocess.run(
            [*_GIT, "-C", directory, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
