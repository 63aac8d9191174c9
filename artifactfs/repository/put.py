"""Put: a version of exactly the local paths given.

Used by the command line and the SDK. Threading: functions over a Repository; several may run at once.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from artifactfs.paths import check_collection_name
from artifactfs.repository.commit import DEFAULT_OPTIONS, check_options, commit_stored
from artifactfs.repository.format import REFERENCES
from artifactfs.repository.ingest import Ingest, IngestOptions
from artifactfs.repository.over import find_base, lay_over
from artifactfs.repository.reading import HashingSink
from artifactfs.repository.referring import Referred, describe_reference, plan_reference
from artifactfs.repository.sources import Source, describe_plan, make_plan
from artifactfs.repository.taking import Taking, plan_entries, take_entries
from artifactfs.repository.totals import count_plan
from artifactfs.repository.treebuilder import make_root
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.model import DirectoryEntry
    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.repository.over import Over
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.sources import Planned
    from artifactfs.repository.treebuilder import StoredDirectory

__all__ = ["Referred", "Source", "Storing", "hash_plan", "plan_sources", "put_paths", "put_plan"]


def put_paths(
    repository: Repository,
    name: str,
    sources: Sequence[Source | Referred],
    options: CommitOptions = DEFAULT_OPTIONS,
    *,
    exclude: Sequence[str | bytes] = (),
    skip_special: bool = False,
    rehash: bool = False,
    progress: Progress | None = None,
) -> CommitResult:
    """Store local paths and commit them as the next version of a collection.

    When it raises, there is no new version; content that was stored already may be left over, named by nothing.

    Args:
        repository: where to.
        name: of the collection, which need not exist yet.
        sources: local paths, URIs of which references are made or entries taken, and where they go.
        options: what to record besides.
        exclude: patterns as in gitignore(5), on entry paths; they come before those of `.artifactignore` files.
        skip_special: leave sockets, FIFOs and devices out instead of refusing them.
        rehash: read every file, also one that was put before and did not change, and in an object store what is there
            of it already, to replace what is damaged.
        progress: is told of bytes and files; asking for it costs a walk for the totals.

    Raises:
        InvalidNameError: a name, alias, type or tag that cannot be one.
        UsageError: sockets, FIFOs or devices (all named), another type than the collection has, metadata that is
            not JSON, or a pattern that cannot be understood.
        AlreadyExistsError: a name comes from two sources.
        SourceNotFoundError, NotFoundError: a source, or a version or entry that is taken, does not exist.
        AccessDeniedError: something may not be read.
        SourceChangedError: something changed or vanished while it was read.
        ConflictError: the alias of `expect_base` has moved.
        StorageFullError: there is no room.
    """
    plan, options = plan_sources(repository, sources, options)

    def prepare() -> Storing:
        return Storing(repository, plan, exclude=exclude, skip_special=skip_special, rehash=rehash, progress=progress)

    result = _put(repository, name, prepare, options, None)
    layout = describe_plan([source for source in sources if isinstance(source, Source)])
    referred = tuple(describe_reference(source) for source in sources if isinstance(source, Referred))
    return replace(result, layout=layout + referred)


def plan_sources(
    repository: Repository, sources: Sequence[Source | Referred], options: CommitOptions
) -> tuple[Planned, CommitOptions]:
    """Return where everything goes, and the options with the versions that entries are taken from among the inputs.

    Raises:
        ArtifactFSError: as `put_paths`, for what concerns sources.
    """
    plan = make_plan(source for source in sources if isinstance(source, Source))
    for item in sources:
        if not isinstance(item, Referred):
            continue
        if item.is_artifact:
            taken = take_entries(repository, item)
            plan_entries(plan, taken)
            options = taken.note_input(options)
        else:
            plan_reference(plan, repository.references, item, plans_special=True)
    return plan, options


def put_plan(
    repository: Repository,
    name: str,
    plan: Planned,
    options: CommitOptions = DEFAULT_OPTIONS,
    *,
    over: Over | None = None,
) -> CommitResult:
    """Store what a plan lays out and commit it; otherwise as `put_paths`.

    With `over`, it is laid over an older version, of which only what changes is read and stored.

    Raises:
        AlreadyExistsError: the older version has something else at a path, and it may not be replaced.
        BlobMissingError: the older version was deleted and pruned.
    """
    return _put(repository, name, lambda: Storing(repository, plan), options, over)


def _put(
    repository: Repository, name: str, prepare: Callable[[], Storing], options: CommitOptions, over: Over | None
) -> CommitResult:
    repository.check_writable()
    check_options(repository.load_state(check_collection_name(name)), options)
    storing = prepare()
    result = commit_stored(repository, name, lambda: make_root(storing.store(name, over)), options)
    if result.created:
        repository.survey.mark([result.version.root])  # all of it went through this index
    return storing.tell(result)


class Storing:
    """Stores what a plan lays out, as often as it is asked to. Belongs to one thread.

    Args:
        repository: where to.
        plan: what goes where.
        exclude, skip_special, rehash, progress: see `put_paths`.
    """

    def __init__(
        self,
        repository: Repository,
        plan: Planned,
        *,
        exclude: Sequence[str | bytes] = (),
        skip_special: bool = False,
        rehash: bool = False,
        progress: Progress | None = None,
    ) -> None:
        repository.learn_places()
        self._repository = repository
        self._plan = plan
        self._options = IngestOptions(tuple(exclude), skip_special, _identify(repository.location), rehash)
        self._progress = progress
        self._ingest: Ingest | None = None
        if progress is not None:
            files, size = count_plan(plan, self._options)
            progress.begin(files=files, size=size)

    def store(self, name: str, over: Over | None = None) -> StoredDirectory:
        """Store everything, flush it, and return the top directory; see `put_plan`.

        Raises:
            ArtifactFSError: see `put_plan`.
        """
        repository = self._repository
        with repository.blobs.begin(doubts=self._options.rehash) as batch:
            sources = None if repository.index is None else repository.index.sources
            now_ns = repository.clock.now_ns()
            self._ingest = Ingest(
                batch,
                self._options,
                now_ns=now_ns,
                progress=self._progress,
                sources=sources,
                taking=Taking(repository.survey),
            )
            stored = self._ingest.store(self._plan)
            if self._ingest.has_references:
                repository.announce(REFERENCES)
            batch.flush()
            if over is not None:
                base = find_base(repository, name, over)
                added = None if self._plan.is_empty else stored
                stored = lay_over(Trees(repository.blobs), batch, base, added, over)
                batch.flush()
        return stored

    @property
    def unverified(self) -> int:
        """How many references were stored that are unverified."""
        return 0 if self._ingest is None else self._ingest.unverified

    def tell(self, result: CommitResult) -> CommitResult:
        """Return what a commit did together with what was left out."""
        assert self._ingest is not None
        dropped = self._ingest.dropped
        return replace(
            result,
            dropped_xattrs=tuple(sorted(dropped.examples, key=lambda item: item.path)),
            dropped_count=dropped.count,
            skipped=self._ingest.special,
            unverified=self.unverified,
        )


def hash_plan(plan: Planned, *, now_ns: int, sink: Sink | None = None) -> DirectoryEntry:
    """Return the root that `put_plan` would commit, without storing anything.

    Args:
        plan: what goes where.
        now_ns: time of a root that is empty.
        sink: gets the trees; None drops them.

    Raises:
        ArtifactFSError: as `put_paths`, for what concerns sources.
    """
    return Ingest(sink or HashingSink(), IngestOptions(), now_ns=now_ns).store(plan).entry


def _identify(location: str) -> tuple[int, int] | None:
    try:
        status = os.stat(location)
    except OSError:
        return None
    return status.st_dev, status.st_ino
