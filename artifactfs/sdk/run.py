"""A run: one execution of a program, with what it read and what it made.

Used by programs. Threading: a Run may be shared by threads.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from artifactfs.clock import format_time_ns
from artifactfs.errors import UsageError
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import put_plan
from artifactfs.repository.runviews import find_inputs
from artifactfs.runs.lease import Heartbeat
from artifactfs.runs.markers import remove_marker
from artifactfs.runs.secrets import Masker
from artifactfs.sdk.artifact import Artifact
from artifactfs.sdk.finding import check_type, find_artifact, find_artifacts, find_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from artifactfs.repository.commit import CommitResult
    from artifactfs.runs.events import Circumstances
    from artifactfs.runs.history import LookedUpFile
    from artifactfs.runs.state import RunState
    from artifactfs.sdk.workspace import Workspace


class Run:
    """One execution. A context manager, which finishes it; may be shared by threads.

    Made by `init`. A run that is not finished when the program ends is finished then. While it lasts, a thread lets
    it be known as alive.

    Args:
        workspace: where it is recorded.
        state: what is recorded of it already.
        lease_ns: how long it counts as alive from now; None when another process, which started this one as a part of
            the run, keeps it alive and finishes it.

    Attributes:
        at_exit: what is called at the end of the program, until the run is finished.
    """

    def __init__(self, workspace: Workspace, state: RunState, *, lease_ns: int | None) -> None:
        self._workspace = workspace
        self._record = state
        self._config = dict(state.config)
        self._heartbeat: Heartbeat | None = None
        if lease_ns is not None:
            self._heartbeat = Heartbeat(self._renew, lease_ns=lease_ns)
            self._heartbeat.start()
        self._guard = threading.Lock()
        self._inputs = list(state.inputs)
        self._outputs = list(state.outputs)
        self._finished_ns: int | None = None
        self._exit_code: int | None = None
        self.at_exit: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, with the exit code that Python would end with."""
        self.finish(exit_code=find_exit_code(error))

    @property
    def id(self) -> str:
        """A UUID of version 7, which no other run has."""
        return self._record.id

    @property
    def name(self) -> str:
        """The name for people; the id's first part when none was given."""
        return self._record.name or self.id.partition("-")[0]

    @property
    def job_type(self) -> str:
        """What kind of work it is."""
        return self._record.job_type

    @property
    def project(self) -> str:
        """What it belongs to."""
        return self._record.project

    @property
    def notes(self) -> str:
        """Free text."""
        return self._record.notes

    @property
    def tags(self) -> tuple[str, ...]:
        """Words."""
        return self._record.tags

    @property
    def config(self) -> dict[str, Any]:
        """JSON values by key, as recorded; changing the copy changes nothing."""
        return dict(self._config)

    @property
    def author(self) -> str:
        """Who runs it."""
        return self._record.author

    @property
    def started_at(self) -> str:
        """When it began, RFC 3339 in UTC."""
        return format_time_ns(self._record.started_ns)

    @property
    def finished_at(self) -> str | None:
        """When it ended, RFC 3339 in UTC; None while it runs."""
        return None if self._finished_ns is None else format_time_ns(self._finished_ns)

    @property
    def state(self) -> str:
        """`running`, and once it is finished `finished` or `failed`."""
        if self._finished_ns is None:
            return "running"
        return "failed" if self._exit_code else "finished"

    @property
    def host(self) -> str:
        """The name of the host."""
        return self._record.host

    @property
    def user(self) -> str:
        """Who runs it, by the system's name."""
        return self._record.user

    @property
    def circumstances(self) -> Circumstances:
        """Command line, working directory, git, and more, as recorded: without what looks like a secret."""
        return self._record.circumstances

    @property
    def exit_code(self) -> int | None:
        """0 is success; None while it runs."""
        return self._exit_code

    @property
    def inputs(self) -> list[str]:
        """Versions that it read, each `NAME:vN`, in order of first use."""
        return list(dict.fromkeys(self._inputs))

    @property
    def outputs(self) -> list[str]:
        """Versions that it made, each `NAME:vN`, in order."""
        return list(dict.fromkeys(self._outputs))

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,  # noqa: A002 (the name that users know)
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        *,
        message: str = "",
        if_changed: bool = False,
        ttl: timedelta | None = None,
    ) -> Artifact:
        """Commit an artifact as the next version of its collection, and move `latest` to it.

        A logged artifact gets the aliases and counts as an output of this run; there is no new version.

        Args:
            artifact_or_path: a draft; or a local file or directory, which then needs `name`.
            name: the collection's, for a path.
            type: the collection's, for a path.
            aliases: names for the version besides `latest`.
            tags: words, besides those of the artifact.
            message: the log message.
            if_changed: make no version when `latest` has the same content, but return that one.
            ttl: time to live, after which `artifactfs expire` may remove the version.

        Returns:
            The artifact, which is the version now.

        Raises:
            UsageError: the run is finished; a path without a name; another type than the collection has; sockets,
                FIFOs or devices.
            InvalidNameError: a name, alias or tag that cannot be one.
            SourceNotFoundError, AccessDeniedError, SourceChangedError: something could not be read as it was.
            AlreadyExistsError: what was added with `add_dir` to a draft of a version differs from what that has.
            StorageFullError: there is no room. In all of these cases there is no new version.
        """
        self._check_running("log an artifact")
        artifact = self._as_artifact(artifact_or_path, name, type)
        if not artifact.is_draft():
            return self._log_again(artifact, aliases or ())
        options = CommitOptions(
            type=artifact.type,
            aliases=_as_tuple(aliases),
            message=message,
            description=artifact.description,
            metadata=artifact.metadata,
            tags=tuple(sorted({*artifact.tags, *(tags or ())})),
            if_changed=if_changed,
            run=self.id,
            inputs=self._find_inputs(),
            expires_ns=None
            if ttl is None
            else self._workspace.repository.clock.now_ns() + ttl // timedelta(microseconds=1) * 1000,
        )
        draft, repository = artifact.get_draft("log it"), self._workspace.repository
        over = draft.find_over(repository)
        if over is not None:
            options = replace(options, base=over.version)
        result = put_plan(repository, artifact.collection, draft.plan, options, over=over)
        artifact.take_result(self._workspace, result)
        self._note_output(artifact, result)
        return artifact

    def use_artifact(self, artifact_or_name: Artifact | str, type: str | None = None) -> Artifact:  # noqa: A002
        """Return a version, and record that this run reads it.

        Args:
            artifact_or_name: `NAME`, `NAME:vN` or `NAME:ALIAS`; or a logged artifact.
            type: what type it must have; None takes any.

        Raises:
            UsageError: the run is finished; a draft; a path or staging directory; another type.
            CollectionNotFoundError, VersionNotFoundError, AliasNotFoundError: there is none.
            InvalidNameError: it is not the name of a version.
        """
        self._check_running("use an artifact")
        if isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
            artifact.get_version("use_artifact")
        else:
            artifact = find_artifact(self._workspace, artifact_or_name)
        check_type(artifact, type)
        with self._guard:
            is_new = artifact.name not in self._inputs
            self._inputs.append(artifact.name)
        if is_new:
            self._workspace.runs.use(self.id, artifact.name)
        return artifact

    def used_artifacts(self) -> list[Artifact]:
        """Return the versions that this run read, in order of first use, without those that were deleted."""
        return find_artifacts(self._workspace, self.inputs)

    def logged_artifacts(self) -> list[Artifact]:
        """Return the versions that this run made, in order, without those that were deleted."""
        return find_artifacts(self._workspace, self.outputs)

    def looked_up(self, name: str | None = None) -> list[LookedUpFile]:
        """Return the files looked up so far in the view that `artifactfs run` gave it; see `RecordedRun.looked_up`."""
        return find_files(self._workspace, self.id, name)

    def update_config(self, values: Mapping[str, Any]) -> None:
        """Record more configuration, or other values of what there is. What looks like a secret is masked.

        Raises:
            UsageError: the run is finished, or a value is not JSON.
        """
        self._check_running("change the configuration")
        masked = Masker(os.environ).mask_values(changes.check_metadata(values))
        self._workspace.runs.configure(self.id, masked)
        with self._guard:
            self._config |= masked

    def finish(self, exit_code: int | None = None) -> None:
        """Record that the run ended; a second call does nothing.

        Args:
            exit_code: 0, or None, is success.
        """
        with self._guard:
            if self._finished_ns is not None:
                return
            self._exit_code = exit_code or 0
            self._finished_ns = self._workspace.repository.clock.now_ns()
        try:
            if self._heartbeat is not None:
                self._heartbeat.stop()
                self._workspace.runs.finish(self.id, exit_code=self._exit_code)
                remove_marker(self._workspace.repository.state_directory, self.id)
        finally:
            if self.at_exit is not None:
                atexit.unregister(self.at_exit)
            self._workspace.close()

    def _find_inputs(self) -> tuple[str, ...]:
        """Return what was read so far, through the mount too when the run is that of `artifactfs run`."""
        entered = find_inputs(self._workspace.repository.state_directory, self.id)
        return tuple(dict.fromkeys((*self.inputs, *entered)))

    def _renew(self) -> int:
        return self._workspace.runs.renew(self.id, started_ns=self._record.started_ns)

    def _as_artifact(self, given: Artifact | str | os.PathLike[str], name: str | None, kind: str | None) -> Artifact:
        if isinstance(given, Artifact):
            return given
        if name is None:
            msg = f"a path is logged under a name: log_artifact({os.fspath(given)!r}, name=...)"
            raise UsageError(msg)
        artifact = Artifact(name, kind) if kind is not None else Artifact(name)
        if os.path.isdir(given):
            artifact.add_dir(given)
        else:
            artifact.add_file(given)
        return artifact

    def _log_again(self, artifact: Artifact, aliases: Sequence[str]) -> Artifact:
        number = artifact.get_version("log_artifact").number
        if aliases:
            self._workspace.repository.append(
                artifact.collection,
                lambda state: changes.set_aliases(state, version=number, aliases=_as_tuple(aliases)),
                run=self.id,
            )
            artifact.refresh()
        self._note_output(artifact, None)
        return artifact

    def _note_output(self, artifact: Artifact, result: CommitResult | None) -> None:
        with self._guard:
            self._outputs.append(artifact.name)
        self._workspace.runs.log(self.id, artifact.name, is_new=result is not None and result.created)

    def _check_running(self, doing: str) -> None:
        if self._finished_ns is not None:
            msg = f"cannot {doing}: the run {self.name} is finished"
            raise UsageError(msg, hint="begin another with artifactfs.init()", subject=self.id)

    def __repr__(self) -> str:
        """Return name and state."""
        state = "running" if self._finished_ns is None else f"finished with {self._exit_code}"
        return f"<Run {self.name} {state}>"


def _as_tuple(aliases: Sequence[str] | None) -> tuple[str, ...]:
    # A single alias is easily given as text, which is a sequence of letters.
    return (aliases,) if isinstance(aliases, str) else tuple(aliases or ())


def find_exit_code(error: BaseException | None) -> int:
    """Return what Python ends with when an exception ends the program; None is its ordinary end.

    Source: sys.exit in the library reference; Python exits with 130 after an interrupt, as shells do.
    """
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        code = error.code
        return code if isinstance(code, int) else int(code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1
