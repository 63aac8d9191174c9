"""Mounts and programs that are given a lock file see its versions, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.mount.test_run_programs import CLI, cli

pytestmark = pytest.mark.mounted
LOOK = """
import os
top = os.environ["ARTIFACTFS_MOUNT"]
print(os.listdir(top), sorted(os.listdir(f"{top}/data")), open(f"{top}/data/latest/top").read())
for name in ("other", "data/v2", "data/best", "data/v2/top", "data/@staging"):
    assert not os.path.lexists(f"{top}/{name}"), name
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with `artifactfs.lock`: `data:latest` when it was v1. Now it is v2, and `other` is there."""
    folder = tmp_path / "work"
    (folder / "data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    for text in ("first", "second", "third"):
        (folder / "data" / "top").write_text(text)
        cli("put", "data", "data/", *(["--alias", "best"] if text == "third" else []))
        if text == "second":
            cli("lock", "data", "-o", "artifactfs.lock")
    cli("put", "other", "data/")
    return folder


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_mount_shows_what_was_locked(work: Path, place: Path, transport: str) -> None:
    cli("mount", "--transport", transport, "--lock", "artifactfs.lock", str(place))
    assert os.listdir(place) == ["data"]
    assert sorted(os.listdir(place / "data")) == ["latest", "v1"]
    assert (place / "data" / "latest" / "top").read_text() == "second"
    for name in ("other", "data/v0", "data/v2", "data/best"):
        assert not os.path.lexists(place / name)
    (work / "data" / "top").write_text("fourth")
    cli("put", "data", "data/")
    cli("stage", "data", code=0)
    assert sorted(os.listdir(place / "data")) == ["latest", "v1"]
    assert (place / "data" / "latest" / "top").read_text() == "second"
    cli("discard", "data", "--yes")


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_one_version_is_what_was_locked(work: Path, place: Path, transport: str) -> None:
    cli("mount", "--transport", transport, "--lock", "artifactfs.lock", "--artifact", "data", str(place))
    assert (place / "top").read_text() == "second"
    cli("umount", str(place))
    cli("mount", "--lock", "artifactfs.lock", "--artifact", "data:best", str(place), code=13)


@pytest.mark.parametrize("bind", [True, False])
def test_program_sees_what_was_locked(work: Path, place: Path, bind: bool) -> None:
    cli("mount", "--transport", "kernel", str(place))
    more = [] if bind else ["--no-bind"]
    shown = cli("run", *more, "--lock", "artifactfs.lock", "--", sys.executable, "-c", LOOK)
    assert shown == "['data'] ['latest', 'v1'] second\n"
    assert sorted(os.listdir(place)) == ["data", "other"]
    inside = f"import artifactfs; print(artifactfs.init().use_artifact('data').name); open('{place}/data/latest/top')"
    assert cli("run", "--lock", "artifactfs.lock", "--", sys.executable, "-c", inside) == "data:v1\n"
    cli("run", "--lock", "artifactfs.lock", "--", *CLI, "get", "data:v2", code=13)


def test_program_is_not_run_where_a_mount_would_show_more(work: Path, place: Path) -> None:
    cli("mount", "--transport", "fusepy", str(place))
    cli("run", "--lock", "artifactfs.lock", "--", sys.executable, "-c", "open('ran', 'w')", code=60)
    assert not (work / "ran").exists()
    cli("umount", str(place))
    cli("run", "--lock", "artifactfs.lock", "--", sys.executable, "-c", "open('ran', 'w')")
    assert (work / "ran").exists()
    cli("rm", "data:v1", "--yes")
    cli("run", "--lock", "artifactfs.lock", "--", sys.executable, "-c", "open('again', 'w')", code=11)
    assert not (work / "again").exists()
