"""What an artifact is called and what is known about it, as a draft and as a version.

Used by `artifact.py`. Threading: a draft belongs to one thread; a logged artifact may be shared by threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactfs.clock import format_time_ns
from artifactfs.errors import ReadOnlyError, UsageError
from artifactfs.model import DEFAULT_TYPE
from artifactfs.paths import check_collection_name
from artifactfs.repository import changes
from artifactfs.sdk.base import Base
from artifactfs.sdk.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactfs.model import Collection, Version
    from artifactfs.sdk.workspace import Workspace


class ArtifactDetails:
    """Name, type, digest and the like of an artifact; `RelatedArtifact` adds where it comes from."""

    def __init__(
        self,
        name: str,
        type: str = DEFAULT_TYPE,  # noqa: A002 (the name that users know)
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> None:
        self._name = check_collection_name(name)
        self._type = changes.check_word(type, "a type")
        self._description = description or ""
        self._metadata: dict[str, Any] = changes.check_metadata(metadata or {})
        self._tags = list(tags)
        self._aliases: list[str] = []
        self._draft: Draft | None = Draft()
        self._part: str | None = None
        self._workspace: Workspace | None = None
        self._version: Version | None = None

    def become(self, workspace: Workspace, collection: Collection, version: Version) -> None:
        """Turn from a draft into a version. Used by `Run` and `Api`."""
        self._draft = self._part = None
        self._workspace, self._version, self._type = workspace, version, collection.type
        self._description, self._metadata = version.description, changes.check_metadata(version.metadata)
        self._tags, self._aliases = list(version.tags), collection.aliases_of(version.number)

    def start_from(self, source: ArtifactDetails) -> None:
        """Become a draft that begins as a version, with its metadata. Used by `Artifact.new_draft`."""
        version, workspace = source.get_version("new_draft"), source.get_workspace()
        self._draft = Draft(Base(workspace, source.collection, version))
        self._description, self._metadata = source.description, changes.check_metadata(source.metadata)
        self._tags = list(source.tags)

    def seal_as_part(self, of: str) -> None:
        """Take no more changes: all of it was handed over as a part of a version in the making. Used by `Run`."""
        self._part = of

    def has_content(self) -> bool:
        """Return whether it is a draft with something in it that was not handed over yet. Used by `Run`."""
        return self._draft is not None and self._part is None and not self._draft.is_empty

    # What it is.

    def is_draft(self) -> bool:
        """Return whether it was not logged yet."""
        return self._version is None

    @property
    def state(self) -> str:
        """`PENDING` while it is a draft, then `COMMITTED`."""
        return "PENDING" if self.is_draft() else "COMMITTED"

    @property
    def name(self) -> str:
        """`NAME:vN`; of a draft the collection's name."""
        return self._name if self._version is None else f"{self._name}:{self._version.name}"

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def type(self) -> str:
        """What kind of artifact it is."""
        return self._type

    @property
    def version(self) -> str:
        """`vN`.

        Raises:
            UsageError: it is a draft.
        """
        return self.get_version("version").name

    @property
    def digest(self) -> str:
        """The content digest, `sha256:<hex>`: of names, kinds, executable bits and content, not of times.

        For a draft, all files are read.
        """
        if self._draft is not None:
            return f"sha256:{self._draft.hash().content.hex()}"
        return self.get_version("digest").root.content

    @property
    def size(self) -> int:
        """Bytes in all files. For a draft, all files are read."""
        return self._draft.hash().size if self._draft is not None else self.get_version("size").root.size

    @property
    def file_count(self) -> int:
        """Number of files and links. For a draft, all files are read."""
        return self._draft.hash().count if self._draft is not None else self.get_version("file_count").root.count

    @property
    def created_at(self) -> str:
        """When it was logged, RFC 3339 in UTC.

        Raises:
            UsageError: it is a draft.
        """
        return format_time_ns(self.get_version("created_at").time_ns)

    @property
    def expires_at(self) -> str | None:
        """When `artifactfs expire` may remove it, RFC 3339 in UTC; None for a version without a time to live.

        Raises:
            UsageError: it is a draft.
        """
        expires_ns = self.get_version("expires_at").expires_ns
        return None if expires_ns is None else format_time_ns(expires_ns)

    @property
    def author(self) -> str:
        """Who logged it.

        Raises:
            UsageError: it is a draft.
        """
        return self.get_version("author").author

    @property
    def message(self) -> str:
        """The log message.

        Raises:
            UsageError: it is a draft.
        """
        return self.get_version("message").message

    @property
    def description(self) -> str:
        """Text about the data. `save` records a change of a logged artifact."""
        return self._description

    @description.setter
    def description(self, text: str | None) -> None:
        self._description = text or ""

    @property
    def metadata(self) -> dict[str, Any]:
        """JSON values by key. `save` records a change of a logged artifact."""
        return self._metadata

    @metadata.setter
    def metadata(self, values: Mapping[str, Any]) -> None:
        self._metadata = changes.check_metadata(values)

    @property
    def tags(self) -> list[str]:
        """Words. `save` records a change of a logged artifact."""
        return self._tags

    @tags.setter
    def tags(self, words: Iterable[str]) -> None:
        self._tags = list(words)

    @property
    def aliases(self) -> list[str]:
        """The aliases that named it when it was logged or looked up. `save` records a change of a logged artifact.

        Raises:
            UsageError: it is a draft: aliases are given to `Run.log_artifact`.
        """
        self.get_version("aliases")
        return self._aliases

    @aliases.setter
    def aliases(self, names: Iterable[str]) -> None:
        self.get_version("aliases")
        self._aliases = list(names)

    # For `Run` and `Api`.

    def get_version(self, what: str) -> Version:
        """Return the version that it is.

        Raises:
            UsageError: it is a draft, which has no `what`.
        """
        if self._version is None:
            msg = f"{self._name!r} is a draft, and {what!r} needs a logged artifact"
            raise UsageError(msg, hint="call run.log_artifact(artifact) first", subject=self._name)
        return self._version

    def get_draft(self, doing: str) -> Draft:
        """Return what a draft holds.

        Raises:
            ReadOnlyError: it is logged or handed over, so `doing` is too late.
        """
        if self._part is not None:
            msg = f"cannot {doing}: what is in it was handed over as a part of {self._part}"
            hint = f"put more into a new Artifact({self._name!r}, ...)"
            raise ReadOnlyError(msg, hint=hint, subject=self.name)
        if self._draft is None:
            msg = f"cannot {doing}: {self.name} is logged, and a version never changes"
            raise ReadOnlyError(msg, hint=f"make a new one with Artifact({self._name!r}, ...)", subject=self.name)
        return self._draft

    def get_workspace(self) -> Workspace:
        """Return where it is stored.

        Raises:
            UsageError: it is a draft.
        """
        if self._workspace is None:
            self.get_version("repository")
        assert self._workspace is not None
        return self._workspace
