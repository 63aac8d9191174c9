"""A run as it is recorded: of this program, of another, or of long ago.

Used by programs. Threading: immutable, but for the repository behind it, which may be shared by threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from artifactfs.runs.state import RunState
from artifactfs.sdk import lineage
from artifactfs.sdk.finding import find_artifacts, find_files

if TYPE_CHECKING:
    from artifactfs.repository.runfiles import LookedUpFile
    from artifactfs.runs.machine import Environment
    from artifactfs.sdk.artifact import Artifact
    from artifactfs.sdk.workspace import Workspace


_FIELDS: Final = frozenset(each.name for each in fields(RunState))


@dataclass(frozen=True, slots=True)
class RecordedRun(RunState):
    """A run as it was when it was looked up, and the way to what it read and made.

    Of one that was found by its lineage only `id` is known at first; the rest is read when any of it is asked for.

    Attributes:
        workspace: where it is recorded.
    """

    workspace: Workspace = field(repr=False, compare=False)

    @classmethod
    def from_state(cls, workspace: Workspace, state: RunState) -> Self:
        """Return a run of a repository."""
        known = {each.name: getattr(state, each.name) for each in fields(RunState)}
        return cls(**known, workspace=workspace)

    @classmethod
    def from_id(cls, workspace: Workspace, run: str) -> Self:
        """Return a run that a repository has, without reading what is recorded of it."""
        found = cls.__new__(cls)
        object.__setattr__(found, "id", run)
        object.__setattr__(found, "workspace", workspace)
        return found

    if not TYPE_CHECKING:  # that other names are wrong is to be seen

        def __getattr__(self, name: str) -> Any:
            """Return what was not read yet.

            Raises:
                MalformedError, DigestMismatchError: the record is damaged.
            """
            if name not in _FIELDS:
                msg = f"a run has no {name!r}"
                raise AttributeError(msg, name=name, obj=self)
            state = self.workspace.runs.get_run(self.id)
            for each in _FIELDS:
                object.__setattr__(self, each, getattr(state, each))
            return getattr(state, name)

    @property
    def environment(self) -> Environment | None:
        """The software and hardware that it ran with; None when they are not recorded.

        Raises:
            BlobMissingError, DigestMismatchError, MalformedError: the description is damaged.
        """
        digest = self.circumstances.environment
        return self.workspace.runs.get_environment(digest) if digest else None

    def used_artifacts(self) -> list[Artifact]:
        """Return the versions that it read, in order of first use, without those that were deleted."""
        return find_artifacts(self.workspace, self.inputs)

    def logged_artifacts(self) -> list[Artifact]:
        """Return the versions that it made, in order, without those that were deleted."""
        return find_artifacts(self.workspace, self.outputs)

    def looked_up(self, name: str | None = None) -> list[LookedUpFile]:
        """Return the files that it looked up through its view of a mount (`artifactfs run`), in order, each once.

        Args:
            name: `NAME` for those of each version of a collection, `NAME:vN` or `NAME:ALIAS` for those of one; None
                for all.

        Returns:
            For each file its version as `NAME:vN`, its path in it, and its size in bytes.

        Raises:
            CollectionNotFoundError, AliasNotFoundError: an alias that there is not.
            InvalidNameError: it is not the name of a version.
        """
        return find_files(self.workspace, self.id, name)

    def ancestors(self) -> list[Artifact | RecordedRun]:
        """Return the runs and versions that it depends on, the nearest first; deleted versions are left out."""
        return lineage.find_all(self.workspace, self.id, "up")

    def descendants(self) -> list[Artifact | RecordedRun]:
        """Return the runs and versions that depend on it, the nearest first; deleted versions are left out."""
        return lineage.find_all(self.workspace, self.id, "down")
