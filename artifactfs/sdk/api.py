"""Looking up what is stored, without a run.

Used by programs. Threading: an Api may be shared by threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from artifactfs.errors import NotFoundError
from artifactfs.repository.find import find_versions
from artifactfs.sdk.artifact import Artifact
from artifactfs.sdk.finding import check_type, find_artifact
from artifactfs.sdk.recorded import RecordedRun
from artifactfs.sdk.workspace import find_workspace

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from artifactfs.model import Collection


@dataclass(frozen=True, slots=True)
class ArtifactCollection:
    """A collection, as it was when it was looked up.

    Attributes:
        name: its name.
        type: what kind of artifact it holds.
        versions: `vN` of its versions, the newest first.
        aliases: `vN` by alias.
    """

    name: str
    type: str
    versions: tuple[str, ...]
    aliases: dict[str, str]


class Api:
    """Lists and looks up. A context manager; may be shared by threads.

    Args:
        repository: the repository's location; None takes what the environment says.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(self, repository: str | os.PathLike[str] | None = None) -> None:
        self._workspace = find_workspace(repository)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Release the repository; it, and what was looked up, is opened again when it is used."""
        self._workspace.close()

    @property
    def location(self) -> str:
        """Where the repository is."""
        return self._workspace.places.repository

    def collections(self, type: str | None = None) -> list[ArtifactCollection]:  # noqa: A002
        """Return all collections, or those of one type, in name order."""
        repository = self._workspace.repository
        found = (repository.find_collection(name) for name in repository.collection_names())
        return [_describe(collection) for collection in found if collection and type in (None, collection.type)]

    def collection(self, name: str) -> ArtifactCollection:
        """Return one collection.

        Raises:
            CollectionNotFoundError: there is none.
        """
        return _describe(self._workspace.repository.get_collection(name))

    def artifact(self, name: str, type: str | None = None) -> Artifact:  # noqa: A002
        """Return the version that `NAME`, `NAME:vN` or `NAME:ALIAS` stands for.

        Raises:
            CollectionNotFoundError, VersionNotFoundError, AliasNotFoundError: there is none.
            UsageError: it has another type.
        """
        artifact = find_artifact(self._workspace, name)
        check_type(artifact, type)
        return artifact

    def artifacts(self, name: str) -> list[Artifact]:
        """Return all versions of a collection, the newest first.

        Raises:
            CollectionNotFoundError: there is none.
        """
        collection = self._workspace.repository.get_collection(name)
        versions = sorted(collection.versions.values(), key=lambda version: version.number, reverse=True)
        return [Artifact.from_version(self._workspace, collection, version) for version in versions]

    def find(self, query: str) -> Iterator[Artifact]:
        """Yield the versions for which a query holds, such as `type=model and metadata.accuracy > 0.9`.

        The language is that of `artifactfs find`. Collections come in order of names, the newest version first.

        Raises:
            UsageError: it is not in the language; the message says where.
        """
        for collection, version in find_versions(self._workspace.repository, query):
            yield Artifact.from_version(self._workspace, collection, version)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:  # noqa: A002
        """Return whether `NAME`, `NAME:vN` or `NAME:ALIAS` stands for a version, of this type if one is given."""
        try:
            artifact = find_artifact(self._workspace, name)
        except NotFoundError:
            return False
        return type in (None, artifact.type)

    def runs(self) -> Iterator[RecordedRun]:
        """Yield all runs, the newest first."""
        for state in self._workspace.runs.iter_runs():
            yield RecordedRun.from_state(self._workspace, state)

    def run(self, run: str) -> RecordedRun:
        """Return one run by its id.

        Raises:
            NotFoundError: there is none.
            InvalidNameError: it is not the id of a run.
        """
        return RecordedRun.from_state(self._workspace, self._workspace.runs.get_run(run))


def _describe(collection: Collection) -> ArtifactCollection:
    versions = tuple(f"v{number}" for number in sorted(collection.versions, reverse=True))
    aliases = {alias: f"v{number}" for alias, number in sorted(collection.aliases.items())}
    return ArtifactCollection(collection.name, collection.type, versions, aliases)
