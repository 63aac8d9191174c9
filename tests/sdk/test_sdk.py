"""The SDK as programs use it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    ConflictError,
    DigestMismatchError,
    EntryNotFoundError,
    InvalidNameError,
    InvalidPathError,
    NotFoundError,
    ReadOnlyError,
    SourceNotFoundError,
    UsageError,
)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REPO", "STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"ARTIFACTFS_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("ARTIFACTFS_AUTHOR", "ann@host")
    folder = tmp_path / "here"
    (folder / "images" / "deep").mkdir(parents=True)
    (folder / "images" / "cat.png").write_text("cat")
    (folder / "images" / "deep" / "owl.png").write_text("owl")
    (folder / "notes.txt").write_text("notes")
    monkeypatch.chdir(folder)
    return folder


def logged(name: str = "animals", **more: object) -> artifactfs.Artifact:
    artifact = artifactfs.Artifact(name)
    artifact.add_dir("images")
    with artifactfs.init() as run:
        return run.log_artifact(artifact, **more)  # type: ignore[arg-type]


def paths(artifact: artifactfs.Artifact) -> list[str]:
    return [entry.path for entry in artifact.files()]


README = """
import artifactfs
run = artifactfs.init()
artifact = artifactfs.Artifact('animals', type='dataset')
artifact.add_dir('images')             # files keep their directory: images/cat.png
run.log_artifact(artifact)             # animals:v0, alias latest
run = artifactfs.init()
animals = run.use_artifact('animals:latest')
directory = animals.download()         # ./artifacts/animals:v0, a real directory: reflinked where possible, else copied
print(directory, animals.name, animals.aliases)
"""


def test_the_example_runs_as_it_stands(workplace: Path) -> None:
    for number in range(2):
        result = subprocess.run([sys.executable, "-c", README], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"./artifacts/animals:v{number} animals:v{number} ['latest']\n"
        assert result.stderr == ""
    assert (workplace / "artifacts" / "animals:v0" / "images" / "deep" / "owl.png").read_text() == "owl"
    runs = list(artifactfs.Api().runs())
    assert [run.exit_code for run in runs] == [0] * 4  # finished at the end of the program
    assert runs[0].inputs == ("animals:v1",)
    assert runs[1].outputs == ("animals:v1",)


def test_a_program_that_fails_has_a_run_that_failed() -> None:
    code = "import artifactfs; run = artifactfs.init(); raise ValueError"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 1
    assert [run.exit_code for run in artifactfs.Api().runs()] == [1]


def test_the_import_loads_nothing_that_a_command_may_not_need() -> None:
    code = "import sys; before = set(sys.modules); import artifactfs; print(sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(eval(found)) <= {"artifactfs", "artifactfs._version", "__future__"}
    assert set(dir(artifactfs)) == {"Api", "Artifact", "ArtifactEntry", "Run", "__version__", "init"}
    with pytest.raises(AttributeError, match="nonsense"):
        _ = artifactfs.nonsense


# A draft.


def test_a_draft_is_filled_and_looked_at(workplace: Path) -> None:
    draft = artifactfs.Artifact("animals", description="d", metadata={"a": 1})
    draft.add_dir("images")
    entry = draft.add_file("notes.txt", "docs/notes.txt")
    with draft.new_file("docs/new.json") as file:
        file.write("{}")
    with draft.new_file("raw", mode="wb") as file:
        file.write(b"\xff")
    expected = ["docs/new.json", "docs/notes.txt", "images/cat.png", "images/deep/owl.png", "raw"]
    assert paths(draft) == expected
    assert (entry.path, entry.size, entry.kind) == ("docs/notes.txt", 5, "file")
    assert draft.get_entry("images").size == 6
    assert draft.get_entry("docs/new.json").size == 2
    assert (draft.name, draft.state, draft.is_draft(), draft.file_count, draft.size) == (
        "animals",
        "PENDING",
        True,
        5,
        14,
    )
    digest = draft.digest
    with artifactfs.init() as run:
        assert run.log_artifact(draft) is draft
    assert (draft.name, draft.state, draft.digest, draft.size) == ("animals:v0", "COMMITTED", digest, 14)
    assert paths(draft) == expected
    assert draft.wait() is draft


def test_remove_from_a_draft(workplace: Path) -> None:
    draft = artifactfs.Artifact("animals")
    draft.add_dir("images")
    entry = draft.add_file("notes.txt", "docs/notes.txt")
    draft.remove("images/cat.png")
    assert paths(draft) == ["docs/notes.txt", "images/deep/owl.png"]
    draft.remove(entry)
    assert paths(draft) == ["images/deep/owl.png"]
    draft.remove("images/deep")
    with pytest.raises(EntryNotFoundError):
        draft.remove("images/deep/owl.png")
    with pytest.raises(EntryNotFoundError):
        draft.remove("nothing")
    draft.add_file("notes.txt", "images/cat.png")
    assert [(entry.path, entry.size) for entry in draft.files()] == [("images/cat.png", 5)]
    with artifactfs.init() as run:
        run.log_artifact(draft)
    assert paths(draft) == ["images/cat.png"]


def test_layout_of_directories(workplace: Path) -> None:
    for path, name, expected in [
        ("images", None, "images/cat.png"),
        ("images/", None, "cat.png"),
        (".", None, "images/cat.png"),
        ("images", "", "cat.png"),
        ("images", "a/b", "a/b/cat.png"),
        (Path("images"), None, "images/cat.png"),
        (workplace / "images", None, "images/cat.png"),
    ]:
        draft = artifactfs.Artifact("x")
        draft.add_dir(path, name)
        assert expected in paths(draft)


def test_what_cannot_be_added(workplace: Path) -> None:
    draft = artifactfs.Artifact("x")
    draft.add_file("notes.txt")
    draft.add_dir("images")
    with pytest.raises(AlreadyExistsError):
        draft.add_file("images/cat.png", "notes.txt")
    draft.add_file("images/cat.png", "notes.txt", overwrite=True)
    assert draft.get_entry("notes.txt").size == 3
    with pytest.raises(AlreadyExistsError):
        draft.add_dir("images")
    with pytest.raises(AlreadyExistsError):
        draft.new_file("notes.txt").__enter__()
    with pytest.raises(InvalidPathError, match="add_dir"):
        draft.add_file("images")
    with pytest.raises(InvalidPathError, match="add_file"):
        draft.add_dir("notes.txt")
    with pytest.raises(SourceNotFoundError):
        draft.add_file("missing")
    with pytest.raises(SourceNotFoundError):
        draft.add_dir("missing")
    for name in ("../x", "/x", "a/../../b"):
        with pytest.raises(InvalidPathError):
            draft.add_file("notes.txt", name)
    with pytest.raises(UsageError, match="mode"):
        draft.new_file("y", mode="a").__enter__()
    assert paths(draft) == ["images/cat.png", "images/deep/owl.png", "notes.txt"]


def test_a_new_file_that_fails_is_not_added() -> None:
    draft = artifactfs.Artifact("x")

    def fail() -> None:
        with draft.new_file("a") as file:
            file.write("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert paths(draft) == []


def test_a_link_that_is_added_means_its_file(workplace: Path) -> None:
    os.symlink("notes.txt", "link")
    os.symlink("images", "folder")
    draft = artifactfs.Artifact("x")
    draft.add_file("link")
    draft.add_dir("folder")
    assert [(entry.path, entry.kind) for entry in draft.files()] == [
        ("folder/cat.png", "file"),
        ("folder/deep/owl.png", "file"),
        ("link", "file"),
    ]


def test_a_draft_says_what_needs_a_logged_artifact() -> None:
    draft = artifactfs.Artifact("x")
    for action in (
        draft.wait,
        draft.save,
        draft.download,
        draft.verify,
        draft.delete,
        draft.refresh,
        draft.logged_by,
        lambda: draft.version,
        lambda: draft.path,
        lambda: draft.aliases,
        lambda: draft.created_at,
    ):
        with pytest.raises(UsageError, match="draft"):
            action()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a:b", "ü", "x" * 129])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidNameError):
        artifactfs.Artifact(name)
    with pytest.raises(InvalidNameError, match="cannot be a type"):
        artifactfs.Artifact("ok", type=name)


def test_metadata_that_is_not_json() -> None:
    with pytest.raises(UsageError):
        artifactfs.Artifact("x", metadata={"a": object()})
    draft = artifactfs.Artifact("x")
    draft.metadata["a"] = {1, 2}
    with artifactfs.init() as run, pytest.raises(UsageError):
        run.log_artifact(draft)
    assert draft.is_draft()


# A logged artifact.


def test_a_logged_artifact_never_changes() -> None:
    artifact = logged()
    for action in (
        lambda: artifact.add_file("notes.txt"),
        lambda: artifact.add_dir("images", "more"),
        lambda: artifact.remove("images/cat.png"),
        lambda: artifact.new_file("x").__enter__(),
    ):
        with pytest.raises(ReadOnlyError, match="animals:v0"):
            action()


def test_entries_of_a_logged_artifact(workplace: Path) -> None:
    artifact = logged()
    entry = artifact.get_entry("images/cat.png")
    assert (entry.kind, entry.size, entry.mode) == ("file", 3, os.stat("images/cat.png").st_mode & 0o777)
    assert entry.mtime_ns == os.stat("images/cat.png").st_mtime_ns
    assert entry.digest == "sha256:77af778b51abd4a3c51c5ddd97204a9c3ae614ebccb75a606c3b6865aed6744e"
    assert artifact.get_entry("images").kind == "directory"
    assert [found.path for found in artifact.files(["images/cat.png"])] == ["images/cat.png"]
    with pytest.raises(EntryNotFoundError):
        artifact.get_entry("images/dog.png")
    assert entry.download() == "./artifacts/animals:v0/images/cat.png"
    assert entry.download() == "./artifacts/animals:v0/images/cat.png"
    assert Path(entry.download("elsewhere")).read_text() == "cat"
    assert (workplace / "elsewhere" / "images" / "cat.png").exists()


def test_download_is_done_once(workplace: Path) -> None:
    artifact = logged()
    directory = Path(artifact.download())
    stamp = (directory / "images" / "cat.png").stat().st_ino
    assert artifact.download() == str(directory) or artifact.download() == f"./{directory}"
    assert (directory / "images" / "cat.png").stat().st_ino == stamp
    artifact.verify()
    (directory / "images" / "cat.png").write_text("dog")
    with pytest.raises(DigestMismatchError, match=r"images/cat\.png"):
        artifact.verify()
    with pytest.raises(AlreadyExistsError):
        artifact.download()
    artifact.download(replace=True)
    artifact.verify()
    (directory / "more").write_text("x")
    with pytest.raises(AlreadyExistsError):
        artifact.download()


def test_download_of_a_part(workplace: Path) -> None:
    artifact = logged()
    assert artifact.download("part", path_prefix="images/deep") == "part"
    assert sorted(path.as_posix() for path in Path("part").rglob("*")) == [
        "part/images",
        "part/images/deep",
        "part/images/deep/owl.png",
    ]
    with pytest.raises(EntryNotFoundError):
        artifact.download("other", path_prefix="nothing")
    assert not Path("other").exists()


def test_changes_are_saved(workplace: Path) -> None:
    artifact = logged(aliases=["first", "best"])
    assert artifact.aliases == ["latest", "best", "first"]
    artifact.description = "about cats"
    artifact.metadata["legs"] = 4
    artifact.tags.append("cute")
    artifact.aliases.remove("first")
    artifact.aliases.append("second")
    assert artifactfs.Api().artifact("animals").description == ""
    artifact.save()
    again = artifactfs.Api().artifact("animals:second")
    assert (again.description, again.metadata, again.tags) == ("about cats", {"legs": 4}, ["cute"])
    assert again.aliases == ["latest", "best", "second"]
    seq = artifactfs.Api()._workspace.repository.get_collection("animals").seq
    again.save()
    assert artifactfs.Api()._workspace.repository.get_collection("animals").seq == seq


def test_save_never_takes_latest_away() -> None:
    artifact = logged()
    artifact.aliases.clear()
    artifact.save()
    assert artifact.aliases == ["latest"]


def test_path_needs_a_mount() -> None:
    with pytest.raises(UsageError, match="no mount"):
        _ = logged().path


def test_delete() -> None:
    first, second = logged(), logged()
    with pytest.raises(ConflictError):
        second.delete()
    first.delete()
    second.delete(delete_aliases=True)
    assert artifactfs.Api().artifacts("animals") == []


# Runs.


def test_a_run_knows_what_it_did() -> None:
    logged("animals")
    with artifactfs.init("train 1", job_type="train", project="p", config={"lr": 1}, tags=["t"], notes="n") as run:
        used = run.use_artifact("animals")
        run.use_artifact("animals:v0", type="dataset")
        run.use_artifact(used)
        model = artifactfs.Artifact("model", type="model")
        model.add_file("notes.txt")
        run.log_artifact(model, aliases=["best"], message="why")
        assert (run.inputs, run.outputs) == (["animals:v0"], ["model:v0"])
        assert run.finished_at is None
    assert run.exit_code == 0
    assert run.started_at <= run.finished_at
    stored = artifactfs.Api().run(run.id)
    assert (stored.name, stored.job_type, stored.project, stored.notes) == ("train 1", "train", "p", "n")
    assert (stored.config, stored.tags, stored.author) == ({"lr": 1}, ("t",), "ann@host")
    assert (stored.inputs, stored.outputs, stored.exit_code) == (("animals:v0",), ("model:v0",), 0)
    found = artifactfs.Api().artifact("model:best", type="model")
    assert (found.message, found.author, found.version) == ("why", "ann@host", "v0")
    maker = found.logged_by()
    assert maker is not None
    assert maker.id == run.id


def test_a_block_that_raises_ends_the_run_with_1() -> None:
    with pytest.raises(ValueError, match="stop"), artifactfs.init() as run:
        raise ValueError("stop")
    assert artifactfs.Api().run(run.id).exit_code == 1


def test_a_finished_run_does_nothing_more() -> None:
    run = artifactfs.init()
    run.finish(exit_code=4)
    run.finish(exit_code=0)
    assert artifactfs.Api().run(run.id).exit_code == 4
    with pytest.raises(UsageError, match="finished"):
        run.use_artifact("animals")
    with pytest.raises(UsageError, match="finished"):
        run.log_artifact("images", name="animals")


def test_log_artifact_takes_paths() -> None:
    with artifactfs.init() as run:
        folder = run.log_artifact("images", name="animals", type="dataset")
        single = run.log_artifact("notes.txt", "notes", "text", "draft")
        assert (folder.name, paths(folder)) == ("animals:v0", ["images/cat.png", "images/deep/owl.png"])
        assert (single.name, single.type, single.aliases) == ("notes:v0", "text", ["latest", "draft"])
        with pytest.raises(UsageError, match="name="):
            run.log_artifact("images")


def test_if_changed(workplace: Path) -> None:
    first = logged()
    assert logged(if_changed=True).name == first.name
    assert logged().name == "animals:v1"
    (workplace / "images" / "cat.png").write_text("other")
    assert logged(if_changed=True).name == "animals:v2"


def test_logging_a_version_again_gives_it_aliases() -> None:
    artifact = logged()
    with artifactfs.init() as run:
        run.log_artifact(artifact, aliases=["good"])
        assert run.outputs == ["animals:v0"]
    assert artifactfs.Api().artifact("animals:good").name == "animals:v0"
    assert len(artifactfs.Api().artifacts("animals")) == 1


def test_use_artifact_errors() -> None:
    logged()
    with artifactfs.init() as run:
        with pytest.raises(CollectionNotFoundError, match="did you mean animals"):
            run.use_artifact("animal")
        with pytest.raises(UsageError, match="type"):
            run.use_artifact("animals", type="model")
        with pytest.raises(UsageError, match="path"):
            run.use_artifact("animals:v0/images")
        with pytest.raises(UsageError, match="staging"):
            run.use_artifact("animals:@staging")
        with pytest.raises(UsageError, match="draft"):
            run.use_artifact(artifactfs.Artifact("animals"))
        assert run.inputs == []


def test_threads_of_one_run() -> None:
    with artifactfs.init() as run:

        def work(number: int) -> None:
            artifact = artifactfs.Artifact("animals")
            with artifact.new_file("f") as file:
                file.write(str(number))
            run.log_artifact(artifact)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(run.outputs) == sorted(f"animals:v{number}" for number in range(8))
    assert sorted(artifactfs.Api().run(run.id).outputs) == sorted(run.outputs)


# Api.


def test_api_lists_and_looks_up() -> None:
    logged("animals")
    logged("animals")
    with artifactfs.init() as run:
        run.log_artifact("notes.txt", "model", "model")
    api = artifactfs.Api()
    assert [(found.name, found.type, found.versions) for found in api.collections()] == [
        ("animals", "dataset", ("v1", "v0")),
        ("model", "model", ("v0",)),
    ]
    assert [found.name for found in api.collections(type="model")] == ["model"]
    assert api.collection("animals").aliases == {"latest": "v1"}
    assert [artifact.name for artifact in api.artifacts("animals")] == ["animals:v1", "animals:v0"]
    assert api.artifact("animals").name == "animals:v1"
    assert api.artifact_exists("animals:v0")
    assert api.artifact_exists("animals:v0", type="dataset")
    assert not api.artifact_exists("animals:v0", type="model")
    assert not api.artifact_exists("animals:v7")
    assert not api.artifact_exists("nothing")
    with pytest.raises(NotFoundError):
        api.run("01a209d4-401a-71d1-a370-828b224f78a6")
    assert len(list(api.runs())) == 3


def test_api_is_a_context_manager_and_opens_again() -> None:
    logged()
    with artifactfs.Api() as api:
        artifact = api.artifact("animals:v0")
        open_files = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) < open_files
    assert paths(artifact) == ["images/cat.png", "images/deep/owl.png"]
    api.close()


def test_another_repository(tmp_path: Path) -> None:
    with artifactfs.init(repository=tmp_path / "other") as run:
        run.log_artifact("notes.txt", "notes")
    assert artifactfs.Api(tmp_path / "other").artifact_exists("notes")
    assert not artifactfs.Api().artifact_exists("notes")
    assert artifactfs.Api(tmp_path / "other").location == str(tmp_path / "other")
