"""`artifactfs log` and `artifactfs blame`: who changed what, when, why and in which run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import artifactfs
from tests.cli.support import Cli


@pytest.fixture
def history(cli: Cli, work: Path) -> str:
    """Return the run that made v1; v0 has a and d/b, v1 changes a, v2 adds d/c, v3 has times alone changed."""
    folder = work / "data"
    (folder / "d").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "d" / "b").write_text("1")
    cli("put", "data", "data/", "-m", "first")
    (folder / "a").write_text("2")
    with artifactfs.init() as run:
        artifact = artifactfs.Artifact("data")
        artifact.add_dir("data/")
        run.log_artifact(artifact, message="second")
    (folder / "d" / "c").write_text("1")
    cli("put", "data", "data/", "-m", "third")
    os.utime(folder / "a", (1, 1))
    cli("put", "data", "data/")
    return run.id


def test_log_says_which_run(cli: Cli, history: str) -> None:
    lines = cli("log", "data").stdout.splitlines()
    assert f"run {history}" in next(line for line in lines if "v1" in line)
    assert cli.json("log", "data")["records"][2]["run"] == history


@pytest.mark.parametrize(
    ("globs", "versions"),
    [
        (["a"], ["v1", "v0"]),
        (["d/*"], ["v2", "v0"]),
        (["c"], ["v2"]),
        (["a", "c"], ["v2", "v1", "v0"]),
        (["nothing"], []),
    ],
)
def test_log_of_paths(cli: Cli, history: str, globs: list[str], versions: list[str]) -> None:
    options = [word for glob in globs for word in ("--path", glob)]
    assert [record["change"]["version"] for record in cli.json("log", "data", *options)["records"]] == versions


def test_log_of_paths_names_them(cli: Cli, history: str) -> None:
    assert cli("log", "data", "--path", "c").stdout.splitlines()[-1].strip() == "A  d/c"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("data/d/b", "--path d/b"),
        ("data:v1/d", "--path d"),
        ("data:v1", "artifactfs show data:v1"),
        ("data:@staging", "artifactfs show data:@staging"),
    ],
)
def test_log_refuses_a_part_of_a_collection(cli: Cli, history: str, name: str, hint: str) -> None:
    assert hint in cli("log", name, code=2).stderr
    assert hint in cli("log", name, "--verify", code=2).stderr


def test_log_verify(cli: Cli, history: str, tmp_path: Path) -> None:
    assert "all 4 records are whole" in cli("log", "data", "--verify").stderr
    record = tmp_path / "repository" / "collections" / "data" / "log" / f"{3:020}"
    data = record.read_bytes()
    record.unlink()
    record.write_bytes(data.replace(b"third", b"THIRD"))
    assert cli("log", "data", "--verify", code=30).stdout == "record 3 was altered: it does not hash to its seal\n"
    found = json.loads(cli("log", "data", "--verify", "--json", code=30).stdout)
    assert (found["ok"], found["records"], found["seen"], found["problems"][0]["seq"]) == (False, 4, 4, 3)
    cli("log", "none", "--verify", code=10)
    cli("log", "data", "--verify", "--path", "a", code=2)


def test_log_verify_notes_what_it_saw(cli: Cli, history: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_STATE", str(tmp_path / "another machine"))
    assert "(up to 0)" in cli("log", "data", "--verify").stderr
    (tmp_path / "repository" / "collections" / "data" / "log" / f"{4:020}").unlink()
    said = cli("log", "data", "--verify", code=30).stdout
    assert said == "record 4 is missing: this machine has seen the log up to 4; it was cut\n"


def test_the_log_of_a_deleted_collection(cli: Cli, history: str) -> None:
    before = cli("log", "data").stdout
    cli("rm", "--collection", "data", "--yes")
    result = cli("log", "data")
    assert result.stdout.endswith(before)
    assert "delete" in result.stdout.removesuffix(before)
    assert "data was deleted" in result.stderr
    assert [record["seq"] for record in cli.json("log", "data")["records"]] == [5, 4, 3, 2, 1]
    assert cli("log", "data", "--path", "a").stdout == ""
    cli("log", "none", code=10)


def test_a_log_that_was_cut_is_not_gone_on_with_until_it_is_accepted(cli: Cli, history: str, tmp_path: Path) -> None:
    log = tmp_path / "repository" / "collections" / "data" / "log"
    last = log / f"{4:020}"
    last.unlink()
    key = str(last.relative_to(tmp_path / "repository"))
    assert cli("check", code=30).stdout.startswith(f"{key}: ")
    [damage] = cli.json("check", code=30)["damage"]
    assert (damage["object"], "has seen the log up to 4" in damage["problem"]) == (key, True)
    refused = cli("put", "data", "images/", code=32).stderr
    assert "this machine has seen 4 records, and there are 3" in refused
    assert "`artifactfs log data --accept`" in refused
    assert "was cut" in cli("prune", "--yes", code=32).stderr
    assert not last.exists()
    cli("put", "other", "images/")
    cli("log", "data", "--accept", code=2)
    cli("put", "data", "images/", code=32)
    assert cli.json("log", "data", "--accept", "--yes") == {"schema": 1, "collection": "data", "records": 3, "seen": 4}
    assert "is the one that this machine has seen" in cli("log", "data", "--accept").stderr
    cli("check")
    cli("put", "data", "images/")
    cli("log", "data", "--verify")
    cli("log", "none", "--accept", code=10)


def test_blame_of_a_file(cli: Cli, history: str) -> None:
    found = cli.json("blame", "data", "a")["entries"]
    assert [(entry["path"], entry["ref"], entry["run"], entry["change"]) for entry in found] == [
        ("a", "data:v1", history, "modified")
    ]
    assert cli.json("blame", "data:v0", "a")["entries"][0]["ref"] == "data:v0"
    assert cli.json("blame", "data:v3/d/c")["entries"][0]["ref"] == "data:v2"
    cli("blame", "data", "none", code=13)
    cli("blame", "data/a", "a", code=2)


def test_blame_of_a_directory(cli: Cli, history: str) -> None:
    lines = cli("blame", "data").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["v1", "v2"]
    assert history in lines[0]
    assert "d/" in lines[1]
    assert [entry["path"] for entry in cli.json("blame", "data", "d")["entries"]] == ["d/b", "d/c"]


def test_blame_passes_over_deleted_versions(cli: Cli, history: str) -> None:
    cli("rm", "data:v1", "--yes")
    assert cli.json("blame", "data", "a")["entries"][0]["ref"] == "data:v2"


def test_find(cli: Cli, work: Path) -> None:
    cli("put", "a", "images", "--metadata", "n=1")
    cli("put", "a", "images", "--metadata", "n=2", "--tag", "t")
    assert cli("find", "metadata.n > 1").stdout == "a:v1\n"
    assert cli("find", "metadata.n", ">", "0", "-n", "1").stdout == "a:v1\n"
    assert "dataset" in cli("find", "-l", "tag=t").stdout
    assert [found["ref"] for found in cli.json("find", "name=a")["versions"]] == ["a:v1", "a:v0"]
    assert cli("find", "tag=none").stdout == ""
    failed = cli("find", "tag=", code=2)
    assert "at character 5" in failed.stderr
    assert [artifact.name for artifact in artifactfs.Api().find("metadata.n=2")] == ["a:v1"]


def test_lineage_of_nothing_names_what_is_spelt_nearly_so(cli: Cli, history: str) -> None:
    done = cli("lineage", "dta", code=13)
    assert "there is no collection or run 'dta'" in done.stderr
    assert "data" in done.stderr.partition("'dta'")[2]


def test_log_says_why_and_in_which_run_names_and_descriptions_changed(
    cli: Cli, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTFS_RUN", history)
    cli("edit", "data", "--tag", "reviewed", "--metadata", "accuracy=0.9", "-m", "looked at it")
    cli("alias", "set", "data:v0", "prod", "-m", "to production")
    monkeypatch.delenv("ARTIFACTFS_RUN")
    cli("alias", "rm", "data", "prod", "-m", "back again")
    cli("rm", "data:v0", "--yes", "-m", "too old")
    records = cli.json("log", "data")["records"][:4]
    assert [record["message"] for record in records] == ["too old", "back again", "to production", "looked at it"]
    assert [record["run"] for record in records] == [None, None, history, history]
    shown = cli("log", "data").stdout
    assert "edited v3: tags reviewed; metadata accuracy" in shown
    assert "      looked at it" in shown


def test_what_the_sdk_changes_in_a_run_says_so(cli: Cli, history: str) -> None:
    with artifactfs.init() as run:
        artifact = run.use_artifact("data:v1")
        artifact.tags = ["seen"]
        artifact.aliases = [*artifact.aliases, "good"]
        artifact.save()
    records = cli.json("log", "data")["records"][:2]
    assert {record["run"] for record in records} == {run.id}
    assert run.id != history
