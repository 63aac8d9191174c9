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
from artifactfs.repository.ingest import Ingest, IngestOptions, count_plan
from artifactfs.repository.reading import HashingSink
from artifactfs.repository.referring import Referred, describe_reference, plan_reference
from artifactfs.repository.sources import Source, describe_plan, make_plan
from artifactfs.repository.treebuilder import make_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import DirectoryEntry, Root
    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.sources import Planned

__all__ = ["Referred", "Source", "hash_plan", "put_paths", "put_plan"]


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
        sources: local paths, and URIs of which references are made, and where they go.
        options: what to record besides.
        exclude: patterns as in gitignore(5), on entry paths; they come before those of `.artifactignore` files.
        skip_special: leave sockets, FIFOs and devices out instead of refusing them.
        rehash: read every file, also one that was put before and did not change.
        progress: is told of bytes and files; asking for it costs a walk for the totals.

    Raises:
        InvalidNameError: a name, alias, type or tag that cannot be one.
        UsageError: sockets, FIFOs or devices (all named), another type than the collection has, metadata that is
            not JSON, or a pattern that cannot be understood.
        AlreadyExistsError: a name comes from two sources.
        SourceNotFoundError: a source does not exist.
        AccessDeniedError: something may not be read.
        SourceChangedError: something changed or vanished while it was read.
        ConflictError: the alias of `expect_base` has moved.
        StorageFullError: there is no room.
    """
    plan = make_plan(local := [source for source in sources if isinstance(source, Source)])
    referred = [source for source in sources if isinstance(source, Referred)]
    for item in referred:
        plan_reference(plan, repository.references, item)
    result = put_plan(
        repository,
        name,
        plan,
        options,
        exclude=exclude,
        skip_special=skip_special,
        rehash=rehash,
        progress=progress,
    )
    return replace(result, layout=describe_plan(local) + tuple(map(describe_reference, referred)))


def put_plan(
    repository: Repository,
    name: str,
    plan: Planned,
    options: CommitOptions = DEFAULT_OPTIONS,
    *,
    exclude: Sequence[str | bytes] = (),
    skip_special: bool = False,
    rehash: bool = False,
    progress: Progress | None = None,
) -> CommitResult:
    """Store what a plan lays out and commit it; otherwise as `put_paths`."""
    repository.check_writable()
    check_options(repository.load_state(check_collection_name(name)), options)
    repository.learn_places()
    ingest_options = IngestOptions(tuple(exclude), skip_special, _identify(repository.location), rehash)
    if progress is not None:
        files, size = count_plan(plan, ingest_options)
        progress.begin(files=files, size=size)
    ingests: list[Ingest] = []
    sources = None if repository.index is None else repository.index.sources

    def store() -> Root:
        with repository.blobs.begin() as batch:
            now_ns = repository.clock.now_ns()
            ingests.append(Ingest(batch, ingest_options, now_ns=now_ns, progress=progress, sources=sources))
            stored = ingests[-1].store(plan)
            if ingests[-1].has_references:
                repository.announce(REFERENCES)
            batch.flush()
        return make_root(stored)

    result = commit_stored(repository, name, store, options)
    if result.created:
        repository.survey.mark([result.version.root])  # all of it went through this index
    return replace(
        result,
        dropped_xattrs=tuple(sorted(ingests[-1].dropped.examples, key=lambda dropped: dropped.path)),
        dropped_count=ingests[-1].dropped.count,
        skipped=ingests[-1].special,
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
