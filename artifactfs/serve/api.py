"""The table of all operations: what the application answers, and what its OpenAPI description says.

Used by `application` and the tests. Threading: immutable.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from artifactfs.serve import (
    catalogue,
    content,
    diffs,
    entries,
    history,
    lineage,
    machine,
    presence,
    summaries,
    tarball,
    timeline,
    writing,
)
from artifactfs.serve.openapi import describe_api
from artifactfs.serve.operations import Nothing, Operation
from artifactfs.serve.previews import preview

if TYPE_CHECKING:
    from artifactfs.serve.context import Context


@lru_cache(1)
def get_description(context: Context, _: Nothing) -> dict[str, Any]:
    """This description."""
    del context
    return describe_api(OPERATIONS)


def _get(path: str, function: Any, takes: Any, gives: Any, summary: str) -> Operation:
    return Operation("GET", f"/api/{path}", function, takes, gives, summary)


READING: Final = (
    _get("openapi.json", get_description, Nothing, dict[str, Any], "This description"),
    _get("server", catalogue.get_server, Nothing, catalogue.ServerFields, "The server"),
    _get("collections", summaries.list_collections, summaries.CataloguePage, summaries.Catalogue, "Collections"),
    _get(
        "collections/{name}",
        summaries.get_collection,
        summaries.NameParameters,
        summaries.CollectionFields,
        "One collection",
    ),
    _get(
        "collections/{name}/versions",
        catalogue.list_versions,
        catalogue.VersionsParameters,
        catalogue.Versions,
        "Versions of a collection",
    ),
    _get("collections/{name}/log", history.list_history, history.HistoryParameters, history.History, "What happened"),
    _get("log", timeline.list_events, timeline.TimeLineParameters, timeline.TimeLine, "What happened to all"),
    _get("find", catalogue.find, catalogue.FindParameters, catalogue.Found, "Versions for which a query holds"),
    _get("growth", history.measure_growth, history.GrowthParameters, history.GrowthFields, "Growth of the store"),
    _get("versions/{ref}", catalogue.get_version, catalogue.RefParameters, catalogue.VersionDetail, "A version"),
    _get("entries", entries.list_entries, entries.WindowParameters, entries.Window, "A part of a directory"),
    _get("entry", entries.get_entry, entries.EntryDetailParameters, entries.EntryDetail, "One entry"),
    _get("presence", presence.count_presence, presence.PresenceParameters, presence.PresenceFields, "What is here"),
    _get("preview", preview.get_preview, entries.EntryParameters, preview.Preview, "What a file looks like"),
    Operation(
        "GET",
        "/api/content",
        content.read_content,
        content.ContentParameters,
        None,
        "The bytes of a file",
        media="*/*",
        statuses=(200, 206, 304),
    ),
    Operation(
        "GET",
        "/api/tar",
        tarball.read_tar,
        entries.EntryParameters,
        None,
        "A version or directory as a tar file",
        media="application/x-tar",
    ),
    _get("diff", diffs.diff_versions, diffs.DiffParameters, diffs.Changes, "What differs between two versions"),
    _get("diff/file", diffs.diff_file, diffs.FileDiffParameters, diffs.FileChange, "What differs in one file"),
    _get("lineage", lineage.get_lineage, lineage.LineageParameters, lineage.Graph, "Lineage as data"),
    Operation(
        "GET",
        "/api/lineage.svg",
        lineage.draw_lineage,
        lineage.LineageParameters,
        None,
        "Lineage as a drawing",
        media="image/svg+xml",
    ),
    _get("runs", catalogue.list_runs, catalogue.Page, catalogue.Runs, "All runs"),
    _get("runs/{run}", catalogue.get_run, catalogue.RunParameters, catalogue.RunDetail, "One run"),
    _get("mounts", machine.list_mounts, Nothing, machine.Mounts, "Live mounts"),
    _get("cache", machine.get_cache, Nothing, machine.CacheFields, "The cache"),
    _get("staging", machine.list_staging, Nothing, machine.StagingList, "Staging directories"),
    _get(
        "staging/{ref}", machine.get_staging, machine.StagingParameters, machine.StagingChanges, "A staging directory"
    ),
)
WRITING: Final = (
    Operation(
        "POST",
        "/api/aliases/set",
        writing.set_aliases,
        Nothing,
        writing.AliasesFields,
        "Point aliases to a version",
        writing.AliasesSet,
    ),
    Operation(
        "POST",
        "/api/aliases/remove",
        writing.remove_aliases,
        Nothing,
        writing.AliasesFields,
        "Remove aliases",
        writing.AliasesRemoved,
    ),
    Operation(
        "PATCH",
        "/api/versions/{ref}",
        writing.edit_version,
        catalogue.RefParameters,
        writing.EditedFields,
        "Edit a version's description, tags or metadata",
        writing.Edited,
    ),
    Operation(
        "POST",
        "/api/staging/{ref}/commit",
        writing.commit_staging,
        writing.StagingParameter,
        writing.CommitFields,
        "Commit a staging directory",
        writing.Committed,
    ),
    Operation(
        "POST",
        "/api/staging/{ref}/discard",
        writing.discard_staging,
        writing.StagingParameter,
        writing.DiscardedFields,
        "Discard a staging directory",
        writing.Discarded,
    ),
)
OPERATIONS: Final = (*READING, *WRITING)
