"""Finding versions by what is known about them.

Used by the command line and the SDK. Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import IntegrityError
from artifactfs.repository.query import Moment, parse_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import Collection, Version
    from artifactfs.repository.query import Condition
    from artifactfs.repository.repository import Repository

FIELDS: Final = (
    "name", "ref", "version", "type", "alias", "tag", "metadata", "description", "message", "author", "created", "size",
    "files", "digest", "run", "input", "base",
)  # fmt: skip


def find_versions(repository: Repository, query: str) -> Iterator[tuple[Collection, Version]]:
    """Return an iterator over the versions for which a query holds, by names of collections, the newest version first.

    Args:
        repository: where to look; collections whose log is damaged are passed over.
        query: in the language of `query`.

    Raises:
        UsageError: it is not in the language; the message says where.
    """
    condition = parse_query(query, fields=FIELDS)
    looked = repository.look_at_collections()
    return _select((state for _, state in looked if not isinstance(state, IntegrityError)), condition)


def select_versions(collections: Iterable[Collection], query: str) -> Iterator[tuple[Collection, Version]]:
    """Return an iterator over those versions of collections for which a query holds; see `find_versions`."""
    return _select(collections, parse_query(query, fields=FIELDS))


def _select(collections: Iterable[Collection], condition: Condition) -> Iterator[tuple[Collection, Version]]:
    for collection in collections:
        for number in sorted(collection.versions, reverse=True):
            version = collection.versions[number]
            if condition.holds(lambda field, of=collection, at=version: _find_field(of, at, field)):  # type: ignore[misc]
                yield collection, version


def _find_field(collection: Collection, version: Version, field: tuple[str, ...]) -> Any:
    first, rest = field[0], field[1:]
    if first == "metadata":
        return _find_below(version.metadata, rest)
    if rest:
        return None
    found: dict[str, Any] = {
        "name": collection.name,
        "ref": f"{collection.name}:{version.name}",
        "version": version.number,
        "type": collection.type,
        "alias": collection.aliases_of(version.number) if first == "alias" else None,
        "tag": version.tags,
        "description": version.description,
        "message": version.message,
        "author": version.author,
        "created": Moment(version.time_ns),
        "size": version.root.size,
        "files": version.root.count,
        "digest": version.root.content,
        "run": version.run,
        "input": version.inputs,
        "base": None if version.base is None else f"{collection.name}:v{version.base}",
    }
    return found[first]


def _find_below(value: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
