"""Lineage as OpenLineage events, for catalogues that collect it from many systems.

A collection is a dataset, with the version as a facet; what a run does is its job, named by what it was told to be. A
run begins with one event and ends with another; a version that no run made is an event of a job alone.

Used by the command line. Threading: functions over a Repository.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json, and the facets named below.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any, Final

from artifactfs._version import __version__
from artifactfs.clock import format_time_ns
from artifactfs.errors import ArtifactFSError
from artifactfs.paths import parse_ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import Collection, Version
    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.state import RunState

PRODUCER: Final = f"pkg:pypi/artifactfs@{__version__}"
SPECIFICATION: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_FACETS: Final = "https://openlineage.io/spec/facets/"
_END: Final = {"finished": "COMPLETE", "failed": "FAIL", "crashed": "ABORT", "lost": "ABORT", "running": "RUNNING"}
NO_PROJECT: Final = "default"
"""Namespace of the jobs of runs without a project."""


class OpenLineage:
    """Makes events. Belongs to one thread.

    Args:
        repository: whose versions are described; its id is the namespace of the datasets.
        runs: where runs are found in which others were begun; None leaves these out.
    """

    def __init__(self, repository: Repository, runs: RunLog | None = None) -> None:
        self._repository = repository
        self._runs = runs
        self._collections: dict[str, Collection | None] = {}

    def iter_events(self, runs: Iterable[RunState], versions: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield the events of runs, and of versions that no run made, in order of time.

        Args:
            runs: what is recorded of them.
            versions: each `NAME:vN`; those that a run made are left out, and those that are gone.
        """
        events = [event for run in runs for event in self.describe_run(run)]
        events += [event for name in versions if (event := self.describe_commit(name)) is not None]
        yield from sorted(events, key=lambda event: str(event["eventTime"]))

    def describe_run(self, run: RunState) -> Iterator[dict[str, Any]]:
        """Yield the event with which a run began, and that with which it ended, or what is known of it so far."""
        common = {"run": _describe_run(run, self._find_parent(run)), "job": _describe_job(run)}
        yield _event("RunEvent", run.started_ns, {"eventType": "START", **common})
        ended = {
            "eventType": _END[run.state],
            **common,
            "inputs": [self._describe_dataset(name, "inputFacets") for name in run.inputs],
            "outputs": [self._describe_dataset(name, "outputFacets") for name in run.outputs],
        }
        time_ns = run.seen_ns if run.finished_ns is None else run.finished_ns
        yield _event("RunEvent", max(time_ns, run.started_ns), ended)

    def describe_commit(self, name: str) -> dict[str, Any] | None:
        """Return the event of a version that no run made, or None for any other."""
        version = self._find_version(name)
        if version is None or version.run is not None:
            return None
        base = () if version.base is None else (f"{name.partition(':')[0]}:v{version.base}",)
        inputs = dict.fromkeys((*version.inputs, *base))
        event = {
            "job": {"namespace": NO_PROJECT, "name": f"commit {name.partition(':')[0]}"},
            "inputs": [self._describe_dataset(item, "inputFacets") for item in inputs],
            "outputs": [self._describe_dataset(name, "outputFacets")],
        }
        return _event("JobEvent", version.time_ns, event)

    def _describe_dataset(self, name: str, statistics: str) -> dict[str, Any]:
        collection, _, number = name.partition(":")
        found: dict[str, Any] = {"namespace": f"artifactfs://{self._repository.id}", "name": collection}
        found["facets"] = {"version": _facet("1-0-1/DatasetVersionDatasetFacet", {"datasetVersion": number})}
        version = self._find_version(name)
        if version is not None:
            sizes = {"size": version.root.size, "fileCount": version.root.count}
            if statistics == "inputFacets":
                kind, facet = "inputStatistics", "1-0-0/InputStatisticsInputDatasetFacet"
            else:
                kind, facet = "outputStatistics", "1-0-2/OutputStatisticsOutputDatasetFacet"
            found[statistics] = {kind: _facet(facet, sizes)}
        return found

    def _find_parent(self, run: RunState) -> RunState | None:
        """Return the run in which one was begun, or None for none, and for one of another repository."""
        try:
            return self._runs.get_run(run.parent) if self._runs is not None and run.parent else None
        except ArtifactFSError:
            return None

    def _find_version(self, name: str) -> Version | None:
        """Return a version, or None when it was deleted or is of another repository."""
        try:
            ref = parse_ref(name)
            if ref.collection not in self._collections:
                self._collections[ref.collection] = self._repository.find_collection(ref.collection)
        except ArtifactFSError:
            return None
        collection = self._collections[ref.collection]
        return None if collection is None or ref.version is None else collection.versions.get(ref.version)


def _describe_run(run: RunState, parent: RunState | None) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if run.state == "failed":
        what = {"message": f"it ended with exit code {run.exit_code}", "programmingLanguage": "unknown"}
        facets["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", what)
    if parent is not None:
        job = {"namespace": parent.project or NO_PROJECT, "name": _name_job(parent)}
        facets["parent"] = _facet("1-0-1/ParentRunFacet", {"run": {"runId": parent.id}, "job": job})
    return {"runId": run.id, **({"facets": facets} if facets else {})}


def _name_job(run: RunState) -> str:
    command = os.path.basename(run.circumstances.command[0]) if run.circumstances.command else ""
    return run.job_type or run.name or command or run.id


def _describe_job(run: RunState) -> dict[str, Any]:
    job_type = {"processingType": "BATCH", "integration": "ARTIFACTFS", "jobType": run.job_type or "RUN"}
    facets = {"jobType": _facet("2-0-4/JobTypeJobFacet", job_type)}
    git = run.git
    if git is not None and git.remote:
        source = {"type": "git", "url": git.remote, "version": git.commit, "branch": git.branch}
        known = {key: value for key, value in source.items() if value}
        facets["sourceCodeLocation"] = _facet("1-1-0/SourceCodeLocationJobFacet", known)
    return {"namespace": run.project or NO_PROJECT, "name": _name_job(run), "facets": facets}


def _event(kind: str, time_ns: int, members: dict[str, Any]) -> dict[str, Any]:
    common = {"eventTime": format_time_ns(time_ns), "producer": PRODUCER, "schemaURL": SPECIFICATION + kind}
    return {**common, **members}


def _facet(schema: str, members: dict[str, Any]) -> dict[str, Any]:
    name = schema.rpartition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}{schema}.json#/$defs/{name}", **members}
