"""`expire`: it says why each version stays, asks, and removes the others; and times to live."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli


@pytest.fixture
def many(cli: Cli, work: Path) -> Cli:
    for number in range(5):
        (work / "file").write_text(f"{number}\n")
        cli("put", "many", "file")
    cli("alias", "set", "many:v1", "best")
    return cli


def test_rules(many: Cli) -> None:
    shown = many("expire", "many", "--keep-last", "2", "--keep-aliased", "--dry-run")
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        ["keep", "many:v4"],
        ["keep", "many:v3"],
        ["remove", "many:v2"],
        ["keep", "many:v1"],
        ["remove", "many:v0"],
    ]
    assert "named best" in shown.stdout
    assert "would remove 2 versions" in shown.stderr
    assert "--yes" in many("expire", "many", "--keep-last", "2", code=2).stderr
    done = many("expire", "many", "--keep-last", "2", "--keep-aliased", "--yes")
    assert "removed 2 versions; `artifactfs prune`" in done.stderr
    assert many.json("expire", "--all", "--keep-last", "1", "--yes")["removed"] == ["many:v3", "many:v1"]
    assert many("log", "many").stdout.count("expired") == 4


def test_used_versions(many: Cli, tmp_path: Path) -> None:
    from artifactfs import init

    with init(project="test") as run:
        run.use_artifact("many:v2")
    assert many.json("expire", "many", "--keep-used", "--yes")["removed"] == ["many:v3", "many:v1", "many:v0"]
    many("show", "many:v2")


def test_times_to_live(many: Cli, work: Path) -> None:
    many("put", "many", "file", "--ttl", "0s")
    many("put", "many", "file", "--ttl", "1d")
    (work / "file").write_text("the last\n")
    many("put", "many", "file")
    assert many.json("show", "many:v5")["expires"] is not None
    found = many.json("expire", "many", "--yes")
    assert found["removed"] == ["many:v5"]
    assert many.json("expire", "many", "--keep-last", "1", "--keep-aliased", "--dry-run")["versions"][1]["reasons"] == [
        "time to live"
    ]


def test_of_the_sdk(many: Cli, work: Path) -> None:
    from datetime import timedelta

    from artifactfs import Api, init

    with init(project="test") as run:
        logged = run.log_artifact(str(work / "file"), "timed", ttl=timedelta(days=1))
    assert logged.expires_at is not None
    assert logged.expires_at > logged.created_at
    assert Api().artifact("many:v0").expires_at is None


def test_bad_calls(many: Cli) -> None:
    assert "--all" in many("expire", code=2).stderr
    many("expire", "many", "--all", code=2)
    many("expire", "many", "--keep-last", "0", code=2)
    many("expire", "nothing", code=10)
    many("expire", "many", "--keep-within", "soon", code=2)
    many("put", "many", "file", "--ttl", "-1d", code=2)
