"""`artifactfs lineage`: the tree, and the forms for programs and pages."""

from __future__ import annotations

from pathlib import Path

import pytest

import artifactfs
from artifactfs.runs.reading import RunReader
from artifactfs.sdk.recorded import RecordedRun
from tests.cli.support import PROGRAM, Cli


@pytest.fixture
def ids(cli: Cli, work: Path) -> dict[str, str]:
    """Return ids by name: `prepare` made data:v0, `train` model:v0 from it, `evaluate` report:v0 from both."""
    found = {}
    for name, uses, makes in [
        ("prepare", [], "data"),
        ("train", ["data"], "model"),
        ("evaluate", ["data", "model"], "report"),
    ]:
        with artifactfs.init(name=name) as run:
            for artifact in uses:
                run.use_artifact(artifact)
            run.log_artifact("images", name=makes)
            found[name] = run.id
    return found


def test_the_tree(cli: Cli, ids: dict[str, str]) -> None:
    lines = cli("lineage", "report").stdout.splitlines()
    assert lines[0].startswith("report:v0  dataset  ")
    assert len(lines) == 9
    assert lines[1] == "made from:"
    assert lines[3].startswith("   ├─ data:v0")
    assert lines[4].startswith("   │  └─ run  prepare")
    assert lines[5].startswith("   └─ model:v0")
    assert lines[6].startswith("      └─ run  train")
    assert lines[7].startswith("         └─ data:v0")
    assert lines[-1].endswith("used for nothing that is recorded")
    assert "evaluate" in lines[2]
    assert lines[-2].endswith("(above)")
    assert "made from nothing" in cli("lineage", "prepare", "--up").stdout
    assert "model:v0" in cli("lineage", "train", "--down", "--depth", "1").stdout
    assert "report" not in cli("lineage", "train", "--down", "--depth", "1").stdout


def test_where_it_was_cut_is_said(cli: Cli, ids: dict[str, str]) -> None:
    lines = cli("lineage", "report", "--up", "--depth", "2").stdout.splitlines()
    model = next(number for number, line in enumerate(lines) if " model:v0 " in line)
    assert lines[model + 1] == "      └─ … more: artifactfs lineage model:v0 --up"
    more = cli(*lines[model + 1].partition("artifactfs ")[2].split()).stdout
    assert "run  train" in more
    assert "… more" not in more
    assert "… more" not in cli("lineage", "report").stdout
    nodes = {node["id"]: node["wider"] for node in cli.json("lineage", "report", "--depth", "2")["nodes"]}
    assert (nodes["report:v0"], nodes["model:v0"]) == ([], ["up"])
    assert 'data-more="up" data-of="model:v0"' in cli("lineage", "report", "--depth", "2", "--svg").stdout
    clustered = cli("lineage", "report", "--depth", "2", "--svg", "--cluster").stdout
    assert 'data-more="up" data-of="model:v0"' in clustered
    assert "data-more" not in cli("lineage", "report", "--svg").stdout


def test_json_of_a_run_by_id_and_of_a_deleted_version(cli: Cli, ids: dict[str, str]) -> None:
    found = cli.json("lineage", ids["train"])
    kinds = {node["id"]: node["kind"] for node in found["nodes"]}
    assert kinds["data:v0"] == "version"
    assert kinds[ids["train"]] == "run"
    assert {"from": "data:v0", "to": ids["train"]} in found["edges"]
    assert {"from": ids["train"], "to": "model:v0"} in found["edges"]
    cli("rm", "data:v0", "--force", "--yes")
    gone = cli.json("lineage", "data:v0", "--down")
    assert gone["nodes"][0]["is_deleted"] is True
    assert len(gone["nodes"]) == 5
    cli("lineage", "data:v7", code=11)
    cli("lineage", "nothing", code=13)
    cli("lineage", "nothing:v0", code=10)


def test_drawings(cli: Cli, ids: dict[str, str]) -> None:
    assert cli("lineage", "report", "--mermaid").stdout.count("-->") == 6
    assert cli("lineage", "report", "--svg").stdout.startswith("<svg ")


def test_a_cycle_over_several_runs_ends_and_is_named(cli: Cli, work: Path) -> None:
    with artifactfs.init(name="outer") as outer:
        outer.log_artifact("images", name="a")
        for source, made in (("a", "b"), ("b", "c")):
            cli("run", "--name", made, "--", *PROGRAM, "put", made, f"artifact://{source}:v0/")
        outer.use_artifact("c:v0").download()
        outer.log_artifact("images", name="d")
        found = cli.json("lineage", "d:v0", "--up")
        inner = {node["name"]: node["id"] for node in found["nodes"] if node["kind"] == "run"}
        names = {"a:v0", "b:v0", "c:v0", outer.id, inner["b"], inner["c"]}
        assert [set(cycle) for cycle in found["cycles"]] == [names]
        assert len(found["nodes"]) == 7
        for start in sorted({*names, "d:v0"}):
            for direction in ("up", "down"):
                done = cli("lineage", start, f"--{direction}")
                on_cycle = start != "d:v0" or direction == "up"
                assert ("a cycle, in which each is made from all others: " in done.stderr) == on_cycle
                assert done.stdout.count("(above)") == int(on_cycle)
        api = artifactfs.Api()
        assert {item.name for item in api.artifact("a").ancestors()} == {"outer", "c:v0", "c", "b:v0", "b"}
        assert {item.name for item in api.artifact("a").descendants()} >= {"b", "c:v0", "outer", "d:v0"}
        assert cli("lineage", "d", "--mermaid").stdout.count("-. cycle .->") == 1
        assert cli("lineage", "d", "--svg").stdout.count('<path class="c" ') == 1
        assert cli("lineage", "d", "--svg", "--cluster").stdout.startswith("<svg ")
        assert cli("lineage", "d", "--openlineage").stdout.count('"START"') == 3


def test_index_rebuild_fills_the_graph(cli: Cli, ids: dict[str, str]) -> None:
    before = cli.json("lineage", "report")
    cli("index", "rebuild")
    assert cli.json("lineage", "report") == before


def test_in_python_runs_are_read_when_they_are_asked_for(
    cli: Cli, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = artifactfs.Api()
    repository = Path(api.location)
    model = api.artifact("model")
    made = model.logged_by()
    read: list[str] = []
    original = RunReader.iter_events
    with artifactfs.init() as goes_on:
        goes_on.use_artifact(model)
        model.descendants()  # takes in what is new
        monkeypatch.setattr(RunReader, "iter_events", lambda self, run: read.append(run) or original(self, run))
        found, users = model.ancestors(), model.used_by()
        assert model.descendants()
        assert read == []
    (train,) = [run for run in found if isinstance(run, RecordedRun) and run.id == ids["train"]]
    assert (train.name, train.state, train.inputs) == ("train", "finished", ("data:v0",))
    assert read == [train.id]
    assert (train, repr(train)) == (made, repr(made))
    assert {run.id for run in users} == {ids["evaluate"], goes_on.id}
    with pytest.raises(AttributeError, match="nothing"):
        train.nothing  # type: ignore[attr-defined]  # noqa: B018
    # A damaged run is no reason not to say what is known of others.
    for event in (repository / "runs").rglob(f"{ids['evaluate']}/*2"):
        event.chmod(0o600)
        event.write_bytes(b"{}")
    cli("index", "rebuild")
    assert ids["evaluate"] not in [run.id for run in model.used_by()]
    assert [item.name for item in model.ancestors()] == ["train", "data:v0", "prepare"]


def test_the_same_in_python(cli: Cli, ids: dict[str, str]) -> None:
    api = artifactfs.Api()
    model = api.artifact("model")
    made = model.logged_by()
    assert made is not None
    assert (made.name, [artifact.name for artifact in made.used_artifacts()]) == ("train", ["data:v0"])
    assert [artifact.name for artifact in made.logged_artifacts()] == ["model:v0"]
    assert [run.name for run in model.used_by()] == ["evaluate"]
    assert {run.name for run in api.artifact("data").used_by()} == {"train", "evaluate"}
    assert [item.name for item in model.ancestors()] == ["train", "data:v0", "prepare"]
    assert [item.name for item in model.descendants()] == ["evaluate", "report:v0"]
    train = api.run(ids["train"])
    assert [item.name for item in train.ancestors()] == ["data:v0", "prepare"]
    assert isinstance(train.descendants()[1], RecordedRun)
    assert made.environment is not None
    with artifactfs.init() as run:
        run.use_artifact(model)
        assert [artifact.name for artifact in run.used_artifacts()] == ["model:v0"]
        assert run.logged_artifacts() == []
