"""`drafts`: parts are added, listed, finished and dropped; prune drops what nobody finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli


@pytest.fixture
def parts(cli: Cli, work: Path) -> Cli:
    for name in ("one", "two"):
        (work / name).write_text(f"{name}\n")
        cli("drafts", "add", "animals", "job 7", name, "--tag", name)
    return cli


def test_parts_are_listed_and_finished(parts: Cli) -> None:
    (draft,) = parts.json("drafts", "list")["drafts"]
    assert (draft["collection"], draft["id"], draft["state"], len(draft["parts"])) == ("animals", "job 7", "open", 2)
    assert draft["parts"][0]["files"] == 1
    assert draft["parts"][0]["size"] == 4
    assert "job 7" in parts("drafts", "list", "animals").stdout
    assert "animals" not in parts("ls").stdout
    assert parts("drafts", "finish", "animals", "job 7", "-m", "both", "--alias", "whole").stdout == "animals:v0\n"
    assert parts("drafts", "finish", "animals", "job 7").stdout == "animals:v0\n"
    assert parts("cat", "animals:whole/two").stdout == "two\n"
    assert "there are no unfinished drafts" in parts("drafts", "list").stderr
    (draft,) = parts.json("drafts", "list", "--all")["drafts"]
    assert (draft["state"], draft["version"], draft["expires"]) == ("committed", "v0", None)


def test_what_is_refused(parts: Cli, work: Path) -> None:
    refused = parts("drafts", "add", "animals", "job 7", "one", code=22)
    assert "part 1 of the draft 'job 7' of animals" in refused.stderr
    assert "'one'" in refused.stderr
    parts("drafts", "finish", "animals", "nothing", code=13)
    parts("drafts", "finish", "animals", "job 7", "--if-changed", code=2)
    parts("drafts", "drop", code=2)
    parts("drafts", "drop", "animals", "job 7", code=2)  # it asks
    parts("drafts", "finish", "animals", "job 7")
    (work / "late").write_text("late")
    assert "animals:v0" in parts("drafts", "add", "animals", "job 7", "late", code=22).stderr
    parts("drafts", "drop", "animals", "job 7", "--yes", code=22)


def test_a_draft_is_dropped(parts: Cli) -> None:
    assert "would drop" not in parts("prune", "--dry-run").stderr
    assert parts.json("prune", "--yes")["deleted"]["objects"] == 0
    (dropped,) = parts.json("drafts", "drop", "animals", "job 7", "--yes")["dropped"]
    assert dropped["state"] == "dropped"
    parts("drafts", "finish", "animals", "job 7", code=22)
    assert parts.json("prune", "--yes")["deleted"]["objects"] > 0


def test_what_nobody_finishes_expires(cli: Cli, work: Path) -> None:
    (work / "one").write_text("one\n")
    cli("drafts", "add", "animals", "job", "one", "--expires", "0s")
    assert cli.json("drafts", "list")["drafts"][0]["state"] == "expired"
    assert "would drop the draft 'job' of animals" in cli("prune", "--dry-run").stderr
    found = cli.json("prune", "--dry-run")
    assert (found["expired_drafts"], found["deleted"]["objects"]) == (1, 0)
    refused = cli("prune", code=2)
    assert "Drop 1 draft and delete" in refused.stderr
    assert "dropped" not in refused.stderr
    assert cli.json("drafts", "list")["drafts"][0]["state"] == "expired"
    answer = cli.json("prune", "--yes")
    assert answer["expired_drafts"] == 1
    assert answer["deleted"] == found["garbage"]
    assert answer["deleted"]["objects"] > 0
    assert cli.json("drafts", "list", "--all")["drafts"][0]["state"] == "dropped"
    assert cli.json("drafts", "drop", "--expired")["dropped"] == []
