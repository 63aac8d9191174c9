"""What this machine does with the repository: mounts, cache, staging directories.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

import heapq
import os
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, TypedDict, cast

from msgspec import Meta, Struct

from artifactfs.clock import format_time_ns
from artifactfs.errors import UsageError
from artifactfs.mount import api
from artifactfs.mount.described import find_stale_ns, mount_fields
from artifactfs.mount.kernel.asking import find_figures
from artifactfs.mount.openfiles import find_open_files
from artifactfs.paths import DEFAULT_STAGING, parse_ref
from artifactfs.repository.described import ChangeFields, change_fields, name_fields
from artifactfs.repository.staged import describe
from artifactfs.repository.staging import StagingArea
from artifactfs.serve.operations import Limit, Nothing, Offset

if TYPE_CHECKING:
    from artifactfs.blobstore.cachequota import Cached
    from artifactfs.mount.openfiles import OpenFile
    from artifactfs.mount.options import MountInfo
    from artifactfs.repository.staged import Staging
    from artifactfs.serve.context import Context

CHUNKS_SHOWN: Final = 50
StagingRef = Annotated[
    str,
    Meta(
        min_length=1, max_length=512, description="`NAME`, or `NAME:@STAGING`; NAME alone means the one without a name."
    ),
]


class Fetch(TypedDict):
    """A request: `path` is in the mount, null where no program that this user may look at has it open."""

    request: str
    path: str | None
    path_base64: NotRequired[str]
    offset: int
    pid: int | None
    program: str | None


class MountFields(TypedDict):
    """A live mount: `figures` are counts since it was mounted, None where its transport counts nothing.

    `fetches` are some of the requests that wait for content from elsewhere, the oldest first. `stale` is since when the
    service of the repository does not answer, so that collections are shown as they were last known.
    """

    mountpoint: str
    mountpoint_base64: NotRequired[str]
    repository: str
    repository_base64: NotRequired[str]
    repository_id: str
    shows: str
    kind: str
    read_only: bool
    transport: str
    pid: int
    log: str
    log_base64: NotRequired[str]
    started: str
    stale: str | None
    figures: dict[str, Any] | None
    fetches: list[Fetch]


class Mounts(TypedDict):
    """The live mounts of this user; `at` is the time in seconds, from some point on, that rates are made with."""

    mounts: list[MountFields]
    at: float


class CachedChunk(TypedDict):
    """A piece of an object, and when it was used last."""

    object: str
    chunk: int
    size: int
    used: str


class CacheFields(TypedDict):
    """What was fetched and is kept; `recent` is what was used last. Empty where there is no cache."""

    directory: str
    used: int
    size: int
    free: int
    chunks: int
    objects: int
    kept: list[str]
    recent: list[CachedChunk]


class StagingFields(TypedDict):
    """A staging directory; `path` is where it can be seen, None when it is not mounted."""

    staging: str
    base: str | None
    committed: str | None
    followed: str | None
    driver: str
    created: str
    path: str | None
    path_base64: NotRequired[str]
    upper: str
    upper_base64: NotRequired[str]
    quota: int | None
    quota_used: NotRequired[int]


class StagingList(TypedDict):
    """The staging directories of this user on this machine."""

    staging: list[StagingFields]


class StagingChanges(TypedDict):
    """What was changed in a staging directory since it was made or committed; `counts` by kind.

    `compared` is the version that it is compared with, None for an empty one.
    """

    staging: StagingFields
    compared: str | None
    changes: list[ChangeFields]
    counts: dict[str, int]
    total: int
    offset: int


class StagingParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A staging directory, and a part of its changes."""

    ref: StagingRef
    offset: Offset = 0
    limit: Limit = 200


def list_mounts(context: Context, _: Nothing) -> Mounts:
    """The live mounts of this repository by this user, with what they do in numbers."""
    found: list[Any] = []
    if os.path.isdir(context.places.runtime):
        mounts = (info for info in api.iter_mounts(context.places) if info.repository_id == context.repository.id)
        known = sorted(mounts, key=lambda each: each.mountpoint)
        found = [_describe_mount(info, state=context.places.state) for info in known]
    return {"mounts": found, "at": time.monotonic()}


def _describe_mount(info: MountInfo, *, state: str) -> dict[str, Any]:
    figures = find_figures(info)
    # Of a release before this one, or of no transport that fetches: nothing.
    fetches = (figures or {}).pop("fetches", [])
    opened = find_open_files(info.mountpoint, {each["node"] for each in fetches}) if fetches else {}
    return {
        **mount_fields(info, stale_ns=find_stale_ns(info, state=state)),
        "figures": figures,
        "fetches": [_describe_fetch(each, opened.get(each["node"])) for each in fetches],
    }


def _describe_fetch(fetch: dict[str, Any], found: OpenFile | None) -> dict[str, Any]:
    named: dict[str, Any] = {"path": None} if found is None else dict(name_fields("path", found.path))
    return {
        "request": fetch["request"],
        **named,
        "offset": fetch["offset"],
        "pid": found.pid if found else None,
        "program": found.program if found else None,
    }


def get_cache(context: Context, _: Nothing) -> CacheFields:
    """How much is kept on this machine of what was fetched from elsewhere."""
    cache = context.cache
    if cache is None or not os.path.isdir(cache.directory):
        return {"directory": "", "used": 0, "size": 0, "free": 0, "chunks": 0, "objects": 0, "kept": [], "recent": []}
    chunks = list(cache.quota.iter_chunks())
    keeps = [keep.ref for keep in cache.quota.keeps.iter_keeps() if keep.repository == context.repository.id]
    return {
        "directory": name_fields("directory", cache.directory)["directory"],
        "used": sum(chunk.size for chunk in chunks),
        "size": cache.quota.limits.size,
        "free": cache.quota.limits.free,
        "chunks": len(chunks),
        "objects": len({chunk.key.partition("@")[0] for chunk in chunks}),
        "kept": sorted(keeps),
        "recent": [
            _chunk_fields(chunk) for chunk in heapq.nlargest(CHUNKS_SHOWN, chunks, key=lambda each: each.used_ns)
        ],
    }


def list_staging(context: Context, _: Nothing) -> StagingList:
    """The staging directories of this repository on this machine."""
    return {"staging": [staging_fields(context, staging) for staging in StagingArea(context.repository).iter_all()]}


def get_staging(context: Context, wanted: StagingParameters) -> StagingChanges:
    """What was changed in a staging directory. Files that were written since the last look are read."""
    area = StagingArea(context.repository)
    staging = find_staging(area, wanted.ref)
    found = area.changes(staging)
    counts: dict[str, int] = {}
    for change in found:
        counts[change.kind] = counts.get(change.kind, 0) + 1
    return {
        "staging": staging_fields(context, staging),
        "compared": None if staging.info.present is None else f"{staging.collection}:v{staging.info.present}",
        "changes": [change_fields(change) for change in found[wanted.offset : wanted.offset + wanted.limit]],
        "counts": counts,
        "total": len(found),
        "offset": wanted.offset,
    }


def staging_fields(context: Context, staging: Staging) -> StagingFields:
    """Return a staging directory as members of a JSON object."""
    path = find_path(context, staging)
    known: dict[str, Any] = describe(staging)
    wanted = ("staging", "base", "committed", "followed", "driver", "quota", "quota_used")
    fields: dict[str, Any] = {
        **{name: known[name] for name in wanted if name in known},
        "created": format_time_ns(staging.info.created_ns),
        **({"path": None} if path is None else name_fields("path", path)),
        **name_fields("upper", staging.upper),
    }
    return cast("StagingFields", fields)


def find_path(context: Context, staging: Staging) -> str | None:
    """Return where a staging directory can be seen; None when it is not mounted."""
    if not os.path.isdir(context.places.runtime):
        return None
    return api.find_staging_path(
        context.places, context.repository.id, collection=staging.collection, name=staging.name
    )


def find_staging(area: StagingArea, ref: str) -> Staging:
    """Return the staging directory that a request names.

    Raises:
        StagingNotFoundError: there is none.
        UsageError, InvalidNameError: it names something else.
    """
    parsed = parse_ref(ref)
    if parsed.path or (parsed.selector is not None and parsed.staging is None):
        msg = f"{ref} does not name a staging directory"
        raise UsageError(msg, subject=ref)
    return area.get(parsed.collection, parsed.staging or DEFAULT_STAGING)


def _chunk_fields(chunk: Cached) -> CachedChunk:
    return {"object": chunk.key, "chunk": chunk.number, "size": chunk.size, "used": format_time_ns(chunk.used_ns)}
