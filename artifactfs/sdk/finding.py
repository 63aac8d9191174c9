"""Finding versions by name.

Used by `Run`, `Api` and the lineage. Threading: functions without state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from artifactfs.errors import NotFoundError, UsageError
from artifactfs.paths import parse_ref
from artifactfs.repository import changes
from artifactfs.runs.inputs import iter_files
from artifactfs.runs.selecting import select_versions
from artifactfs.sdk.artifact import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.model import Collection
    from artifactfs.repository.runfiles import LookedUpFile
    from artifactfs.sdk.workspace import Workspace


def find_artifact(workspace: Workspace, name: str) -> Artifact:
    """Return the version that a name stands for.

    Raises:
        UsageError: it names a path or a staging directory.
        ArtifactFSError: see `Repository.resolve`.
    """
    ref = parse_ref(name)
    if ref.path:
        msg = f"{name!r} names a path in an artifact"
        raise UsageError(msg, hint="use get_entry of the artifact", subject=name)
    return Artifact.from_version(workspace, *workspace.resolve(replace(ref, path=b"")))


class VersionFinder:
    """Finds versions of which there are many, and loads each collection once. Belongs to one call."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._collections: dict[str, Collection] = {}

    def find(self, name: str) -> Artifact:
        """Return the version that is called `NAME:vN`.

        Raises:
            ArtifactFSError: see `find_artifact`.
        """
        ref = parse_ref(name)
        if self._workspace.is_locked or ref.version is None:
            return find_artifact(self._workspace, name)
        collection = self._collections.get(ref.collection)
        if collection is None:
            collection = self._workspace.repository.get_collection(ref.collection)
            self._collections[ref.collection] = collection
        return Artifact.from_version(self._workspace, collection, changes.get_version(collection, ref.version))


def check_type(artifact: Artifact, expected: str | None) -> None:
    """Check that an artifact has a type.

    Raises:
        UsageError: it has another.
    """
    if expected is not None and artifact.type != expected:
        msg = f"{artifact.name} has the type {artifact.type!r}, not {expected!r}"
        raise UsageError(msg, subject=artifact.name)


def find_artifacts(workspace: Workspace, names: Iterable[str]) -> list[Artifact]:
    """Return the versions of these names, in order, without those that were deleted."""
    found, finder = [], VersionFinder(workspace)
    for name in names:
        try:
            found.append(finder.find(name))
        except NotFoundError:
            continue
    return found


def find_files(workspace: Workspace, run: str, name: str | None) -> list[LookedUpFile]:
    """Return the files that a run looked up through its view of a mount, in order, each once.

    Args:
        workspace: where the run is recorded.
        run: its id.
        name: `NAME` for those of each version of a collection, a REF for those of one; None for all.

    Raises:
        CollectionNotFoundError, AliasNotFoundError: an alias that there is not.
        InvalidNameError: it is not the name of a version.
    """
    repository = workspace.repository
    found = iter_files(repository.state_directory, workspace.runs, run)
    if name is None:
        return list(found)
    is_wanted = select_versions(repository, name)
    return [file for file in found if is_wanted(file.artifact)]
