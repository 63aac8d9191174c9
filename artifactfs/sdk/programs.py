"""Running a program as a run: it sees its own view of the mount, and what it reads and makes is recorded.

Used by the command line. Threading: one thread, beside that which keeps the run known as alive.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import AccessDeniedError, ArtifactFSError, MountError, SourceNotFoundError
from artifactfs.interop.lockfile import check_lock, read_lock
from artifactfs.mount.api import iter_mounts
from artifactfs.mount.namespaces import enter
from artifactfs.mount.run_mounts import RunMounts, find_run_mounts
from artifactfs.repository.runviews import begin_view, hold_view
from artifactfs.runs.events import is_run_id
from artifactfs.runs.inputs import close_view, record_files, record_inputs
from artifactfs.runs.lease import Heartbeat
from artifactfs.runs.markers import add_marker, note_end, remove_marker
from artifactfs.runs.members import adopt_orphans, find_mount_namespace, has_children, has_members, reap_others
from artifactfs.runs.secrets import Masker
from artifactfs.sdk.lingering import Remains, watch_remains
from artifactfs.sdk.starting import describe_circumstances
from artifactfs.sdk.workspace import LOCK_VARIABLE, MOUNT_VARIABLE
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from artifactfs.repository.locked import Locked
    from artifactfs.runs.events import Started
    from artifactfs.sdk.workspace import Workspace

PASSED_ON: Final = frozenset(
    {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
ENDING_SECONDS: Final = 0.3
"""For this long processes that the program leaves may still be ending, such as helpers of Python's multiprocessing."""
_FROM_KERNEL: Final = 0x80
"""`si_code` of a signal of the terminal, which the program gets by itself. Source: sigaction(2), SI_KERNEL."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended.

    Attributes:
        run: the id of its run.
        exit_code: its exit status; 128 and the signal's number when a signal ended it.
        mountpoint: where it saw its view; empty when nothing is mounted, and then only what it read by commands, fsspec
            and the SDK is recorded.
        goes_on: whether processes that it had started go on; what they look up is recorded until they end.
        unrecorded: why the end could not be recorded; whoever next lists or begins runs here tries again. Empty when it
            is recorded.
    """

    run: str
    exit_code: int
    mountpoint: str
    goes_on: bool = False
    unrecorded: str = ""


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the program itself ended, and what it left."""

    exit_code: int
    mountpoint: str = ""
    namespace: int = 0
    goes_on: bool = False


def run_program(
    workspace: Workspace,
    command: Sequence[str],
    *,
    details: Mapping[str, Any],
    bind: bool = True,
    lock: str | None = None,
    tell_unseen: Callable[[Sequence[str]], None] = lambda _: None,
) -> ProgramResult:
    """Run a program as a run, and return how it ended.

    Args:
        workspace: where the run is recorded.
        command: the program and its arguments.
        details: what the run is given: name, job_type, project, notes, tags, config.
        bind: show the view in the place of the mount, where that is allowed.
        lock: path of a lock file: the program sees its versions only, in the mount and through Python.
        tell_unseen: is told, before the program starts, below which mount points of artifactfs nothing is recorded.

    Raises:
        SourceNotFoundError, AccessDeniedError: there is no such program; the run is recorded as failed.
        MountError: there is a lock, and a mount that would show more; nothing was run.
        ArtifactFSError: the run could not be recorded, or the lock cannot be kept; nothing was run.
    """
    repository, runs = workspace.repository, workspace.runs
    repository.check_writable()
    locked = _read_lock(workspace, lock)
    masker = Masker(os.environ)
    circumstances = describe_circumstances(runs, masker, command=command, path=None)
    given = masker.mask_details(details)
    outer = os.environ.get(RUN_VARIABLE, "")
    parent = outer if is_run_id(outer) else ""
    started = runs.start(author=workspace.author, circumstances=circumstances, parent=parent, **given)
    add_marker(repository.state_directory, started.run)
    begin_view(repository, started.run, locked=locked)
    held = hold_view(repository.state_directory, started.run)
    ended = _Ended(127)
    try:
        ended = _run(workspace, started, command, bind=bind, lock=lock, tell_unseen=tell_unseen)
    finally:
        with suppress(ArtifactFSError):  # the record of what was read must not hide how the program ended
            record_inputs(repository.state_directory, runs, started.run)
        unrecorded = _record_end(workspace, started.run, ended.exit_code)
        _leave(workspace, started.run, ended, held, is_recorded=not unrecorded)
        os.close(held)
    return ProgramResult(started.run, ended.exit_code, ended.mountpoint, ended.goes_on, unrecorded)


def _record_end(workspace: Workspace, run: str, exit_code: int) -> str:
    """Record that a run ended; return what keeps it from being recorded, which is remembered for later, or ""."""
    time_ns = workspace.repository.clock.now_ns()
    try:
        workspace.runs.finish(run, exit_code=exit_code)
    except (ArtifactFSError, OSError) as error:
        note_end(workspace.repository.state_directory, run, exit_code=exit_code, time_ns=time_ns)
        return str(error)
    return ""


def _leave(workspace: Workspace, run: str, ended: _Ended, held: int, *, is_recorded: bool) -> None:
    """Record what was looked up and end the view, or hand that over to a process which waits for those that go on."""
    state_directory, runs = workspace.repository.state_directory, workspace.runs
    with suppress(ArtifactFSError, OSError):
        if ended.goes_on:
            record_files(state_directory, runs, run)
            variable = f"{RUN_VARIABLE}={run}"
            watch_remains(workspace, Remains(run, variable, ended.namespace, held, workspace.places.repository))
            return
        close_view(state_directory, runs, run)
        if is_recorded:
            remove_marker(state_directory, run)


def _run(
    workspace: Workspace,
    started: Started,
    command: Sequence[str],
    *,
    bind: bool,
    lock: str | None,
    tell_unseen: Callable[[Sequence[str]], None],
) -> _Ended:
    found = find_run_mounts(workspace.places, workspace.repository.id, run=started.run)
    environ = {**os.environ, RUN_VARIABLE: started.run}
    if lock is not None:
        environ[LOCK_VARIABLE] = lock
    if found.main:
        environ[MOUNT_VARIABLE] = found.view
    if found.shown:
        adopt_orphans()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    try:
        if bind and found.shown:
            process = _start(command, environ, found, old, must_bind=lock is not None, tell_unseen=tell_unseen)
        else:
            others = [mountpoint for _, mountpoint in found.shown if mountpoint != found.main]
            unseen = [*others, *found.unseen]
            if unseen:
                tell_unseen(unseen)
            process = _popen(command, environ, lambda: _unblock(old))
        namespace = find_mount_namespace(process.pid) if found.shown else 0
        heartbeat = Heartbeat(lambda: _renew(workspace, started), lease_ns=started.lease_ns)
        heartbeat.start()
        try:
            code = _wait(process)
            goes_on = bool(found.shown) and _leaves_some()
            if goes_on:  # servers of mounts that it has started are no part of the run
                goes_on = has_members(f"{RUN_VARIABLE}={started.run}", namespace=namespace)
        finally:
            heartbeat.stop()
    finally:
        _drop_pending()
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return _Ended(code, found.shown[-1][1] if found.shown else "", namespace, goes_on)


def _renew(workspace: Workspace, started: Started) -> int:
    """Record what was read by now, and that the run is alive; return its new lease."""
    record_inputs(workspace.repository.state_directory, workspace.runs, started.run)
    return workspace.runs.renew(started.run, started_ns=started.time_ns)


def _drop_pending() -> None:
    """Take the signals that have come too late for the program, or the terminal sent to it as well."""
    while signal.sigtimedwait(PASSED_ON, 0) is not None:
        pass


def _leaves_some() -> bool:
    """Return whether processes go on that the program has started; those that are just ending are waited for.

    Never where this is the first process of a container, which ends them all.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    while has_children():
        if time.monotonic() > deadline:
            return os.getpid() != 1
        signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, 0.05)  # what ends programs comes too late for this one
    return False


def _read_lock(workspace: Workspace, path: str | None) -> Locked | None:
    if path is None:
        return None
    lock = read_lock(path)
    repository = workspace.repository
    check_lock(repository, lock)
    for info in iter_mounts(workspace.places):
        if info.repository_id == repository.id and info.kind == "repository" and info.transport != "kernel":
            msg = f"the mount at {info.mountpoint} cannot show a part of the repository to one program"
            raise MountError(msg, hint="unmount it, or mount the lock file itself", subject=info.mountpoint)
    return lock.as_locked()


def _start(
    command: Sequence[str],
    environ: dict[str, str],
    mounts: RunMounts,
    mask: set[Any],
    *,
    must_bind: bool,
    tell_unseen: Callable[[Sequence[str]], None],
) -> subprocess.Popen[bytes]:
    """Start a program that sees the view of the run in the place of the mounts, or is told of it if that cannot be."""

    def prepare() -> None:
        for mountpoint in enter(mounts.shown, main=mounts.main):
            os.write(2, f"artifactfs: what is read below {mountpoint} is not recorded\n".encode(errors="replace"))
        _unblock(mask)

    if mounts.unseen:
        tell_unseen(mounts.unseen)
    try:
        return _popen(command, {**environ, **({MOUNT_VARIABLE: mounts.main} if mounts.main else {})}, prepare)
    except subprocess.SubprocessError as error:
        if must_bind:
            msg = f"the locked view cannot be shown at {mounts.shown[-1][1]}, which shows everything"
            raise MountError(msg, hint="--no-bind, and a program that reads where ARTIFACTFS_MOUNT says") from error
    tell_unseen([mountpoint for _, mountpoint in mounts.shown])
    return _popen(command, environ, lambda: _unblock(mask))


def _unblock(mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _popen(command: Sequence[str], environ: dict[str, str], prepare: Callable[[], None]) -> subprocess.Popen[bytes]:
    try:
        # One thread only: the heartbeat begins later.
        return subprocess.Popen(list(command), env=environ, preexec_fn=prepare)  # noqa: PLW1509
    except FileNotFoundError as error:
        msg = f"there is no program {command[0]!r}"
        raise SourceNotFoundError(msg, hint="artifactfs run -- PROGRAM ARGUMENTS", subject=command[0]) from error
    except PermissionError as error:
        msg = f"{command[0]!r} cannot be executed"
        raise AccessDeniedError(msg, subject=command[0]) from error


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status of the program; signals that come meanwhile are passed on."""
    while True:
        code = process.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
        reap_others(process.pid)
        found = signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, 1.0)
        if found is not None and found.si_signo != signal.SIGCHLD and found.si_code != _FROM_KERNEL:
            process.send_signal(found.si_signo)
