"""Having servers of staging directories started and ended where the mount of the repository was made.

A program of `artifactfs run` lives in a mount namespace of its own. A server that began there would be seen by nobody
else, and would end with it. So a helper process (`python -m artifactfs.mount.outside_helper`) does it in the namespace
of the mount's server, and then shows what was mounted here, too, where that does not come by itself.

Used by `staging_mounts`. Threading: functions without state. Source: setns(2), mount_namespaces(7).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from artifactfs.errors import MountError, UsageError
from artifactfs.mount.control import decode_error
from artifactfs.mount.environment import server_environment
from artifactfs.mount.mountinfo import read_mounts
from artifactfs.mount.syscalls import enter_namespace, may_mount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.mount.options import MountInfo, Places

_HELPER: Final = "artifactfs.mount.outside_helper"
_HELPER_SECONDS: Final = 120


def find_outside(mounts: Iterable[MountInfo]) -> int | None:
    """Return the server of the first mount when it lives in another mount namespace, which can be seen; else None."""
    info = next(iter(mounts), None)
    if info is None:
        return None
    try:
        if os.stat(f"/proc/{info.pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino:
            return None
        lines = read_mounts(str(info.pid))
    except OSError:
        return None
    return info.pid if any(line.is_ours and line.mountpoint == info.mountpoint for line in lines) else None


def check_outside(server: int | None) -> None:
    """Return if this process may do something where `server` lives.

    Raises:
        UsageError: it may not.
    """
    if server is not None and not (os.geteuid() == 0 and may_mount()):
        msg = "a program of `artifactfs run` cannot start or end a staging directory"
        raise UsageError(msg, hint="run `artifactfs stage` before the run, and `discard` after it")


def do_outside(server: int, places: Places, what: str, **fields: str) -> str | None:
    """Have the helper do something in the mount namespace of a server; return the path that it answers.

    Args:
        server: its process.
        places: the user's directories.
        what: `attach` or `release`.
        fields: of the staging directory: `repository_id`, `collection`, `name`, `author`.

    Raises:
        UsageError: this process may not.
        ArtifactFSError: what the helper answers.
    """
    check_outside(server)
    directories = {name: getattr(places, name) for name in ("repository", "state", "cache", "runtime")}
    here = _open_namespace("self")
    there = _open_namespace(str(server))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _HELPER, json.dumps({"do": what, "here": here, **directories, **fields})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=here,
            env=server_environment(),
            preexec_fn=lambda: enter_namespace(*there),
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except subprocess.SubprocessError as error:
        msg = f"the mount's namespace cannot be entered: {error}"
        raise MountError(msg, hint="run `artifactfs stage` before the run") from error
    finally:
        for descriptor in (*here, *there):
            os.close(descriptor)
    answer = json.loads(done.stdout or '{"message": "the helper of the mount ended without an answer"}')
    if "message" in answer:
        raise decode_error(answer)
    path: str | None = answer["path"]
    return path


def _open_namespace(process: str) -> tuple[int, int]:
    """Return descriptors of the mount namespace and of the root directory of a process."""
    namespace = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return namespace, os.open(f"/proc/{process}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        os.close(namespace)
        raise
