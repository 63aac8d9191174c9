"""What may be changed with `--write`: aliases, descriptions, tags, metadata, and staging directories.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType

from artifactfs.errors import ArtifactFSError, ConflictError, ReadOnlyError, UsageError
from artifactfs.mount import api
from artifactfs.paths import parse_ref
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.described import VersionFields, version_fields
from artifactfs.repository.staged import expecting_base
from artifactfs.repository.staging import StagingArea
from artifactfs.serve.catalogue import RefParameters
from artifactfs.serve.machine import StagingRef, find_staging
from artifactfs.serve.operations import Nothing, Ref
from artifactfs.serve.summaries import Name

if TYPE_CHECKING:
    from artifactfs.model import Collection, Version
    from artifactfs.repository.records import Body
    from artifactfs.serve.context import Context

Word = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=100_000)]


class AliasesSet(Struct, frozen=True, forbid_unknown_fields=True):
    """Aliases, and the version that they are to point to."""

    ref: Ref
    aliases: Annotated[list[Word], Meta(min_length=1, max_length=100)]


class AliasesRemoved(Struct, frozen=True, forbid_unknown_fields=True):
    """Aliases of a collection that are to go."""

    collection: Name
    aliases: Annotated[list[Word], Meta(min_length=1, max_length=100)]


class Edited(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different of a version; what is not given stays."""

    description: Text | UnsetType = UNSET
    tag: Annotated[list[Word], Meta(max_length=100)] = []
    untag: Annotated[list[Word], Meta(max_length=100)] = []
    metadata: dict[str, Any] = {}
    unset: Annotated[list[Word], Meta(max_length=100)] = []


class Committed(Struct, frozen=True, forbid_unknown_fields=True):
    """What a commit of a staging directory records, as of `artifactfs commit`."""

    message: Text = ""
    description: Text = ""
    aliases: Annotated[list[Word], Meta(max_length=100)] = []
    tags: Annotated[list[Word], Meta(max_length=100)] = []
    if_changed: bool = False
    expect_base: bool = False
    close: bool = False


class Discarded(Struct, frozen=True, forbid_unknown_fields=True):
    """How many changes are to be lost: when there are others by now, nothing is done."""

    changes: Annotated[int, Meta(ge=0, le=2**53 - 1)]


class StagingParameter(Struct, frozen=True, forbid_unknown_fields=True):
    """A staging directory."""

    ref: StagingRef


class AliasesFields(TypedDict):
    """The aliases that a collection has now."""

    collection: str
    aliases: dict[str, str]


class EditedFields(TypedDict):
    """A version, as it is now."""

    version: VersionFields


class CommitFields(TypedDict):
    """The version that was made, or that has this content already; `note` is what else is to be known."""

    version: VersionFields
    is_new: bool
    note: str


class DiscardedFields(TypedDict):
    """The staging directory that is gone."""

    discarded: str


def set_aliases(context: Context, _nothing: Nothing, body: AliasesSet) -> AliasesFields:
    """Point aliases to a version; those that exist move."""
    _check(context)
    collection, version = _resolve(context, body.ref)
    state, _ = context.repository.append(
        collection.name, lambda state: changes.set_aliases(state, version=version.number, aliases=body.aliases)
    )
    return _alias_fields(state)


def remove_aliases(context: Context, _nothing: Nothing, body: AliasesRemoved) -> AliasesFields:
    """Remove aliases of a collection; the versions stay."""
    _check(context)
    repository = context.repository
    name = repository.get_collection(body.collection).name
    state, _ = repository.append(name, lambda state: changes.remove_aliases(state, aliases=body.aliases))
    if os.path.isdir(context.places.runtime):
        for alias in body.aliases:
            api.refresh_name(context.places, repository.id, collection=name, name=alias)
    return _alias_fields(state)


def edit_version(context: Context, wanted: RefParameters, body: Edited) -> EditedFields:
    """Change the description, tags or metadata of a version. The data stays as it is."""
    _check(context)
    if body == Edited():
        msg = "nothing to change was given"
        raise UsageError(msg)
    collection, version = _resolve(context, wanted.ref)

    def change(state: Collection) -> Body:
        old = changes.get_version(state, version.number)
        kept = {key: value for key, value in old.metadata.items() if key not in body.unset}
        return changes.edit(
            state,
            version=version.number,
            description=None if isinstance(body.description, UnsetType) else body.description,
            metadata={**kept, **body.metadata},
            tags=(set(old.tags) - set(body.untag)) | set(body.tag),
        )

    state, _ = context.repository.append(collection.name, change)
    return {"version": version_fields(state, state.versions[version.number])}


def commit_staging(context: Context, wanted: StagingParameter, body: Committed) -> CommitFields:
    """Make a version of what a staging directory shows."""
    _check(context)
    area = StagingArea(context.repository)
    staging = find_staging(area, wanted.ref)
    options = CommitOptions(
        message=body.message,
        description=body.description,
        aliases=tuple(body.aliases),
        tags=tuple(body.tags),
        if_changed=body.if_changed,
    )
    if body.expect_base:
        options = expecting_base(options, staging)
    freezer = api.MountFreezer(context.places, context.repository.id)
    done = area.commit(staging, options, freezer=freezer)
    note = "" if done.moved is None else f"{done.moved[0]} was moved by somebody else meanwhile"
    if body.close:
        note = _close(context, area, wanted.ref) or note
    fields = version_fields(done.result.collection, done.result.version)
    return {"version": fields, "is_new": done.result.created, "note": note}


def discard_staging(context: Context, wanted: StagingParameter, body: Discarded) -> DiscardedFields:
    """Remove a staging directory; what was changed in it and not committed is lost."""
    _check(context)
    area = StagingArea(context.repository)
    staging = find_staging(area, wanted.ref)
    found: int | None = None
    with suppress(ArtifactFSError):  # a damaged one must be possible to discard, too
        found = len(area.changes(staging))
    if found is not None and found != body.changes:
        msg = f"{staging} has {found} changes by now, and {body.changes} were to be lost"
        raise ConflictError(msg, hint="look at them again", subject=str(staging))
    api.end_staging(context.places, context.repository, staging, area)
    return {"discarded": str(staging)}


def _close(context: Context, area: StagingArea, ref: str) -> str:
    """Remove a staging directory that was committed; return why it is still there, or ""."""
    try:
        staging = find_staging(area, ref)
        api.end_staging(context.places, context.repository, staging, area, unless_changed=True)
    except ArtifactFSError as error:
        return f"it was committed, but the staging directory was not removed: {error.message}"
    return ""


def _check(context: Context) -> None:
    """Raise an error if nothing may be changed."""
    if not context.may_write:
        msg = "nothing may be changed here"
        raise ReadOnlyError(msg, hint="start it with: artifactfs ui --write")


def _resolve(context: Context, ref: str) -> tuple[Collection, Version]:
    parsed = parse_ref(ref)
    if parsed.path:
        msg = f"{ref} names a path, and this is of whole versions"
        raise UsageError(msg, subject=ref)
    return context.repository.resolve(parsed)


def _alias_fields(state: Collection) -> AliasesFields:
    return {"collection": state.name, "aliases": {name: f"v{number}" for name, number in sorted(state.aliases.items())}}
