"""Lineage as OpenLineage events: what the specification requires of them, and what they say."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import artifactfs
from artifactfs.blobstore.keys import log_key
from tests.cli.support import Cli

# What https://openlineage.io/spec/2-0-2/OpenLineage.json requires, by kind of event: an event has all of these, a job
# and a dataset have namespace and name, a run has a UUID, and each facet says who made it and what describes it.
REQUIRED = {"RunEvent": {"run", "job"}, "JobEvent": {"job"}}
BASE = {"eventTime", "producer", "schemaURL"}
TYPES = {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
# And what each facet's own schema requires.
FACETS = {
    "DatasetVersionDatasetFacet": {"datasetVersion": str},
    "InputStatisticsInputDatasetFacet": {},
    "OutputStatisticsOutputDatasetFacet": {},
    "JobTypeJobFacet": {"processingType": str, "integration": str},
    "SourceCodeLocationJobFacet": {"type": str, "url": str},
    "ParentRunFacet": {"run": dict, "job": dict},
    "ErrorMessageRunFacet": {"message": str, "programmingLanguage": str},
}


def check_facets(facets: dict[str, Any]) -> None:
    for facet in facets.values():
        assert re.fullmatch(r"[a-z]+:\S+", facet["_producer"])
        match = re.fullmatch(
            r"https://openlineage\.io/spec/facets/\d+-\d+-\d+/(\w+)\.json#/\$defs/(\w+)", facet["_schemaURL"]
        )
        assert match
        assert match[1] == match[2]
        for name, kind in FACETS[match[1]].items():
            assert isinstance(facet[name], kind)
        for name in ("size", "fileCount"):
            assert isinstance(facet.get(name, 0), int)


def check_event(event: dict[str, Any]) -> None:
    kind = event["schemaURL"].removeprefix("https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/")
    assert event.keys() >= BASE | REQUIRED[kind]
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert re.fullmatch(r"[a-z]+:\S+", event["producer"])
    for named in (event["job"], *event.get("inputs", ()), *event.get("outputs", ())):
        assert named["namespace"]
        assert named["name"]
        check_facets(named.get("facets", {}))
    if kind == "RunEvent":
        assert event["eventType"] in TYPES
        UUID(event["run"]["runId"])
        check_facets(event["run"].get("facets", {}))
    for item in event.get("inputs", ()):
        check_facets(item.get("inputFacets", {}))
    for item in event.get("outputs", ()):
        check_facets(item.get("outputFacets", {}))


@pytest.fixture
def lineage(cli: Cli, work: Path) -> Cli:
    """A version that a command made, one that a run made of it, a run that failed, and one that goes on."""
    (work / "data").write_text("data\n")
    cli("put", "raw", "data")
    with artifactfs.init(project="birds", job_type="train") as run:
        run.use_artifact("raw:latest")
        run.log_artifact("data", "model", "model")
    run = artifactfs.init(name="eval")
    run.use_artifact("model:v0")
    run.finish(exit_code=1)
    return cli


def events_of(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in cli("lineage", "--openlineage", *arguments).stdout.splitlines()]
    for event in events:
        check_event(event)
    assert [event["eventTime"] for event in events] == sorted(event["eventTime"] for event in events)
    return events


def brief(event: dict[str, Any]) -> tuple[Any, ...]:
    def names(members: list[dict[str, Any]]) -> list[str]:
        return [f"{item['name']}:{item['facets']['version']['datasetVersion']}" for item in members]

    job = f"{event['job']['namespace']}/{event['job']['name']}"
    return event.get("eventType"), job, names(event.get("inputs", [])), names(event.get("outputs", []))


def test_all_that_is_recorded_is_told(lineage: Cli) -> None:
    run = artifactfs.init(name="goes on")
    run.use_artifact("model:v0")
    try:
        events = events_of(lineage)
    finally:
        run.finish()
    assert [brief(event) for event in events] == [
        (None, "default/commit raw", [], ["raw:v0"]),
        ("START", "birds/train", [], []),
        ("COMPLETE", "birds/train", ["raw:v0"], ["model:v0"]),
        ("START", "default/eval", [], []),
        ("FAIL", "default/eval", ["model:v0"], []),
        ("START", "default/goes on", [], []),
        ("RUNNING", "default/goes on", ["model:v0"], []),
    ]
    made = events[2]["outputs"][0]
    assert made["outputFacets"]["outputStatistics"]["size"] == 5
    assert made["namespace"] == events[0]["outputs"][0]["namespace"]
    assert "exit code 1" in events[4]["run"]["facets"]["errorMessage"]["message"]


def test_a_neighbourhood(lineage: Cli) -> None:
    assert [brief(event)[0] for event in events_of(lineage, "raw:v0", "--up")] == [None]
    assert [brief(event)[0] for event in events_of(lineage, "model", "--up")] == [None, "START", "COMPLETE"]
    assert len(events_of(lineage, "model")) == 5


def test_deleted_versions_and_the_base_without_a_run(lineage: Cli, work: Path) -> None:
    lineage("rm", "model:v0", "--force", "--yes")
    assert [brief(event)[3] for event in events_of(lineage)][2] == ["model:v0"]
    lineage("stage", "raw")
    lineage("commit", "raw:@staging", "--yes")
    assert brief(events_of(lineage, "raw:v1", "--up")[-1])[2:] == (["raw:v0"], ["raw:v1"])


def test_it_needs_a_name_or_the_option(lineage: Cli) -> None:
    assert "--openlineage" in lineage("lineage", code=2).stderr


def test_a_run_in_a_run_names_its_parent(cli: Cli, work: Path) -> None:
    runs = artifactfs.Api().run
    with artifactfs.init(project="birds", job_type="pipeline") as outer:
        pass
    log = runs(outer.id).workspace.runs
    child = log.start(author="a", parent=outer.id).run
    lost = log.start(author="a", parent="01a20a51-331d-7f0e-b627-4f61c62f1334").run
    events = events_of(cli, child)
    facet = events[0]["run"]["facets"]["parent"]
    assert (facet["run"], facet["job"]) == ({"runId": outer.id}, {"namespace": "birds", "name": "pipeline"})
    assert "facets" not in events_of(cli, lost)[0]["run"]


def test_a_damaged_collection_is_left_out_of_all_events(cli: Cli, work: Path) -> None:
    for name in ("a", "b"):
        cli("put", name, "images")
    record = Path(artifactfs.Api().location, log_key("b", 1))
    record.chmod(0o600)
    record.write_bytes(b"{}")
    done = cli("lineage", "--openlineage")
    assert "b is left out" in done.stderr
    assert [json.loads(line)["outputs"][0]["name"] for line in done.stdout.splitlines()] == ["a"]
