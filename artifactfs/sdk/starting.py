"""Beginning a run: a new one, one that goes on, or the one that this process is a part of.

Used by programs. Threading: functions without state.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from artifactfs._version import __version__
from artifactfs.errors import AlreadyExistsError, NotFoundError, UsageError
from artifactfs.runs.events import Circumstances, check_run_id, is_run_id
from artifactfs.runs.history import RunLog
from artifactfs.runs.interpreter import find_interpreter
from artifactfs.runs.machine import choose_variables, describe_environment
from artifactfs.runs.markers import add_marker, settle_marked
from artifactfs.runs.processes import describe_process
from artifactfs.runs.secrets import Masker
from artifactfs.runs.workingcopy import ask_git
from artifactfs.sdk.configuration import find_values
from artifactfs.sdk.ending import Ending
from artifactfs.sdk.joining import join_run
from artifactfs.sdk.run import Run
from artifactfs.sdk.workspace import find_user, find_workspace
from artifactfs.variables import RUN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactfs.runs.state import RunState
    from artifactfs.sdk.configuration import Configuration
    from artifactfs.sdk.workspace import Workspace

ARGUMENTS_MAX: Final = 1000
ARGUMENT_MAX: Final = 4096
Resume = Literal["allow", "must", "never"]


def init(  # noqa: PLR0913 (what users know)
    name: str | None = None,
    *,
    job_type: str | None = None,
    project: str | None = None,
    config: Configuration | None = None,
    tags: Iterable[str] = (),
    notes: str | None = None,
    id: str | None = None,  # noqa: A002 (the name that users know)
    resume: bool | Resume | None = None,
    repository: str | os.PathLike[str] | None = None,
) -> Run:
    """Begin a run, and return it. The repository is made where there is none.

    Recorded are host, user, process, command line, working directory, git commit, software and hardware, and a few
    environment variables; what looks like a secret is masked in all of it, and in `config`. In a program that
    `artifactfs run` started, the run is that one, which goes on when this program ends. It gets what is given here and
    was not on the command line; what was given there stays, and a warning names what differs.

    Args:
        name: for people.
        job_type: what kind of work it is, such as `train`.
        project: what it belongs to.
        config: JSON values by key, or what argparse returns.
        tags: words.
        notes: free text.
        id: the id that the run gets, a UUID of version 7; or with `resume` the one that it has. None makes one.
        resume: `"allow"` (or True) goes on with the run `id` if there is one, `"must"` insists that there is, and
            `"never"` (or None) that there is not. A run that goes on keeps its name and what else it was given, but
            for `config`, which is added.
        repository: the repository's location; None takes what the environment says.

    Raises:
        AlreadyExistsError: there is a run `id`, and `resume` does not allow it.
        NotFoundError: there is none, and `resume` is `"must"`.
        InvalidNameError: `id` is not the id of a run.
        ConfigurationError: a setting, or the place of the repository, cannot be used.
        UsageError: `config` is not JSON, `resume` is something else, or has no `id`.
        ArtifactFSError: the repository cannot be opened or written to.
    """
    wanted = _check_resume(resume, id)
    workspace = find_workspace(repository)
    workspace.repository.check_writable()
    masker = Masker(os.environ)
    given = masker.mask_details(
        {
            "name": name or "",
            "job_type": job_type or "",
            "project": project or "",
            "notes": notes or "",
            "tags": (tags,) if isinstance(tags, str) else tuple(tags),
            "config": find_values(config, masker),
        }
    )
    outer = os.environ.get(RUN_VARIABLE, "")
    if outer and id is None:
        with suppress(NotFoundError):  # a run of another repository: this one is of its own
            return join_run(workspace, workspace.runs.get_run(outer), given)
    settle_marked(workspace.runs, workspace.repository.state_directory)
    circumstances = describe_circumstances(workspace.runs, masker, command=sys.orig_argv, path=sys.path)
    found = None if id is None else _find(workspace.runs, check_run_id(id), wanted)
    if found is not None:
        return _take(workspace, found.id, _resume(workspace, found, circumstances, given["config"]))
    started = workspace.runs.start(
        author=workspace.author,
        run=id,
        circumstances=circumstances,
        parent=outer if is_run_id(outer) else "",
        **given,
    )
    return _take(workspace, started.run, started.lease_ns)


def _resume(workspace: Workspace, found: RunState, circumstances: Circumstances, values: dict[str, Any]) -> int:
    """Go on with a run, and return for how long it counts as running without another sign of life."""
    lease_ns = workspace.runs.resume(found, author=workspace.author, circumstances=circumstances)
    if values:
        workspace.runs.configure(found.id, values)
    return lease_ns


def _take(workspace: Workspace, number: str, lease_ns: int) -> Run:
    """Return a run that began just now, as this process's own: it ends with it at the latest."""
    add_marker(workspace.repository.state_directory, number)
    run = Run(workspace, workspace.runs.get_run(number), lease_ns=lease_ns)
    workspace.run = number
    run.ending = Ending(lambda exit_code: run.finish(exit_code=exit_code))
    return run


def describe_circumstances(
    runs: RunLog, masker: Masker, *, command: Sequence[str], path: Iterable[str] | None, pid: int | None = None
) -> Circumstances:
    """Return how a process was started, masked; what it runs with is stored.

    Args:
        runs: where that is stored.
        masker: of the environment of this process.
        command: the command line, with the program.
        path: where Python looks for packages; None finds out by the command line which Python that is, if any.
        pid: the process; None is this one.

    Raises:
        StorageFullError, ArtifactFSError: it could not be stored.
    """
    directory = _find_directory()
    find_answer = ask_git(directory) if directory else None  # looks while the rest is found out
    found = find_interpreter(command, os.environ, directory) if path is None and command else None
    environment = describe_environment(
        os.environ,
        release=__version__,
        path=path if found is None else found.path,
        python="" if found is None else found.python,
    )
    arguments = [word[:ARGUMENT_MAX] for word in masker.mask_arguments(_as_unicode(command)[:ARGUMENTS_MAX])]
    variables = choose_variables(os.environ)
    return Circumstances(
        process=describe_process(host=socket.gethostname(), user=find_user(), pid=pid),
        command=tuple(arguments),
        directory=masker.mask_text(_as_unicode([directory])[0]),
        environment=runs.keep_environment(environment),
        variables={name: masker.mask_text(_as_unicode([value])[0]) for name, value in variables.items()},
        git=None if find_answer is None else find_answer(),
    )


def _as_unicode(texts: Iterable[str]) -> list[str]:
    """Return texts of the system, which need not be Unicode, with bytes that are not as escapes."""
    return [os.fsencode(text).decode("utf-8", "backslashreplace") for text in texts]


def _find_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed


def _check_resume(resume: bool | str | None, run: str | None) -> str:  # noqa: FBT001 (what users give)
    wanted = {None: "never", False: "never", True: "allow"}.get(resume, resume)  # type: ignore[arg-type]
    if wanted not in ("allow", "must", "never"):
        msg = f"resume={resume!r} means nothing"
        raise UsageError(msg, hint='it is "allow", "must" or "never"')
    if run is None and wanted != "never":
        msg = "resume needs the id of the run"
        raise UsageError(msg, hint="init(id=..., resume=...)")
    return str(wanted)


def _find(runs: RunLog, run: str, wanted: str) -> RunState | None:
    try:
        found = runs.get_run(run)
    except NotFoundError:
        if wanted == "must":
            raise
        return None
    if wanted == "never":
        msg = f"there is a run {run} already"
        raise AlreadyExistsError(msg, hint='init(id=..., resume="allow") goes on with it', subject=run)
    return found
