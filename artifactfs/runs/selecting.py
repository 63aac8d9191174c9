"""Which versions or runs a user means: all of a collection, one version, or a node of the lineage.

Used by the SDK, the command line and `serve`, where runs or their files are chosen by what they read or made, and where
lineage is asked for. Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import CollectionNotFoundError, InvalidNameError, NotFoundError, UsageError, VersionNotFoundError
from artifactfs.paths import parse_ref
from artifactfs.runs.events import is_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.lineage import Lineage
    from artifactfs.runs.state import RunState


def select_versions(repository: Repository, text: str) -> Callable[[str], bool]:
    """Return whether a version, `NAME:vN`, is meant by a text: `NAME` means each of its versions, a REF one.

    A number need not exist any more; what read a version that was deleted still read it.

    Raises:
        CollectionNotFoundError, AliasNotFoundError: an alias that there is not.
        InvalidNameError: it is not the name of a version.
    """
    if ":" not in text:
        every = f"{parse_ref(text).collection}:"
        return lambda artifact: artifact.startswith(every)
    ref = parse_ref(text)
    if ref.version is not None:
        one = f"{ref.collection}:v{ref.version}"
    else:
        collection, version = repository.resolve(ref)
        one = f"{collection.name}:{version.name}"
    return lambda artifact: artifact == one


def list_versions(repository: Repository, text: str) -> list[str]:
    """Return the names, each `NAME:vN`, of the versions that `select_versions` means, those that were deleted too.

    Raises:
        CollectionNotFoundError, AliasNotFoundError, InvalidNameError: see `select_versions`.
    """
    ref = parse_ref(text)
    if ":" not in text:
        return [f"{ref.collection}:v{number}" for number in range(repository.load_state(ref.collection).next_version)]
    if ref.version is not None:
        return [f"{ref.collection}:v{ref.version}"]
    collection, version = repository.resolve(ref)
    return [f"{collection.name}:{version.name}"]


def find_run(repository: Repository, runs: RunLog, text: str) -> RunState:
    """Return the run that an id, the beginning of one, or a name stands for; names are looked up in the graph.

    Raises:
        NotFoundError: there is none, or several: the hint lists their ids.
        ArtifactFSError: the record is damaged, or cannot be read.
    """
    return runs.find_run(text, candidates=_iter_named(repository, runs, text))


def _iter_named(repository: Repository, runs: RunLog, name: str) -> Iterator[str]:
    from artifactfs.runs.lineage import open_lineage  # noqa: PLC0415 (loads LMDB)

    with open_lineage(repository, runs) as lineage:
        yield from lineage.iter_runs(lambda node: node.name == name)


def find_start(repository: Repository, runs: RunLog, lineage: Lineage, name: str) -> str:
    """Return the name in the graph of what is meant: a version, also a deleted one, or a run.

    Raises:
        NotFoundError: there is none.
        UsageError: it names a path in a version.
    """
    if is_run_id(name):
        return runs.get_run(name).id
    try:
        ref = parse_ref(name)
        if ref.path:
            msg = f"{name!r} names a path, and lineage is of whole versions"
            raise UsageError(msg, hint="`artifactfs blame` says what changed a file", subject=name)
        collection, version = repository.resolve(ref)
    except VersionNotFoundError:
        lineage.update()
        if lineage.is_known(name):
            return name
        raise
    except (CollectionNotFoundError, InvalidNameError) as error:
        if ":" in name:
            raise
        try:
            return runs.find_run(name, candidates=lineage.iter_runs(lambda node: node.name == name)).id
        except NotFoundError as missing:
            if isinstance(error, InvalidNameError) or not missing.message.startswith("there is no run"):
                raise
            msg = f"there is no collection or run {name!r}"
            raise NotFoundError(msg, hint=error.hint, subject=name) from error
    return f"{collection.name}:{version.name}"
