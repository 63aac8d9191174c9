"""Collections, versions and runs: what there is, and what is known of each.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, TypedDict

from msgspec import Meta, Struct

from artifactfs._version import __version__
from artifactfs.clock import format_time_ns
from artifactfs.errors import ArtifactFSError, IntegrityError
from artifactfs.paths import parse_ref
from artifactfs.repository.described import VersionFields, version_fields
from artifactfs.repository.find import find_versions
from artifactfs.repository.past import find_before
from artifactfs.runs.described import RunFields, run_fields
from artifactfs.serve.operations import Limit, Nothing, Offset, Ref

if TYPE_CHECKING:
    from artifactfs.model import Collection, Version
    from artifactfs.serve.context import Context

ALIASES_SHOWN: Final = 20
Name = Annotated[str, Meta(min_length=1, max_length=128, description="The name of a collection.")]
Query = Annotated[str, Meta(max_length=4096, description="In the language of `artifactfs find`; empty is all.")]


class ServerFields(TypedDict):
    """The server: `csrf` is what a request that changes something must carry, None when nothing may be changed."""

    version: str
    repository: str
    repository_id: str
    author: str
    may_write: bool
    csrf: str | None


class CollectionFields(TypedDict):
    """A collection: `size` and `files` are of its newest version, `problem` says why it cannot be read."""

    collection: str
    type: str
    versions: int
    latest: str | None
    aliases: dict[str, str]
    tags: list[str]
    size: int
    files: int
    created: str | None
    modified: str
    problem: str


class Catalogue(TypedDict):
    """Collections in order of names."""

    collections: list[CollectionFields]
    total: int
    versions: int


class Versions(TypedDict):
    """Versions, and how many there are in all."""

    versions: list[VersionFields]
    total: int
    offset: int


class Found(TypedDict):
    """Versions for which a query holds; `is_cut` says that there are more."""

    versions: list[VersionFields]
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
    limit: Limit = 200


class VersionsParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the versions of a collection."""

    name: Name
    offset: Offset = 0
    limit: Limit = 200


class NameParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A collection."""

    name: Name


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


def list_collections(context: Context, page: Page) -> Catalogue:
    """All collections, each with what its newest version has."""
    found = [_summarize(context, name) for name in context.repository.collection_names()]
    return {
        "collections": found[page.offset : page.offset + page.limit],
        "total": len(found),
        "versions": sum(fields["versions"] for fields in found),
    }


def get_collection(context: Context, wanted: NameParameters) -> CollectionFields:
    """One collection."""
    return _describe(context.repository.get_collection(wanted.name))


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
        return {"versions": [], "is_cut": False}
    matching = find_versions(context.repository, wanted.query)
    found = [version_fields(*pair) for pair in islice(matching, wanted.limit + 1)]
    return {"versions": found[: wanted.limit], "is_cut": len(found) > wanted.limit}


def get_version(context: Context, wanted: RefParameters) -> VersionDetail:
    """A version, its neighbours, and the run that made it."""
    collection, version = context.repository.resolve(parse_ref(wanted.ref))
    numbers = sorted(collection.versions)
    at = numbers.index(version.number)
    before = find_before(collection, version)
    return {
        "version": version_fields(collection, version),
        "run": _find_run(context, version.run),
        "before": _name(collection, before),
        "previous": _name(collection, collection.versions[numbers[at - 1]]) if at else None,
        "next": _name(collection, collection.versions[numbers[at + 1]]) if at + 1 < len(numbers) else None,
    }


def list_runs(context: Context, page: Page) -> Runs:
    """All runs, the newest first."""
    found = list(islice(context.runs.iter_runs(), page.offset, page.offset + page.limit + 1))
    return {"runs": [run_fields(state) for state in found[: page.limit]], "is_cut": len(found) > page.limit}


def get_run(context: Context, wanted: RunParameters) -> RunDetail:
    """One run: its command, code, configuration, and what it read and made."""
    return {"run": run_fields(context.runs.find_run(wanted.run))}


def _summarize(context: Context, name: str) -> CollectionFields:
    try:
        state = context.repository.load_state(name)
    except IntegrityError as error:
        return _describe_damaged(name, error)
    return _describe(state)


def _describe(collection: Collection) -> CollectionFields:
    number = collection.aliases.get("latest", max(collection.versions, default=None))
    newest = None if number is None else collection.versions.get(number)
    aliases = sorted(collection.aliases.items(), key=lambda item: (item[0] != "latest", item[0]))
    return {
        "collection": collection.name,
        "type": collection.type,
        "versions": len(collection.versions),
        "latest": _name(collection, newest),
        "aliases": {alias: f"v{target}" for alias, target in aliases[:ALIASES_SHOWN]},
        "tags": list(newest.tags) if newest else [],
        "size": newest.root.size if newest else 0,
        "files": newest.root.count if newest else 0,
        "created": format_time_ns(newest.time_ns) if newest else None,
        "modified": format_time_ns(collection.time_ns),
        "problem": "",
    }


def _describe_damaged(name: str, error: IntegrityError) -> CollectionFields:
    return {
        "collection": name,
        "type": "",
        "versions": 0,
        "latest": None,
        "aliases": {},
        "tags": [],
        "size": 0,
        "files": 0,
        "created": None,
        "modified": format_time_ns(0),
        "problem": str(error),
    }


def _name(collection: Collection, version: Version | None) -> str | None:
    return None if version is None else f"{collection.name}:{version.name}"


def _find_run(context: Context, run: str | None) -> RunFields | None:
    if run is None:
        return None
    try:
        return run_fields(context.runs.get_run(run))
    except ArtifactFSError:
        return None  # recorded in another repository, or damaged
