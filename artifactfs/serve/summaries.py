"""Collections, each with what its newest version has: the catalogue, in any part and order.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypedDict

from msgspec import Meta, Struct

from artifactfs.clock import format_time_ns
from artifactfs.serve.looks import Damaged
from artifactfs.serve.operations import Limit, Offset

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection, Version
    from artifactfs.serve.context import Context

ALIASES_SHOWN: Final = 20
Name = Annotated[str, Meta(min_length=1, max_length=128, description="The name of a collection.")]
Order = Literal["name", "type", "changed"]


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
    """A part of the collections: `total` and `versions` of those that are wanted, `types` of all, with their numbers.

    A collection that cannot be read has the type "".
    """

    collections: list[CollectionFields]
    total: int
    versions: int
    types: dict[str, int]
    offset: int


class CataloguePage(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the collections."""

    offset: Offset = 0
    limit: Limit = 200
    order: Annotated[
        Order, Meta(description="By name; by type, then name; or by the last change, the newest first.")
    ] = "name"
    type: Annotated[str, Meta(max_length=128, description="Only those of this type; empty is all.")] = ""


class NameParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A collection."""

    name: Name


def list_collections(context: Context, page: CataloguePage) -> Catalogue:
    """The collections, each with what its newest version has."""
    found = context.looks.find_all()
    types = Counter(_type_of(each) for each in found)
    if page.type:
        found = [each for each in found if _type_of(each) == page.type]
    if page.order != "name":
        found.sort(key=_KEYS[page.order])
    return {
        "collections": [
            describe_collection(each) if not isinstance(each, Damaged) else _describe_damaged(each)
            for each in found[page.offset : page.offset + page.limit]
        ],
        "total": len(found),
        "versions": sum(len(each.versions) for each in found if not isinstance(each, Damaged)),
        "types": dict(sorted(types.items())),
        "offset": page.offset,
    }


def get_collection(context: Context, wanted: NameParameters) -> CollectionFields:
    """One collection."""
    return describe_collection(context.repository.get_collection(wanted.name))


def _type_of(each: Collection | Damaged) -> str:
    return "" if isinstance(each, Damaged) else each.type


def _changed(each: Collection | Damaged) -> tuple[int, str]:
    return (0 if isinstance(each, Damaged) else -each.time_ns, each.name)


_KEYS: Final[dict[str, Callable[[Collection | Damaged], tuple[object, ...]]]] = {
    "type": lambda each: (_type_of(each), each.name),
    "changed": _changed,
}


def describe_collection(collection: Collection) -> CollectionFields:
    """Return a collection as members of a JSON object."""
    number = collection.aliases.get("latest", max(collection.versions, default=None))
    newest = None if number is None else collection.versions.get(number)
    aliases = sorted(collection.aliases.items(), key=lambda item: (item[0] != "latest", item[0]))
    return {
        "collection": collection.name,
        "type": collection.type,
        "versions": len(collection.versions),
        "latest": name_version(collection, newest),
        "aliases": {alias: f"v{target}" for alias, target in aliases[:ALIASES_SHOWN]},
        "tags": list(newest.tags) if newest else [],
        "size": newest.root.size if newest else 0,
        "files": newest.root.count if newest else 0,
        "created": format_time_ns(newest.time_ns) if newest else None,
        "modified": format_time_ns(collection.time_ns),
        "problem": "",
    }


def _describe_damaged(damaged: Damaged) -> CollectionFields:
    return {
        "collection": damaged.name,
        "type": "",
        "versions": 0,
        "latest": None,
        "aliases": {},
        "tags": [],
        "size": 0,
        "files": 0,
        "created": None,
        "modified": format_time_ns(0),
        "problem": damaged.problem,
    }


def name_version(collection: Collection, version: Version | None) -> str | None:
    """Return `NAME:vN`; None for no version."""
    return None if version is None else f"{collection.name}:{version.name}"
