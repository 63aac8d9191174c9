"""`Artifact.add_reference("artifact://...")`: drafts that take over entries of versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import AlreadyExistsError, BlobMissingError, EntryNotFoundError, UsageError
from artifactfs.repository.prune import delete_garbage, find_garbage
from tests.sdk.test_new_draft import log, logged, paths, workplace

__all__ = ["workplace"]


def test_entries_are_taken_looked_at_and_logged(workplace: Path) -> None:
    logged(aliases=["best"])
    draft = artifactfs.Artifact("zoo", "pictures")
    added = draft.add_reference("artifact://animals:best/images")
    assert [entry.path for entry in added] == ["images/cat.png", "images/deep/owl.png"]
    assert added[0].digest == draft.get_entry("images/cat.png").digest
    (own,) = draft.add_reference("artifact://animals:v0/notes.txt", "text/mine.txt")
    draft.add_file("notes.txt", "images/more.txt")
    draft.remove("images/deep/owl.png")
    shutil.rmtree(workplace / "images")
    digest = draft.digest
    zoo = log(draft)
    assert paths(zoo) == ["images/cat.png", "images/more.txt", "text/mine.txt"]
    assert zoo.digest == digest
    assert zoo.get_version("inputs").inputs == ("animals:v0",)
    assert Path(zoo.download(), "text", "mine.txt").read_text() == "notes.txt"
    assert own.size == len("notes.txt")


def test_over_a_version(workplace: Path) -> None:
    first = logged()
    (workplace / "other").write_text("other")
    other = artifactfs.Artifact("plants", "pictures")
    other.add_file("other", "images/cat.png")
    log(other)
    draft = first.new_draft()
    draft.add_reference("artifact://plants/images/cat.png", "images/tree.png")
    assert Path(log(draft).download(), "images", "tree.png").read_text() == "other"
    draft = first.new_draft()
    draft.add_reference("artifact://plants", "")
    with pytest.raises(AlreadyExistsError, match=r"images/cat\.png"):
        log(draft)


def test_what_raises_leaves_the_draft_as_it_was(workplace: Path) -> None:
    logged()
    draft = artifactfs.Artifact("zoo", "pictures")
    draft.add_file("notes.txt", "images/deep/owl.png")
    with pytest.raises(AlreadyExistsError):
        draft.add_reference("artifact://animals:v0/images")
    with pytest.raises(EntryNotFoundError, match="imags"):
        draft.add_reference("artifact://animals:v0/imags")
    assert paths(draft) == ["images/deep/owl.png"]
    assert log(draft).get_version("inputs").inputs == ()


def test_what_was_pruned_before_it_is_logged_is_an_error(workplace: Path) -> None:
    first = logged()
    draft = artifactfs.Artifact("zoo", "pictures")
    draft.add_reference("artifact://animals:v0/images")
    first.delete(delete_aliases=True)
    with artifactfs.init() as run:
        delete_garbage(run._workspace.repository, find_garbage(run._workspace.repository))
        with pytest.raises(BlobMissingError, match="taken from another version"):
            run.log_artifact(draft)


def test_other_repositories(workplace: Path, tmp_path: Path) -> None:
    logged()
    draft = artifactfs.Artifact("zoo", "pictures")
    draft.add_reference("artifact://animals:v0/images")
    with (
        artifactfs.init(repository=tmp_path / "elsewhere") as run,
        pytest.raises(UsageError, match="animals:v0, of which entries were added, lies in") as raised,
    ):
        run.log_artifact(draft)
    assert "artifactfs copy" in raised.value.hint
    with artifactfs.init(repository=tmp_path / "elsewhere") as run:
        own = artifactfs.Artifact("animals", "pictures")
        own.add_file("notes.txt")
        run.log_artifact(own)
        more = artifactfs.Artifact("zoo", "pictures")
        more.add_reference("artifact://animals/notes.txt", repository=tmp_path / "elsewhere")
        assert run.log_artifact(more).name == "zoo:v0"


def test_a_part_of_a_version_in_the_making(workplace: Path) -> None:
    logged()
    with artifactfs.init() as run:
        part = artifactfs.Artifact("zoo", "pictures")
        part.add_reference("artifact://animals:v0/images")
        run.upsert_artifact(part, distributed_id="both")
        zoo = run.finish_artifact(artifactfs.Artifact("zoo", "pictures"), distributed_id="both")
    assert paths(zoo) == ["images/cat.png", "images/deep/owl.png"]
    assert zoo.get_version("inputs").inputs == ("animals:v0",)
