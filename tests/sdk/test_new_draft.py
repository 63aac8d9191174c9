"""Drafts that begin as a version: what is changed is stored, what stays is not touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import AlreadyExistsError, BlobMissingError, EntryNotFoundError, UsageError


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REPO", "STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"ARTIFACTFS_{name}", str(tmp_path / name.lower()))
    folder = tmp_path / "here"
    for path in ("images/cat.png", "images/deep/owl.png", "labels/train.csv", "notes.txt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    monkeypatch.chdir(folder)
    return folder


def logged(**more: object) -> artifactfs.Artifact:
    artifact = artifactfs.Artifact("animals", "pictures", description="some", metadata={"a": 1}, tags=["raw"])
    artifact.add_dir(".")
    with artifactfs.init() as run:
        return run.log_artifact(artifact, **more)  # type: ignore[arg-type]


def log(draft: artifactfs.Artifact, **more: object) -> artifactfs.Artifact:
    with artifactfs.init() as run:
        return run.log_artifact(draft, **more)  # type: ignore[arg-type]


def paths(artifact: artifactfs.Artifact) -> list[str]:
    return [entry.path for entry in artifact.files()]


def test_a_draft_of_a_version_is_changed_and_logged(workplace: Path) -> None:
    first = logged()
    (workplace / "dog.png").write_text("dog")
    (workplace / "notes.txt").write_text("more")
    draft = first.new_draft()
    draft.add_file("dog.png", "images/dog.png")
    draft.add_file("notes.txt", overwrite=True)
    draft.remove("images/deep")
    with draft.new_file("images/new/made.txt") as file:
        file.write("made")
    expected = ["images/cat.png", "images/dog.png", "images/new/made.txt", "labels/train.csv", "notes.txt"]
    assert paths(draft) == expected
    digest = draft.digest
    second = log(draft)
    assert (second.name, paths(second), second.digest) == ("animals:v1", expected, digest)
    assert (second.type, second.description, second.metadata, second.tags) == ("pictures", "some", {"a": 1}, ["raw"])
    assert second.get_version("base").base == 0
    root = second.download()
    assert Path(root, "notes.txt").read_text() == "more"
    assert Path(root, "images", "cat.png").read_text() == "images/cat.png"
    assert paths(first) == ["images/cat.png", "images/deep/owl.png", "labels/train.csv", "notes.txt"]


def test_it_is_the_version_that_putting_everything_would_make(workplace: Path) -> None:
    draft = logged().new_draft()
    draft.remove("labels")
    draft.remove("images/cat.png")
    (workplace / "images" / "cat.png").unlink()
    shutil.rmtree(workplace / "labels")
    assert log(draft).digest == logged().digest


def test_what_stays_is_neither_read_nor_stored(workplace: Path, tmp_path: Path) -> None:
    draft = logged().new_draft()
    for folder in ("packs", "blobs"):
        shutil.rmtree(tmp_path / "repo" / folder, ignore_errors=True)  # nothing can be read
    shutil.rmtree(workplace / "images")
    (workplace / "new").write_text("new")
    draft.add_file("new")
    second = log(draft)
    packs = [path for path in (tmp_path / "repo" / "packs").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in packs] == [b"new"]
    assert paths(second)[-1] == "notes.txt"
    assert second.get_entry("images").mtime_ns == logged_time(second, "v0", "images")


def logged_time(artifact: artifactfs.Artifact, version: str, path: str) -> int | None:
    return artifactfs.Api().artifact(f"{artifact.collection}:{version}").get_entry(path).mtime_ns


def test_a_path_that_is_taken_needs_overwrite(workplace: Path) -> None:
    draft = logged().new_draft()
    (workplace / "notes.txt").write_text("more")
    with pytest.raises(AlreadyExistsError, match=r"notes\.txt"):
        draft.add_file("notes.txt")
    with pytest.raises(AlreadyExistsError, match="images"):
        draft.add_file("notes.txt", "images", overwrite=True)
    with pytest.raises(AlreadyExistsError, match=r"notes\.txt"):
        draft.add_file("notes.txt", "notes.txt/below")
    with pytest.raises(AlreadyExistsError), draft.new_file("notes.txt"):
        pass
    draft.remove("notes.txt")
    draft.add_file("notes.txt", "notes.txt/below")
    assert paths(log(draft))[-1] == "notes.txt/below"


def test_a_directory_is_merged_and_differences_need_overwrite(workplace: Path) -> None:
    first = logged()
    (workplace / "images" / "dog.png").write_text("dog")
    draft = first.new_draft()
    draft.add_dir("images")  # cat.png is the same
    second = log(draft)
    assert paths(second)[:3] == ["images/cat.png", "images/deep/owl.png", "images/dog.png"]
    (workplace / "images" / "cat.png").write_text("other")
    draft = second.new_draft()
    draft.add_dir("images")
    with pytest.raises(AlreadyExistsError, match=r"images/cat\.png"):
        log(draft)
    draft = second.new_draft()
    draft.add_dir("images", overwrite=True)
    assert Path(log(draft).get_entry("images/cat.png").download()).read_text() == "other"


def test_nothing_changed_is_the_same_version() -> None:
    first = logged()
    draft = first.new_draft()
    assert log(draft, if_changed=True).name == "animals:v0"
    assert log(first.new_draft()).get_version("").root.tree == first.get_version("").root.tree


def test_removing_what_is_not_there_and_drafts_of_drafts() -> None:
    draft = logged().new_draft()
    draft.remove("notes.txt")
    for path in ("notes.txt", "nothing", "images/nothing"):
        with pytest.raises(EntryNotFoundError):
            draft.remove(path)
    with pytest.raises(EntryNotFoundError):
        draft.get_entry("notes.txt")
    assert draft.get_entry("images/cat.png").size == 14
    with pytest.raises(UsageError):
        draft.new_draft()


def test_a_base_that_was_pruned_is_missed(workplace: Path, tmp_path: Path) -> None:
    first = logged()
    draft = first.new_draft()
    draft.add_file("notes.txt", "other.txt")
    second = artifactfs.Artifact("animals", "pictures")
    second.add_file("notes.txt")
    log(second)
    first.delete(delete_aliases=True)
    assert len(paths(log(draft))) == 5  # deleted, and still there
    draft = artifactfs.Api().artifact("animals:v2").new_draft()
    draft.add_file("notes.txt", "third.txt")
    artifactfs.Api().artifact("animals:v2").delete(delete_aliases=True)
    for folder in ("packs", "treepacks", "trees", "blobs"):
        shutil.rmtree(tmp_path / "repo" / folder, ignore_errors=True)
    with pytest.raises(BlobMissingError):
        log(draft)
    assert os.listdir(workplace)  # what is local is as it was
