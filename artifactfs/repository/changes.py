"""Changes: pure functions from the state of a collection to the record body that changes it, or an error.

`Log.append` runs one on the state that it read, and runs it again whole on the newer state when somebody else
was first; a check made on an old state never carries over.

Used by commit, by the SDK and the command line through `Repository.append`. Threading: pure functions.
"""

from __future__ import annotations

import difflib
import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from artifactfs.errors import (
    AliasNotFoundError,
    CollectionNotFoundError,
    ConflictError,
    InvalidNameError,
    UsageError,
    VersionNotFoundError,
)
from artifactfs.model import DEFAULT_TYPE
from artifactfs.paths import LATEST, check_alias_name, check_collection_name, format_version
from artifactfs.repository.records import (
    Commit,
    DeleteCollection,
    DeleteVersion,
    Edit,
    Pin,
    Relocate,
    RemoveAliases,
    SetAliases,
    Unpin,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artifactfs.model import Collection, Origin, Root, Version

_SAFE_INTEGER = 2**53
_NEAR_SHOWN = 3
_ALIASES_SHOWN = 10


def commit(  # noqa: PLR0913 (all that a commit record states)
    collection: Collection,
    *,
    root: Root,
    type: str | None = None,  # noqa: A002 (the users' word)
    aliases: Sequence[str] = (),
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    base: int | None = None,
    inputs: Sequence[str] = (),
    expires_ns: int | None = None,
    origin: Origin | None = None,
    expected: tuple[str, int | None] | None = None,
) -> Commit:
    """Return the next version, to which `latest` and `aliases` point.

    Args:
        collection: the state before; it need not exist yet.
        root: top directory, which is stored already.
        type: the collection's type; None takes the one it has, or `dataset`.
        aliases: besides `latest`.
        description: text about the data.
        metadata: JSON values by key.
        tags: words, in any order.
        base: the version that this one was made from.
        inputs: versions it was made from, each `NAME:vN`.
        expires_ns: when it may be removed.
        origin: where it was made, if it is a copy. Then `latest` stays where it is when that is a copy of a later
            version of the same collection.
        expected: an alias and the version that it must still point to (None: that it must not exist).

    Raises:
        UsageError: another type than the collection has, or metadata that is not JSON.
        InvalidNameError: an alias, type or tag that cannot be one.
        ConflictError: the expected alias points elsewhere.
    """
    if expected is not None:
        _check_expected(collection, *expected)
    return Commit(
        version=collection.next_version,
        type=_choose_type(collection, type),
        root=root,
        aliases=(
            *((LATEST,) if origin is None or _is_newest(collection, origin) else ()),
            *sorted({check_alias_name(alias) for alias in aliases} - {LATEST}),
        ),
        description=description,
        metadata=check_metadata(metadata or {}),
        tags=_check_tags(tags),
        base=base,
        inputs=tuple(inputs),
        expires_ns=expires_ns,
        origin=origin,
    )


def find_copy(collection: Collection, origin: Origin, root: Root | None = None) -> Version | None:
    """Return the live version that is a copy of a version elsewhere, or None.

    Args:
        collection: the state of the collection that may have it.
        origin: names the other version.
        root: its top directory, which must be the same; None takes any.
    """
    for version in sorted(collection.versions.values(), key=lambda version: -version.number):
        is_copy = version.origin is not None and version.origin.is_same(origin)
        if is_copy and (root is None or (version.root.tree, version.root.mode) == (root.tree, root.mode)):
            return version
    return None


def set_aliases(collection: Collection, *, version: int, aliases: Sequence[str]) -> SetAliases:
    """Return the change that makes `aliases` point to a version.

    Raises:
        CollectionNotFoundError, VersionNotFoundError: it does not exist.
        InvalidNameError: an alias that cannot be one.
    """
    get_version(collection, version)
    return SetAliases(version, tuple(sorted({check_alias_name(alias) for alias in aliases})))


def remove_aliases(collection: Collection, *, aliases: Sequence[str]) -> RemoveAliases:
    """Return the change that removes aliases.

    Raises:
        CollectionNotFoundError: it does not exist.
        AliasNotFoundError: one of them does not exist; none is removed.
    """
    for alias in aliases:
        if alias not in check_exists(collection).aliases:
            name = f"{collection.name}:{alias}"
            msg = f"there is no alias {name}"
            hint = suggest(alias, collection.aliases) or _list_aliases(collection)
            raise AliasNotFoundError(msg, hint=hint, subject=name)
    return RemoveAliases(tuple(sorted(set(aliases))))


def delete_version(collection: Collection, *, number: int, force: bool = False) -> DeleteVersion:
    """Return the change that deletes a version.

    Args:
        collection: the state before.
        number: the version's.
        force: whether to delete it though aliases name it; they go, and `latest` moves.

    Raises:
        CollectionNotFoundError, VersionNotFoundError: it does not exist.
        ConflictError: aliases name it and `force` is not given.
    """
    version = get_version(collection, number)
    names = collection.aliases_of(number)
    if names and not force:
        msg = f"{collection.name}:{version.name} is named by {', '.join(names)}"
        raise ConflictError(msg, hint="move the alias first, or use --force", subject=collection.name)
    return DeleteVersion(number)


def delete_collection(collection: Collection) -> DeleteCollection:
    """Return the change that deletes a collection with all versions.

    Raises:
        CollectionNotFoundError: it does not exist.
    """
    check_exists(collection)
    return DeleteCollection()


def edit(
    collection: Collection,
    *,
    version: int,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
) -> Edit:
    """Return the change that gives a version another description, metadata or tags.

    Args:
        collection: the state before.
        version: its number.
        description: the new text, or None to leave it.
        metadata: all of the new values, or None to leave them.
        tags: all of the new tags, or None to leave them.

    Raises:
        CollectionNotFoundError, VersionNotFoundError: it does not exist.
        UsageError: metadata that is not JSON.
        InvalidNameError: a tag that cannot be one.
    """
    old = get_version(collection, version)
    return Edit(
        version,
        description=old.description if description is None else description,
        metadata=old.metadata if metadata is None else check_metadata(metadata),
        tags=old.tags if tags is None else _check_tags(tags),
    )


def pin(collection: Collection, *, pin: str, version: int, purpose: str) -> Pin:
    """Return the change that keeps a version from being pruned, under the id `pin`.

    Raises:
        CollectionNotFoundError, VersionNotFoundError: it does not exist.
    """
    get_version(collection, version)
    return Pin(pin, version, purpose)


def unpin(collection: Collection, *, pin: str) -> Unpin:
    """Return the change that removes a pin; one that is gone already is no error."""
    del collection
    return Unpin(pin)


def relocate(collection: Collection, *, version: int, placement: tuple[str, int, int] | None) -> Relocate:
    """Return the change that says where the root of a version, live or deleted, lies now.

    Raises:
        VersionNotFoundError: there never was such a version.
    """
    if version not in collection.deleted:
        get_version(collection, version)
    return Relocate(version, placement)


def check_exists(collection: Collection) -> Collection:
    """Return a collection that exists.

    Raises:
        CollectionNotFoundError: it has no record, or was deleted.
    """
    if not collection.exists:
        msg = f"there is no collection {collection.name!r}"
        raise CollectionNotFoundError(msg, subject=collection.name)
    return collection


def get_version(collection: Collection, number: int) -> Version:
    """Return a live version.

    Raises:
        CollectionNotFoundError: the collection does not exist.
        VersionNotFoundError: the version does not, or was deleted.
    """
    version = check_exists(collection).versions.get(number)
    if version is not None:
        return version
    name = f"{collection.name}:{format_version(number)}"
    if number in collection.deleted:
        msg = f"{name} was deleted"
        raise VersionNotFoundError(msg, subject=name)
    msg = f"there is no {name}"
    raise VersionNotFoundError(msg, hint=_list_versions(collection), subject=name)


def get_alias(collection: Collection, alias: str) -> Version:
    """Return the version that an alias points to.

    Raises:
        CollectionNotFoundError: the collection does not exist.
        AliasNotFoundError: the alias does not.
    """
    number = check_exists(collection).aliases.get(alias)
    if number is not None:
        return get_version(collection, number)
    name = f"{collection.name}:{alias}"
    msg = f"there is no {name}"
    known = [*collection.aliases, *map(format_version, collection.versions)]
    hint = suggest(alias, known) or f"{_list_aliases(collection)}; {_list_versions(collection)}"
    raise AliasNotFoundError(msg, hint=hint, subject=name)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names what is spelt nearly like `name`; "" when nothing is."""
    return format_similar(find_similar(name, known))


def find_similar(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three that are spelt nearly like `name`, the nearest first; upper and lower case are alike."""
    folded: dict[str, list[str]] = {}
    for other in known:
        folded.setdefault(other.casefold(), []).append(other)
    near = difflib.get_close_matches(name.casefold(), list(folded), n=_NEAR_SHOWN, cutoff=0.6)
    return [other for key in near for other in folded[key]][:_NEAR_SHOWN]


def format_similar(near: Sequence[str]) -> str:
    """Return a hint that names them; "" when there are none."""
    return f"did you mean {' or '.join(near)}?" if near else ""


def check_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as it will be read back.

    Raises:
        UsageError: a key is not text, or a value has no exact JSON form.
    """
    return {_check_key(key): _check_value(value, key) for key, value in metadata.items()}


def _check_key(key: object) -> str:
    if not isinstance(key, str):
        msg = f"the metadata key {key!r} is not text"
        raise UsageError(msg)
    return key


def _check_value(value: object, key: str) -> object:
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        # Those of NumPy, too, and of enumerations: what is stored are plain numbers.
        case Integral() if abs(int(value)) <= _SAFE_INTEGER:
            return int(value)
        case Real() if math.isfinite(value) and float(value) == value:
            return float(value)
        case list() | tuple():
            return [_check_value(item, key) for item in value]
        case dict():
            return {_check_key(name): _check_value(item, key) for name, item in value.items()}
    msg = f"the metadata value of {key!r} cannot be stored: {value!r:.80}"
    raise UsageError(msg, hint="values are JSON; numbers are finite, integers up to 2^53", subject=key)


def _choose_type(collection: Collection, wanted: str | None) -> str:
    if not collection.exists:
        return check_word(wanted if wanted is not None else DEFAULT_TYPE, "a type")
    if wanted is not None and wanted != collection.type:
        msg = f"the collection {collection.name!r} has the type {collection.type!r}, not {wanted!r}"
        raise UsageError(msg, hint="leave the type out, or use another collection", subject=collection.name)
    return collection.type


def _is_newest(collection: Collection, origin: Origin) -> bool:
    """Return whether `latest` is no copy of a later version of the same collection elsewhere."""
    latest = collection.versions.get(collection.aliases.get(LATEST, -1))
    there = latest.origin if latest is not None else None
    return there is None or not there.names(origin) or there.version <= origin.version


def check_word(word: str, what: str) -> str:
    """Return a word that can be a type or tag; they follow the rule of collections' names.

    Raises:
        InvalidNameError: it cannot.
    """
    try:
        return check_collection_name(word)
    except InvalidNameError as error:
        msg = f"{word!r} cannot be {what}"
        raise InvalidNameError(msg, hint=error.hint, subject=word) from error


def _check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({check_word(tag, "a tag") for tag in tags}))


def _check_expected(collection: Collection, alias: str, number: int | None) -> None:
    found = collection.aliases.get(alias)
    if found != number:
        now = "is gone" if found is None else f"is {format_version(found)} now"
        was = "did not exist" if number is None else f"was {format_version(number)}"
        msg = f"{collection.name}:{alias} {now}; it {was} when this began"
        raise ConflictError(msg, hint="look at the newer version, then try again", subject=collection.name)


def _list_aliases(collection: Collection) -> str:
    names = sorted(collection.aliases)
    if not names:
        return "it has no aliases"
    shown, more = ", ".join(names[:_ALIASES_SHOWN]), len(names) - _ALIASES_SHOWN
    return f"aliases are {shown}" + (f" and {more} more" if more > 0 else "")


def _list_versions(collection: Collection) -> str:
    numbers = sorted(collection.versions)
    if not numbers:
        return "it has no versions"
    if len(numbers) == 1:
        return f"the only version is {format_version(numbers[0])}"
    return f"versions are {format_version(numbers[0])} to {format_version(numbers[-1])}"
