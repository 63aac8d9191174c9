"""Running a program as a run: it sees its own view of the mount, and what it reads and makes is recorded.

Used by the command line. Threading: one thread, beside that which keeps the run known as alive.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import AccessDeniedError, ArtifactFSError, SourceNotFoundError
from artifactfs.mount.api import find_view
from artifactfs.mount.namespaces import enter
from artifactfs.repository.runviews import begin_view
from artifactfs.runs.inputs import close_view, record_inputs
from artifactfs.runs.lease import Heartbeat
from artifactfs.runs.markers import add_marker, remove_marker
from artifactfs.runs.secrets import Masker
from artifactfs.sdk.starting import RUN_VARIABLE, describe_circumstances
from artifactfs.sdk.workspace import MOUNT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from artifactfs.runs.events import Started
    from artifactfs.sdk.workspace import Workspace

PASSED_ON: Final = frozenset(
    {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
_FROM_KERNEL: Final = 0x80
"""`si_code` of a signal of the terminal, which the program gets by itself. Source: sigaction(2), SI_KERNEL."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended.

    Attributes:
        run: the id of its run.
        exit_code: its exit status; 128 and the signal's number when a signal ended it.
        mountpoint: where it saw its view; empty when nothing is mounted, and then nothing it read is recorded.
    """

    run: str
    exit_code: int
    mountpoint: str


def run_program(
    workspace: Workspace, command: Sequence[str], *, details: Mapping[str, Any], bind: bool = True
) -> ProgramResult:
    """Run a program as a run, and return how it ended.

    Args:
        workspace: where the run is recorded.
        command: the program and its arguments.
        details: what the run is given: name, job_type, project, notes, tags, config.
        bind: show the view in the place of the mount, where that is allowed.

    Raises:
        SourceNotFoundError, AccessDeniedError: there is no such program; the run is recorded as failed.
        ArtifactFSError: the run could not be recorded; nothing was run.
    """
    repository, runs = workspace.repository, workspace.runs
    repository.check_writable()
    masker = Masker(os.environ)
    circumstances = describe_circumstances(runs, masker, command=command, path=None)
    given = {**details, "config": masker.mask_values(details.get("config", {}))}
    started = runs.start(author=workspace.author, circumstances=circumstances, **given)
    add_marker(repository.state_directory, started.run)
    begin_view(repository, started.run)
    code = 127
    try:
        code, mountpoint = _run(workspace, started, command, bind=bind)
    finally:
        with suppress(ArtifactFSError):  # the record of what was read must not hide how the program ended
            close_view(repository.state_directory, runs, started.run)
        runs.finish(started.run, exit_code=code)
        remove_marker(repository.state_directory, started.run)
    return ProgramResult(started.run, code, mountpoint)


def _run(workspace: Workspace, started: Started, command: Sequence[str], *, bind: bool) -> tuple[int, str]:
    repository = workspace.repository
    found = find_view(workspace.places, repository.id, run=started.run)
    environ = {**os.environ, RUN_VARIABLE: started.run}
    if found is not None:
        environ[MOUNT_VARIABLE] = found[1]
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    try:
        process = _start(command, environ, found if bind else None, old)

        def renew() -> int:
            record_inputs(repository.state_directory, workspace.runs, started.run)
            return workspace.runs.renew(started.run, started_ns=started.time_ns)

        heartbeat = Heartbeat(renew, lease_ns=started.lease_ns)
        heartbeat.start()
        try:
            code = _wait(process)
        finally:
            heartbeat.stop()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return code, "" if found is None else found[0]


def _start(
    command: Sequence[str], environ: dict[str, str], view: tuple[str, str] | None, mask: set[Any]
) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        if view is not None:
            enter(view[1], view[0])
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    if view is not None:
        inside = {**environ, MOUNT_VARIABLE: view[0]}
        with suppress(subprocess.SubprocessError):  # it is not allowed here: the program is told of the directory
            return _popen(command, inside, prepare)
        view = None
    return _popen(command, environ, prepare)


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
        found = signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, 1.0)
        if found is not None and found.si_signo != signal.SIGCHLD and found.si_code != _FROM_KERNEL:
            process.send_signal(found.si_signo)
