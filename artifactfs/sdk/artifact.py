"""An artifact: a draft that is being filled, and once it is logged, an immutable version.

Used by programs. Threading: a draft belongs to one thread; a logged artifact may be shared by threads.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Self

from artifactfs.errors import DigestMismatchError, UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import format_path, parse_path
from artifactfs.reference.uris import MAX_OBJECTS
from artifactfs.repository import changes
from artifactfs.repository.referring import Referred
from artifactfs.sdk.copies import download_entry, download_version
from artifactfs.sdk.draft import PathLike
from artifactfs.sdk.entry import ArtifactEntry
from artifactfs.sdk.family import RelatedArtifact
from artifactfs.sdk.workspace import MOUNT_VARIABLE, find_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.interop.wandbmanifest import Manifest
    from artifactfs.model import Collection, Entry, Version
    from artifactfs.repository.commit import CommitResult
    from artifactfs.sdk.workspace import Workspace


class Artifact(RelatedArtifact):
    """A named directory of files: a draft until `Run.log_artifact`, an immutable version after.

    Paths inside an artifact are text; bytes that are not UTF-8 are written as `os.fsdecode` writes them.

    Args:
        name: the collection's name.
        type: what kind of artifact it is; a collection has one type.
        description: text about the data.
        metadata: JSON values by key.
        tags: words.

    Raises:
        InvalidNameError: no collection can have this name or type.
        UsageError: metadata that is not JSON.
    """

    @classmethod
    def from_version(cls, workspace: Workspace, collection: Collection, version: Version) -> Self:
        """Return the artifact that a version is. Used by `Run` and `Api`."""
        artifact = cls(collection.name, collection.type)
        artifact.become(workspace, collection, version)
        return artifact

    # Filling a draft.

    def add_file(self, local_path: PathLike, name: str | None = None, *, overwrite: bool = False) -> ArtifactEntry:
        """Add a file, and return its entry. It is read when the artifact is logged.

        Args:
            local_path: of the file; a link means the file that it points to.
            name: the path that it gets; the file's name by default, at the root.
            overwrite: whether it takes the place of what was added under this path.

        Raises:
            ReadOnlyError: the artifact is logged.
            SourceNotFoundError: there is no such file.
            AccessDeniedError: it may not be read.
            InvalidPathError: it is a directory, or `name` leaves the artifact.
            AlreadyExistsError: the path is taken.
        """
        draft = self.get_draft("add a file")
        path = draft.add_file(local_path, name, overwrite=overwrite)
        return ArtifactEntry(path, lambda: draft.find(path), None)

    def add_dir(self, local_path: PathLike, name: str | None = None, *, overwrite: bool = False) -> None:
        """Add a directory. It is read when the artifact is logged.

        Args:
            local_path: of the directory. `images` keeps its name, so that its files are `images/...`; of `images/`
                and `.` the contents go to the root.
            name: the path that it gets; "" is the root.
            overwrite: whether its files take the place of other files that the version of `new_draft` has at the same
                paths; otherwise logging it raises AlreadyExistsError for the first. Other files of the version stay.

        Raises:
            ReadOnlyError: the artifact is logged.
            SourceNotFoundError: there is no such directory.
            AccessDeniedError: it may not be looked at.
            InvalidPathError: it is no directory, or `name` leaves the artifact.
            AlreadyExistsError: the path is taken.
        """
        self.get_draft("add a directory").add_dir(local_path, name, overwrite=overwrite)

    def add_reference(
        self,
        uri: str,
        name: str | None = None,
        *,
        checksum: bool = True,
        max_objects: int = MAX_OBJECTS,
        allow_signed: bool = False,
        repository: str | os.PathLike[str] | None = None,
    ) -> list[ArtifactEntry]:
        """Add what lies at a URI without copying it, and return the entries: one, or one for each object of a prefix.

        What is there is recorded with size and validator now, and read when an entry is read. What `artifact://` names
        is taken over as it is, and stays when that version is deleted.

        Args:
            uri: `s3://`, `gs://`, `az://`, `http://`, `https://`, `file:///`; or `artifact://NAME:vN/PATH` or with an
                alias. `s3://bucket/images` keeps its name, so that its files are `images/...`; of `s3://bucket/images/`
                the contents go to the root.
            name: the path that it gets; "" is the root.
            checksum: whether to record what tells one content from another; without it entries are unverified.
            max_objects: how many objects there may be.
            allow_signed: whether the query of a URL may hold a signature, which whoever reads the version can then use.
            repository: where `artifact://` is looked up; None takes what the environment says, as `init` does.

        Raises:
            ReadOnlyError: the artifact is logged.
            UsageError: there are more than `max_objects`, or no reference can have this URI.
            SourceNotFoundError, NotFoundError: there is nothing.
            AccessDeniedError, RemoteError: it may not be read, is under no prefix that is followed, or is out of reach.
            InvalidPathError: `name` leaves the artifact, or an object has a name that no file can have.
            AlreadyExistsError: a path is taken.
        """
        draft = self.get_draft("add a reference")
        at = None if name is None else parse_path(name)
        with closing(find_workspace(repository)) as workspace:
            referred = Referred(uri, at, checksum, max_objects, allow_signed, workspace.run)
            if referred.is_artifact:
                paths = draft.take_entries(workspace, referred)
            else:
                paths = draft.add_reference(workspace.find_references(), referred)
        return [ArtifactEntry(path, partial(draft.find, path), None) for path in paths]

    @contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """Give a new file to write to, which is added when the `with` block ends well.

        Args:
            name: the path that it gets.
            mode: `w` or `x` for text, `wb` or `xb` for bytes.
            encoding: of text; UTF-8 by default.

        Raises:
            ReadOnlyError: the artifact is logged.
            InvalidPathError: `name` leaves the artifact.
            AlreadyExistsError: the path is taken.
            UsageError: another mode.
        """
        with self.get_draft("write a file").new_file(name, mode, encoding) as file:
            yield file

    def remove(self, item: str | os.PathLike[str] | ArtifactEntry) -> None:
        """Remove a file from the draft, or a directory with all that is in it.

        Raises:
            ReadOnlyError: the artifact is logged.
            EntryNotFoundError: there is no such path.
        """
        name = item.path if isinstance(item, ArtifactEntry) else os.fspath(item)
        self.get_draft("remove a file").remove(name)

    def new_draft(self) -> Self:
        """Return a draft that begins as this version, with its description, metadata and tags.

        What is added, replaced and removed there is all that is read and stored when it is logged; the rest is taken
        over by digest. The new version states this one as its base.

        Raises:
            UsageError: it is a draft.
        """
        self.get_version("new_draft")
        draft = type(self)(self._name, self._type)
        draft.start_from(self)
        return draft

    # What is in it.

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactEntry:
        """Return what is at a path: a file, link or directory.

        Raises:
            EntryNotFoundError: there is nothing.
            InvalidPathError: it is not a path inside an artifact.
        """
        path = parse_path(name)
        if self._draft is not None:
            return _entry(path, self._draft.find(path), None)
        version = self.get_version("get_entry")
        return _entry(path, self.get_workspace().trees.get_placed(version.root, path)[0], self._fetch)

    def files(self, names: Iterable[str] | None = None) -> Iterator[ArtifactEntry]:
        """Yield files and links, in depth-first order of their paths.

        Args:
            names: paths; only these are yielded, in this order.

        Raises:
            EntryNotFoundError: one of `names` does not exist.
        """
        if names is not None:
            yield from (self.get_entry(name) for name in names)
        elif self._draft is not None:
            yield from (_entry(path, entry, None) for path, entry in self._draft.iter_files())
        else:
            root = self.get_version("files").root
            for path, entry in self.get_workspace().trees.iter_tree(root):
                if not isinstance(entry, DirectoryEntry):
                    yield _entry(path, entry, self._fetch)

    @property
    def path(self) -> str:
        """The directory in a mount that shows this version: in a program of `artifactfs run`, in its own view.

        Raises:
            UsageError: it is a draft, or nothing is mounted.
        """
        from artifactfs.mount.api import find_path  # noqa: PLC0415 (programs without mounts need not load it)

        version, workspace = self.get_version("path"), self.get_workspace()
        view = os.environ.get(MOUNT_VARIABLE, "")
        found = find_path(
            workspace.places, workspace.repository.id, collection=self._name, version=version.number, view=view
        )
        if found is None:
            msg = f"no mount shows {self.name}"
            raise UsageError(msg, hint="run `artifactfs mount DIRECTORY`, or use download()", subject=self.name)
        if not view:  # what is read there is not seen
            self._note_read(b"")
        return found

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        path_prefix: str | None = None,
        replace: bool = False,
    ) -> str:
        """Write the version to a local directory, and return where that is.

        A directory that holds the same already (by names, sizes and times) is left as it is. In a program of
        `artifactfs run` the version is an input of the run.

        Args:
            root: the directory, missing or empty; `./artifacts/NAME:vN` by default.
            path_prefix: only what is at this path or in this directory.
            replace: take the place of what is there.

        Raises:
            UsageError: it is a draft.
            AlreadyExistsError: the directory holds something else.
            EntryNotFoundError: there is nothing at `path_prefix`.
            DigestMismatchError, BlobMissingError: something stored is damaged.
            StorageFullError, AccessDeniedError: the system refused; the same call goes on later.
        """
        version = self.get_version("download")
        target, prefix = self._default_root(root), parse_path(path_prefix or "")
        self._note_read(prefix)
        download_version(self.get_workspace(), version, os.fsencode(target), prefix=prefix, replace=replace)
        return target

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Compare a local directory with the version, byte by byte.

        Args:
            root: the directory; `./artifacts/NAME:vN` by default.

        Raises:
            UsageError: it is a draft.
            SourceNotFoundError: there is no such directory.
            DigestMismatchError: something is missing, different, or too much; the message names the first.
        """
        from artifactfs.repository.verify import verify_version  # noqa: PLC0415

        version = self.get_version("verify")
        target = self._default_root(root)
        problems = verify_version(self.get_workspace().repository, version, directory=os.fsencode(target))
        if problems:
            shown = "; ".join(f"{format_path(problem.path) or '.'} {problem.what}" for problem in problems[:10])
            msg = f"{target} is not {self.name}: {shown}"
            raise DigestMismatchError(msg, hint=f"{len(problems)} in all", subject=target)

    def wandb_manifest(self) -> bytes:
        """Return the version's list of files as JSON in the form of W&B's `wandb_manifest.json`. Every file is read.

        Raises:
            UsageError: it is a draft, or has a path that is not UTF-8, or a link to what is no file of it.
        """
        from artifactfs.interop.wandbmanifest import encode_manifest  # noqa: PLC0415 (few programs need it)

        return encode_manifest(self._make_manifest("wandb_manifest"))

    def wandb_digest(self) -> str:
        """Return what `wandb.Artifact.digest` is for the same files: 32 hex digits. Every file is read.

        Raises:
            UsageError: see `wandb_manifest`.
        """
        return self._make_manifest("wandb_digest").digest

    # Its life.

    def wait(self, timeout: float | None = None) -> Self:
        """Return itself: `Run.log_artifact` returns when the version is recorded.

        Raises:
            UsageError: it is a draft.
        """
        del timeout
        self.get_version("wait")
        return self

    def save(self) -> None:
        """Record changes of description, metadata, tags and aliases of a logged artifact.

        Raises:
            UsageError: it is a draft, or metadata is not JSON.
            InvalidNameError: an alias or tag that cannot be one.
        """
        version, workspace = self.get_version("save"), self.get_workspace()
        number = version.number
        wanted = (self._description, changes.check_metadata(self._metadata), tuple(sorted(set(self._tags))))
        if wanted != (version.description, version.metadata, version.tags):
            description, metadata, tags = wanted
            workspace.repository.append(
                self._name,
                lambda state: changes.edit(
                    state, version=number, description=description, metadata=metadata, tags=tags
                ),
                run=workspace.run,
            )
        self._save_aliases(number)
        self.refresh()

    def refresh(self) -> None:
        """Look its aliases, description, metadata and tags up again.

        Raises:
            UsageError: it is a draft.
            VersionNotFoundError: it was deleted.
        """
        number, workspace = self.get_version("refresh").number, self.get_workspace()
        collection = workspace.repository.get_collection(self._name)
        self.become(workspace, collection, changes.get_version(collection, number))

    def delete(self, *, delete_aliases: bool = False) -> None:
        """Delete the version. Its number is not used again.

        Args:
            delete_aliases: whether to delete it though aliases name it; `latest` moves.

        Raises:
            UsageError: it is a draft.
            ConflictError: aliases name it.
        """
        number = self.get_version("delete").number
        workspace = self.get_workspace()
        workspace.repository.append(
            self._name,
            lambda state: changes.delete_version(state, number=number, force=delete_aliases),
            run=workspace.run,
        )

    # For `Run`.

    def take_result(self, workspace: Workspace, result: CommitResult) -> None:
        """Become the version that a commit made or found."""
        self.become(workspace, result.collection, result.version)

    def _make_manifest(self, what: str) -> Manifest:
        from artifactfs.interop.wandbmanifest import make_manifest  # noqa: PLC0415 (see above)

        return make_manifest(self.get_workspace().repository, self.get_version(what).root)

    def _save_aliases(self, number: int) -> None:
        repository, run = self.get_workspace().repository, self.get_workspace().run
        there = set(repository.get_collection(self._name).aliases_of(number))
        added, removed = sorted(set(self._aliases) - there), sorted(there - set(self._aliases) - {"latest"})
        if added:
            repository.append(
                self._name, lambda state: changes.set_aliases(state, version=number, aliases=added), run=run
            )
        if removed:
            repository.append(self._name, lambda state: changes.remove_aliases(state, aliases=removed), run=run)

    def _note_read(self, path: bytes) -> None:
        """Record what the run, if there is one, reads: a file with its size, or that a directory was entered."""
        workspace = self.get_workspace()
        if workspace.run is None or self.get_version("read").run == workspace.run:
            return
        entry = workspace.trees.find_entry(self.get_version("read").root, path)
        size = None if isinstance(entry, DirectoryEntry) else getattr(entry, "size", 0)
        workspace.note_read(self.name, path, size)

    def _default_root(self, root: str | os.PathLike[str] | None) -> str:
        return os.path.join(".", "artifacts", self.name) if root is None else os.fspath(root)

    def _fetch(self, path: bytes, root: str | None) -> str:
        target = os.fsencode(self._default_root(root))
        placed = os.path.join(target, path) if path else target
        self._note_read(path)
        download_entry(self.get_workspace(), self.get_version("download"), placed, path=path)
        return os.fsdecode(placed)

    def __repr__(self) -> str:
        """Return name and state."""
        return f"<Artifact {self.name} {self._type} {self.state}>"


def _entry(path: bytes, entry: Entry, fetch: Callable[[bytes, str | None], str] | None) -> ArtifactEntry:
    return ArtifactEntry(path, lambda: entry, fetch)
