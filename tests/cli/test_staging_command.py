"""`staging`: what is staged here, what is pinned anywhere, and how an old pin is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli


@pytest.fixture
def other(animals: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leave a staging directory on what is another machine, and return its pin."""
    with monkeypatch.context() as patch:
        patch.setenv("ARTIFACTFS_STATE", str(tmp_path / "other-machine"))
        animals("stage", "animals:v0")
    (pin,) = animals.json("staging", "--all")["pins"]
    assert (pin["version"], pin["here"], pin["removed"]) == ("animals:v0", False, False)
    return str(pin["pin"])


def test_those_of_this_machine(animals: Cli) -> None:
    assert animals("staging").stdout == ""
    animals("stage", "animals:v0")
    animals("stage", "animals", "--name", "mine")
    lines = animals("staging").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["animals:@mine", "on", "v1"], ["animals:@staging", "on", "v0"]]
    assert all("not mounted" in line for line in lines)
    assert animals("staging", "animals:@mine").stdout.count("\n") == 1
    assert animals("staging", "plants").stdout == ""
    found = animals.json("staging")["staging"]
    assert [item["staging"] for item in found] == ["animals:@mine", "animals:@staging"]
    assert animals("staging", "--older-than", "1h").stdout == ""


def test_a_name_that_is_nearly_one_of_them(animals: Cli) -> None:
    assert "`artifactfs stage animals`" in animals("show", "animals:@stagng", code=13).stderr
    animals("stage", "animals:v0")
    for command in ("show", "status", "discard"):
        assert "did you mean @staging?" in animals(command, "animals:@stagng", code=13).stderr
    assert "there are animals:@staging" in animals("show", "animals:@other", code=13).stderr


def test_those_of_all_machines(animals: Cli, other: str) -> None:
    animals("stage", "animals")
    lines = animals("staging", "--all").stdout.splitlines()
    assert len(lines) == 2
    assert other[:12] in lines[0]
    assert "staging directory @staging" in lines[0]
    assert ["(here)" in line for line in lines] == [False, True]
    animals("rm", "animals:v0", "--yes")
    assert "animals:v0 (removed)" in animals("staging", "--all", "--pin", other[:8]).stdout
    assert animals("staging", "--all", "--older-than", "1d").stdout == ""


def test_a_pin_is_broken_and_prune_goes_on(animals: Cli, other: str) -> None:
    animals("rm", "animals:v0", "--yes")
    assert animals.json("prune", "--yes")["kept"] == ["animals:v0"]
    asked = animals("staging", "--all", "--break", "--pin", other[:8], code=2)
    assert "--yes" in asked.stderr
    assert "broke 1 pin" in animals("staging", "--all", "--break", "--pin", other[:8], "--yes").stderr
    assert animals("staging", "--all").stdout == ""
    assert animals.json("prune", "--yes")["kept"] == []
    assert "broke the pin" in animals("log", "animals").stdout
    animals("log", "animals", "--verify")


def test_what_was_staged_on_a_pruned_version_says_so(
    animals: Cli, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals("put", "animals", str(tmp_path / "repository" / "format"))  # nothing in common with v0
    for version in ("v0", "v1"):
        animals("rm", f"animals:{version}", "--force", "--yes")
    assert "none was broken" in animals("staging", "--all", "--break", "animals:@stagng").stderr
    assert animals.json("staging", "--all", "--break", "animals:@stagng")["broken"] is False
    animals("staging", "--all", "--break", "animals", "--yes")
    animals("prune", "--yes")
    monkeypatch.setenv("ARTIFACTFS_STATE", str(tmp_path / "other-machine"))
    told = animals("commit", "animals:@staging", code=31).stderr
    assert "the pin of animals:@staging was broken" in told
    assert "upper-" in told
    animals("discard", "animals:@staging", "--yes")


def test_pins_of_this_machine_are_not_broken(animals: Cli) -> None:
    animals("stage", "animals:v0")
    told = animals("staging", "--all", "--break", "animals", "--yes", code=2).stderr
    assert "artifactfs discard animals:@staging" in told
    assert len(animals.json("staging", "--all")["pins"]) == 1


def test_bad_calls(animals: Cli, other: str) -> None:
    assert "--all" in animals("staging", "--break", code=2).stderr
    assert "none was chosen" in animals("staging", "--all", "--break", code=2).stderr
    assert "there is no pin ff" in animals("staging", "--all", "--pin", "ff" * 16, code=13).stderr
    assert "no span of time" in animals("staging", "--older-than", "soon", code=2).stderr
    assert len(animals.json("staging", "--all", "--older-than", "0s", "--pin", other)["pins"]) == 1
