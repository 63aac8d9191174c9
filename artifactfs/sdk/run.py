"""A run: one execution of a program, with what it read and what it made.

Used by programs. Threading: a Run may be shared by threads.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from artifactfs.errors import ArtifactFSError, UsageError
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import put_plan
from artifactfs.runs.inputs import find_inputs
from artifactfs.runs.markers import note_end, remove_marker
from artifactfs.runs.secrets import Masker
from artifactfs.sdk.artifact import Artifact
from artifactfs.sdk.configuration import find_values
from artifactfs.sdk.ending import find_exit_code
from artifactfs.sdk.finding import check_type, find_artifact, find_artifacts, find_files
from artifactfs.sdk.parts import add_part, finish_parts
from artifactfs.sdk.rundetails import RunDetails

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from artifactfs.repository.commit import CommitResult
    from artifactfs.repository.runfiles import LookedUpFile
    from artifactfs.sdk.configuration import Configuration


class Run(RunDetails):
    """One execution. A context manager, which finishes it; may be shared by threads.

    Made by `init`. A run that is not finished when the program ends is finished then. While it lasts, a thread lets
    it be known as alive.

    Args:
        workspace: where it is recorded.
        state: what is recorded of it already.
        lease_ns: how long it counts as alive from now; None when another process, which started this one as a part of
            the run, keeps it alive and finishes it.

    Attributes:
        ending: finishes the run at the end of the program, if nobody did before.
    """

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, with the exit code that Python would end with; not when a forked child leaves the block."""
        if not self._is_of_parent():
            self.finish(exit_code=find_exit_code(error))

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
        options = self._make_options(artifact, aliases, tags, message=message, ttl=ttl)
        draft, repository = artifact.get_draft("log it"), self._workspace.repository
        over = draft.find_over(repository)
        options = draft.note_inputs(repository, options)
        options = replace(options, if_changed=if_changed, base=None if over is None else over.version)
        result = put_plan(repository, artifact.collection, draft.plan, options, over=over)
        artifact.take_result(self._workspace, result)
        self._note_output(artifact, result)
        return artifact

    def upsert_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,  # noqa: A002 (the name that users know)
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
        *,
        tags: Sequence[str] | None = None,
        expires: timedelta | None = None,
    ) -> Artifact:
        """Contribute a part to a version that several runs make together. Nobody sees it before it is finished.

        Args:
            artifact_or_path: a draft; or a local file or directory, which then needs `name`.
            name: the collection's, for a path.
            type: the collection's, for a path.
            aliases: names for the version, besides `latest` and those of other parts.
            distributed_id: what all runs that contribute have in common; None is this run's id, which programs of one
                `artifactfs run` share.
            tags: words, besides those of the artifact and of other parts.
            expires: how long it is kept at least if nobody finishes it; None is seven days.

        Returns:
            The artifact, which takes no more files.

        Raises:
            PathConflictError: another part has one of its paths. What was contributed before is as it was.
            DraftClosedError: it was finished, dropped, or has expired. Likewise.
            UsageError: the run is finished; a logged artifact, or a draft of a version; another type than other parts.
            ArtifactFSError: see `log_artifact`.
        """
        self._check_running("contribute to an artifact")
        artifact = self._as_artifact(artifact_or_path, name, type)
        options = self._make_options(artifact, aliases, tags)
        self._note_inputs(add_part(self._workspace, artifact, distributed_id or self.id, options, expires))
        return artifact

    def finish_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,  # noqa: A002 (the name that users know)
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
        *,
        tags: Sequence[str] | None = None,
        message: str = "",
        ttl: timedelta | None = None,
    ) -> Artifact:
        """Make the version of all parts, and move `latest` to it. Parts that come later are refused.

        Several may do this at once, and again: there is one version. It is an output of all runs that contributed.

        Args:
            artifact_or_path: a draft; what it holds, and was not contributed yet, is the last part. Or as for
                `upsert_artifact`.
            name: as for `upsert_artifact`, like the next ones.
            type: of the collection.
            aliases: names for the version.
            distributed_id: what all runs that contribute have in common.
            tags: words.
            message: the log message.
            ttl: time to live, after which `artifactfs expire` may remove the version.

        Returns:
            The artifact, which is the version now.

        Raises:
            DraftNotFoundError: nobody contributed anything.
            DraftClosedError: it was dropped, or finished before this last part.
            PathConflictError: another part has a path of the last one; nothing is finished.
            ArtifactFSError: see `log_artifact`. When the version could not be stored, the parts are there still, and
                the same call goes on.
        """
        self._check_running("finish an artifact")
        artifact = self._as_artifact(artifact_or_path, name, type)
        chosen = distributed_id or self.id
        if artifact.has_content():
            self.upsert_artifact(artifact, None, None, aliases, chosen, tags=tags)
        options = self._make_options(artifact, aliases, tags, message=message, ttl=ttl)
        result = finish_parts(self._workspace, artifact.collection, chosen, options)
        artifact.take_result(self._workspace, result)
        self._note_output(artifact, result, options.inputs)
        return artifact

    def use_artifact(self, artifact_or_name: Artifact | str, type: str | None = None) -> Artifact:  # noqa: A002
        """Return a version, and record that this run reads it, unless this run has made it.

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
        if artifact.get_version("use_artifact").run != self.id:
            self._note_inputs([artifact.name])
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

    def update_config(self, values: Configuration) -> None:
        """Record more configuration, or other values of what there is. What looks like a secret is masked.

        Raises:
            UsageError: the run is finished, or a value is not JSON.
        """
        self._check_running("change the configuration")
        masked = find_values(values, Masker(os.environ))
        self._workspace.runs.configure(self.id, masked)
        with self._guard:
            self._config |= masked

    def finish(self, exit_code: int | None = None) -> None:
        """Record that the run ended; a second call does nothing.

        Args:
            exit_code: 0, or None, is success.

        Raises:
            StorageFullError, ArtifactFSError: it could not be recorded. The next run that begins on this machine, or
                `artifactfs runs`, tries again.
        """
        with self._guard:
            if self._finished_ns is not None:
                return
            self._exit_code = int(exit_code or 0)
            self._finished_ns = self._workspace.repository.clock.now_ns()
        try:
            if self._heartbeat is not None:
                self._heartbeat.stop()
                self._record_end(self._exit_code, self._finished_ns)
        finally:
            if self.ending is not None:
                self.ending.cancel()
            self._workspace.run = None
            self._workspace.close()

    def _record_end(self, exit_code: int, time_ns: int) -> None:
        state_directory = self._workspace.repository.state_directory
        try:
            self._workspace.runs.finish(self.id, exit_code=exit_code)
        except (ArtifactFSError, OSError):
            note_end(state_directory, self.id, exit_code=exit_code, time_ns=time_ns)
            raise
        remove_marker(state_directory, self.id)

    def _make_options(
        self,
        artifact: Artifact,
        aliases: Sequence[str] | None,
        tags: Sequence[str] | None,
        *,
        message: str = "",
        ttl: timedelta | None = None,
    ) -> CommitOptions:
        """Return what a commit of an artifact by this run records."""
        now_ns = self._workspace.repository.clock.now_ns()
        return CommitOptions(
            type=artifact.type,
            aliases=_as_tuple(aliases),
            message=message,
            description=artifact.description,
            metadata=artifact.metadata,
            tags=tuple(sorted({*artifact.tags, *(tags or ())})),
            run=self.id,
            inputs=self._find_inputs(),
            expires_ns=None if ttl is None else now_ns + ttl // timedelta(microseconds=1) * 1000,
        )

    def _find_inputs(self) -> tuple[str, ...]:
        """Return what was read so far, through the mount too when the run is that of `artifactfs run`."""
        if self._heartbeat is not None:
            return tuple(self.inputs)
        return find_inputs(self._workspace.repository.state_directory, self._workspace.runs, self.id)

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

    def _note_inputs(self, names: Iterable[str]) -> None:
        for name in names:
            with self._guard:
                if name in self._inputs or name in self._made:
                    continue
                self._inputs.append(name)
            self._workspace.runs.use(self.id, name)

    def _note_output(
        self, artifact: Artifact, result: CommitResult | None, inputs: Sequence[str] | None = None
    ) -> None:
        """Record an output, and what it was made from: `inputs`, or what a new version states."""
        stated = result.version.inputs if result is not None and result.created else ()
        self._note_inputs(stated if inputs is None else inputs)
        with self._guard:
            self._outputs.append(artifact.name)
            self._made |= {artifact.name} if result is not None and result.created else set()
        self._workspace.runs.log(self.id, artifact.name, is_new=result is not None and result.created)


def _as_tuple(aliases: Sequence[str] | None) -> tuple[str, ...]:
    # A single alias is easily given as text, which is a sequence of letters.
    return (aliases,) if isinstance(aliases, str) else tuple(aliases or ())
