"""Fixtures: a working directory with a repository of its own, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: `images/` with a file, a directory and a link."""
    folder = tmp_path / "work"
    (folder / "images" / "sub").mkdir(parents=True)
    (folder / "images" / "cat.txt").write_text("cat\n")
    (folder / "images" / "sub" / "dog.txt").write_text("dog\n")
    (folder / "images" / "link").symlink_to("cat.txt")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    monkeypatch.setenv("ARTIFACTFS_AUTHOR", "tester")
    return folder


@pytest.fixture
def cli(work: Path) -> Cli:
    return Cli()


@pytest.fixture
def animals(cli: Cli, work: Path) -> Cli:
    """Return the command line with the collection `animals`: v0, and v1 where cat.txt is longer."""
    return make_animals(cli, work)


def make_animals(cli: Cli, work: Path) -> Cli:
    """Put the two versions."""
    cli("put", "animals", "images/", "-m", "first")
    (work / "images" / "cat.txt").write_text("cat, longer\n")
    cli("put", "animals", "images/", "-m", "second", "--alias", "best")
    return cli
