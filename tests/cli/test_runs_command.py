"""`artifactfs runs`: which runs it lists, and what it says of one."""

from __future__ import annotations

from pathlib import Path

import pytest

import artifactfs
from artifactfs.runs.history import RunLog
from tests.cli.support import Cli


@pytest.fixture
def runs(cli: Cli, work: Path) -> dict[str, str]:
    """Return ids by name: `prepare` made data:v0, `train` read it, failed; `other` is running."""
    with artifactfs.init(name="prepare", job_type="prepare", project="p") as prepare:
        prepare.log_artifact("images", name="data")
    with artifactfs.init(name="train", job_type="train", project="p", tags=["big"], config={"lr": 0.5}) as train:
        train.use_artifact("data:latest")
        train.finish(exit_code=4)
    other = artifactfs.init(name="other")
    return {run.name: run.id for run in (prepare, train, other)}


def names(cli: Cli, *options: str) -> list[str]:
    return [run["name"] for run in cli.json("runs", *options)["runs"]]


def test_the_list(cli: Cli, runs: dict[str, str]) -> None:
    lines = cli("runs").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [runs["other"], runs["train"], runs["prepare"]]
    assert "failed" in lines[1]
    assert "data:v0 -> -" in lines[1]
    assert "- -> data:v0" in lines[2]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["-n", "1"], ["other"]),
        (["-n", "1", "--all"], ["other", "train", "prepare"]),
        (["--state", "failed"], ["train"]),
        (["--state", "failed", "--state", "finished"], ["train", "prepare"]),
        (["--project", "p"], ["train", "prepare"]),
        (["--job-type", "train"], ["train"]),
        (["--name", "other"], ["other"]),
        (["--tag", "big"], ["train"]),
        (["--tag", "big", "--tag", "small"], []),
        (["--author", "nobody"], []),
        (["--uses", "data"], ["train"]),
        (["--uses", "data:latest"], ["train"]),
        (["--makes", "data:v0"], ["prepare"]),
        (["--makes", "dat"], []),
        (["--uses", "data", "--project", "q"], []),
        (["--uses", "data", "--project", "p"], ["train"]),
    ],
)
def test_filters(cli: Cli, runs: dict[str, str], options: list[str], found: list[str]) -> None:
    assert names(cli, *options) == found


def test_filters_read_only_what_the_index_does_not_rule_out(
    cli: Cli, runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(cli, "--project", "p") == ["train", "prepare"]
    read: list[str] = []
    original = RunLog.get_run
    monkeypatch.setattr(RunLog, "get_run", lambda self, run: read.append(run) or original(self, run))
    assert names(cli, "--name", "train") == ["train"]
    assert names(cli, "--state", "finished", "--job-type", "prepare") == ["prepare"]
    # A run that goes on is always looked at, by whoever looks for runs that crashed.
    assert set(read) - {runs["other"]} == {runs["train"], runs["prepare"]}
    assert read.count(runs["train"]) == read.count(runs["prepare"]) == 1
    for options, run in ((["--uses", "data"], "train"), (["--makes", "data"], "prepare"), (["prepare"], "prepare")):
        read.clear()
        cli("runs", *options)
        near = {"prepare", "train"} if "--makes" in options else {run}  # who read it may have found it to exist
        assert set(read) - {runs["other"]} == {runs[each] for each in near}
    read.clear()
    assert names(cli, "--uses", "data", "--makes", "data:v0") == []
    assert set(read) - {runs["other"]} == {runs["train"]}


def test_filters_see_a_run_that_was_resumed(cli: Cli, runs: dict[str, str]) -> None:
    assert names(cli, "--state", "failed") == ["train"]
    with artifactfs.init(id=runs["train"], resume="must"):
        assert names(cli, "--state", "running") == ["other", "train"]
    assert names(cli, "--state", "failed") == []
    assert names(cli, "--state", "finished") == ["train", "prepare"]


def test_one_run(cli: Cli, runs: dict[str, str]) -> None:
    for text in (runs["train"], "train", runs["train"][:-1]):
        found = cli.json("runs", text)
        assert (found["id"], found["state"], found["exit_code"]) == (runs["train"], "failed", 4)
    assert found["config"] == {"lr": 0.5}
    assert found["inputs"] == ["data:v0"]
    assert any(package.startswith("pytest==") for package in found["environment"]["packages"])
    shown = cli("runs", "train").stdout
    assert "exit code:   4" in shown
    assert "packages:" in shown
    cli("runs", "nothing", code=13)
