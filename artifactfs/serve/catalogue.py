"""Versions and runs: what there is, and what is known of each.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, TypedDict

from msgspec import Meta, Struct

from artifactfs._version import __version__
from artifactfs.errors import ArtifactFSError
from artifactfs.paths import parse_ref
from artifactfs.repository.described import VersionFields, version_fields
from artifactfs.repository.find import select_versions
from artifactfs.repository.past import find_before
from artifactfs.runs.described import RunFields, run_fields
from artifactfs.serve.looks import Damaged
from artifactfs.serve.operations import Limit, Nothing, Offset, Ref
from artifactfs.serve.summaries import Name, name_version

if TYPE_CHECKING:
    from artifactfs.serve.context import Context

Query = Annotated[str, Meta(max_length=4096, description="In the language of `artifactfs find`; empty is all.")]


class ServerFields(TypedDict):
    """The server: `csrf` is what a request that changes something must carry, None when nothing may be changed."""

    version: str
    repository: str
    repository_id: str
    author: str
    may_write: bool
    csrf: str | None


class Versions(TypedDict):
    """Versions, and how many there are in all."""

    versions: list[VersionFields]
    total: int
    offset: int


class Found(TypedDict):
    """A part of the versions for which a query holds; `is_cut` says that there are more."""

    versions: list[VersionFields]
    offset: int
    is_cut: bool


class VersionDetail(TypedDict):
    """A version, what is around it, and the run that made it."""

    version: VersionFields
    run: RunFields | None
    before: str | None
    previous: str | None
    next: str | None


class Runs(TypedDict):
    """Runs, the newest first."""

    runs: list[RunFields]
    is_cut: bool


class RunDetail(TypedDict):
    """A run."""

    run: RunFields


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a list."""

    offset: Offset = 0
    limit: Limit = 200


class FindParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A query."""

    query: Query = ""
    offset: Offset = 0
    limit: Limit = 200


class VersionsParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the versions of a collection."""

    name: Name
    offset: Offset = 0
    limit: Limit = 200


class RefParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A version."""

    ref: Ref


class RunParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A run."""

    run: Annotated[str, Meta(min_length=1, max_length=256, description="An id, the beginning of one, or a name.")]


def get_server(context: Context, _: Nothing) -> ServerFields:
    """Which repository is served, by which release, and whether anything may be changed."""
    repository = context.repository
    return {
        "version": __version__,
        "repository": repository.location,
        "repository_id": repository.id,
        "author": repository.author,
        "may_write": context.may_write,
        "csrf": context.csrf if context.may_write else None,
    }


def list_versions(context: Context, wanted: VersionsParameters) -> Versions:
    """The versions of a collection, the newest first."""
    collection = context.repository.get_collection(wanted.name)
    numbers = sorted(collection.versions, reverse=True)
    shown = numbers[wanted.offset : wanted.offset + wanted.limit]
    return {
        "versions": [version_fields(collection, collection.versions[number]) for number in shown],
        "total": len(numbers),
        "offset": wanted.offset,
    }


def find(context: Context, wanted: FindParameters) -> Found:
    """The versions for which a query holds: `type=model and metadata.accuracy > 0.9`."""
    if not wanted.query.strip():
        return {"versions": [], "offset": wanted.offset, "is_cut": False}
    readable = (each for each in context.looks.find_all() if not isinstance(each, Damaged))
    matching = select_versions(readable, wanted.query)
    found = [version_fields(*pair) for pair in islice(matching, wanted.offset, wanted.offset + wanted.limit + 1)]
    return {"versions": found[: wanted.limit], "offset": wanted.offset, "is_cut": len(found) > wanted.limit}


def get_version(context: Context, wanted: RefParameters) -> VersionDetail:
    """A version, its neighbours, and the run that made it."""
    collection, version = context.repository.resolve(parse_ref(wanted.ref))
    numbers = sorted(collection.versions)
    at = numbers.index(version.number)
    before = find_before(collection, version)
    return {
        "version": version_fields(collection, version),
        "run": _find_run(context, version.run),
        "before": name_version(collection, before),
        "previous": name_version(collection, collection.versions[numbers[at - 1]]) if at else None,
        "next": name_version(collection, collection.versions[numbers[at + 1]]) if at + 1 < len(numbers) else None,
    }


def list_runs(context: Context, page: Page) -> Runs:
    """All runs, the newest first."""
    found = list(islice(context.runs.iter_runs(), page.offset, page.offset + page.limit + 1))
    return {"runs": [run_fields(state) for state in found[: page.limit]], "is_cut": len(found) > page.limit}


def get_run(context: Context, wanted: RunParameters) -> RunDetail:
    """One run: its command, code, configuration, and what it read and made."""
    return {"run": run_fields(context.runs.find_run(wanted.run))}


def _find_run(context: Context, run: str | None) -> RunFields | None:
    if run is None:
        return None
    try:
        return run_fields(context.runs.get_run(run))
    except ArtifactFSError:
        return None  # recorded in another repository, or damaged
