"""References in the SDK."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import AccessDeniedError, AlreadyExistsError, ReadOnlyError, ReferenceChangedError, UsageError


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REPO", "STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"ARTIFACTFS_{name}", str(tmp_path / name.lower()))
    folder = Path(os.path.realpath(tmp_path)) / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "cat.png").write_text("cat")
    (folder / "images" / "owl.png").write_text("")
    (tmp_path / "config.toml").write_text(f'follow_references = ["file://{folder}"]\n')
    monkeypatch.setenv("ARTIFACTFS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_references_are_added_logged_and_downloaded(data: Path) -> None:
    artifact = artifactfs.Artifact("animals")
    entries = artifact.add_reference(f"file://{data}/images")
    assert [(entry.path, entry.kind, entry.size) for entry in entries] == [
        ("images/cat.png", "reference", 3),
        ("images/owl.png", "reference", 0),
    ]
    assert artifact.add_reference(f"file://{data}/images/cat.png", "one/cat", checksum=False)[0].is_unverified
    assert [entry.path for entry in artifact.files()] == ["images/cat.png", "images/owl.png", "one/cat"]
    assert artifact.get_entry("images/cat.png").uri == f"file://{data}/images/cat.png"
    with artifactfs.init() as run:
        logged = run.log_artifact(artifact)
    assert [entry.is_unverified for entry in logged.files()] == [False, False, True]
    target = Path(logged.download())
    assert (target / "images/cat.png").read_text() == "cat"
    assert (target / "one/cat").read_text() == "cat"
    (data / "images" / "cat.png").write_text("dog")
    with pytest.raises(ReferenceChangedError):
        logged.get_entry("images/cat.png").download("elsewhere")
    with pytest.raises(ReadOnlyError):
        logged.add_reference(f"file://{data}/images")


def test_what_cannot_be_added_leaves_the_draft_as_it_was(data: Path) -> None:
    artifact = artifactfs.Artifact("animals")
    artifact.add_file(data / "images" / "owl.png", "images/owl.png")
    with pytest.raises(AlreadyExistsError):
        artifact.add_reference(f"file://{data}/images")
    with pytest.raises(UsageError, match="more than 1"):
        artifact.add_reference(f"file://{data}/images", "other", max_objects=1)
    with pytest.raises(AccessDeniedError):
        artifact.add_reference("file:///etc/hostname")
    assert [entry.path for entry in artifact.files()] == ["images/owl.png"]
    artifact.add_reference(f"file://{data}/images/cat.png")
    artifact.remove("cat.png")
    assert [entry.path for entry in artifact.files()] == ["images/owl.png"]


def test_the_contents_of_a_prefix_go_to_the_root_with_a_slash(data: Path) -> None:
    artifact = artifactfs.Artifact("animals")
    artifact.add_reference(f"file://{data}/images/")
    assert [entry.path for entry in artifact.files()] == ["cat.png", "owl.png"]
