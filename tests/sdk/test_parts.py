"""Versions that several runs make together, as programs do it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import (
    CollectionNotFoundError,
    DraftClosedError,
    DraftNotFoundError,
    PathConflictError,
    ReadOnlyError,
    UsageError,
)

WORKER = """
import artifactfs, sys
number = sys.argv[1]
with artifactfs.init(name=f"worker {number}", job_type="shard") as run:
    run.use_artifact("source:latest")
    part = artifactfs.Artifact("shards", type="dataset", tags=[f"from-{number}"])
    with part.new_file(f"data/{number}.txt") as file:
        file.write(number)
    run.upsert_artifact(part, distributed_id="job 7")
"""
FINISHER = """
import artifactfs
with artifactfs.init(name="finisher") as run:
    done = run.finish_artifact(artifactfs.Artifact("shards"), aliases=["whole"], distributed_id="job 7")
    print(done.name)
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REPO", "STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"ARTIFACTFS_{name}", str(tmp_path / name.lower()))
    folder = tmp_path / "here"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "cat.png").write_text("cat")
    (folder / "images" / "dog.png").write_text("dog")
    monkeypatch.chdir(folder)
    return folder


def paths(artifact: artifactfs.Artifact) -> list[str]:
    return [entry.path for entry in artifact.files()]


def run_program(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


def test_workers_and_two_finishers_in_processes_of_their_own() -> None:
    with artifactfs.init() as run:
        run.log_artifact("images", "source")
    workers = [run_program(WORKER, str(number)) for number in range(3)]
    assert [worker.communicate()[1] or worker.returncode for worker in workers] == [0, 0, 0]
    with pytest.raises(CollectionNotFoundError):
        artifactfs.Api().artifact("shards:latest")  # nobody sees it before it is finished
    finishers = [run_program(FINISHER) for _ in range(2)]
    assert [finisher.communicate()[0] for finisher in finishers] == ["shards:v0\n"] * 2
    version = artifactfs.Api().artifact("shards:whole")
    assert paths(version) == [f"data/{number}.txt" for number in range(3)]
    assert version.tags == ["from-0", "from-1", "from-2"]
    makers = {item.name for item in version.ancestors() if not isinstance(item, artifactfs.Artifact)}
    assert makers >= {"worker 0", "worker 1", "worker 2", "finisher"}
    source = artifactfs.Api().artifact("source:v0")
    assert {run.name for run in source.used_by()} == {"worker 0", "worker 1", "worker 2", "finisher"}
    for run_ in artifactfs.Api().runs():
        if run_.name.startswith("worker"):
            assert run_.outputs == ("shards:v0",)
            assert run_.state == "finished"


def test_a_run_and_its_children_share_its_id_as_name(workplace: Path) -> None:
    with artifactfs.init() as run:
        first = run.upsert_artifact("images/cat.png", "animals", "pictures")
        assert first.state == "PENDING"
        with pytest.raises(ReadOnlyError, match="handed over"):
            first.add_file("images/dog.png")
        last = artifactfs.Artifact("animals", "pictures", metadata={"a": 1})
        last.add_file("images/dog.png")
        done = run.finish_artifact(last, message="both")
        assert done is last
        assert (done.name, paths(done), done.metadata, done.message) == (
            "animals:v0",
            ["cat.png", "dog.png"],
            {"a": 1},
            "both",
        )
        assert run.outputs == ["animals:v0"]
        assert run.finish_artifact(artifactfs.Artifact("animals", "pictures")).name == "animals:v0"
        with pytest.raises(DraftClosedError, match="animals:v0"):
            run.upsert_artifact("images", "animals", "pictures")
        assert run.finish_artifact(first).name == "animals:v0"  # handed over before
        assert first.state == "COMMITTED"


def test_what_is_refused_leaves_the_parts_as_they_are() -> None:
    with artifactfs.init() as run:
        with pytest.raises(DraftNotFoundError):
            run.finish_artifact(artifactfs.Artifact("animals"), distributed_id="x")
        run.upsert_artifact("images/cat.png", "animals", distributed_id="x")
        clash = artifactfs.Artifact("animals")
        clash.add_file("images/dog.png", "cat.png")
        with pytest.raises(PathConflictError, match=r"part 1 .*cat\.png"):
            run.upsert_artifact(clash, distributed_id="x")
        with pytest.raises(PathConflictError):
            run.finish_artifact(clash, distributed_id="x")
        clash.remove("cat.png")  # it is a draft still
        clash.add_file("images/dog.png")
        logged = run.log_artifact("images", "other")
        with pytest.raises(UsageError, match="begins as a version"):
            run.upsert_artifact(logged.new_draft(), distributed_id="x")
        with pytest.raises(ReadOnlyError):
            run.upsert_artifact(logged, distributed_id="x")
        with pytest.raises(UsageError, match="type"):
            run.upsert_artifact("images/dog.png", "animals", "model", distributed_id="x")
        assert paths(run.finish_artifact(clash, distributed_id="x", ttl=timedelta(days=1))) == ["cat.png", "dog.png"]
    with pytest.raises(UsageError, match="finished"):
        run.upsert_artifact("images", "animals")
    with pytest.raises(UsageError, match="finished"):
        run.finish_artifact("images", "animals")


def test_a_part_takes_over_what_stays_of_a_version() -> None:
    with artifactfs.init() as run:
        run.log_artifact("images", "animals")
        stays = artifactfs.Artifact("animals")
        stays.add_reference("artifact://animals:v0/images/cat.png")
        run.upsert_artifact(stays, distributed_id="x")
        new = artifactfs.Artifact("animals")
        new.add_file("images/dog.png", "new.png")
        run.upsert_artifact(new, distributed_id="x")
        done = run.finish_artifact(artifactfs.Artifact("animals"), distributed_id="x")
    assert (done.name, paths(done)) == ("animals:v1", ["cat.png", "new.png"])
    assert "animals:v0" in [item.name for item in done.ancestors()]


def test_the_same_part_may_be_tried_again_by_its_run() -> None:
    with artifactfs.init() as run:
        run.upsert_artifact("images", "animals", distributed_id="x")
        run.upsert_artifact("images", "animals", distributed_id="x")
        run_id = run.id
    with artifactfs.init(id=run_id, resume="must") as run:
        run.upsert_artifact("images", "animals", distributed_id="x")
        assert len(paths(run.finish_artifact(artifactfs.Artifact("animals"), distributed_id="x"))) == 2
    with artifactfs.init() as run:
        run.upsert_artifact("images", "animals", distributed_id="y")
    with artifactfs.init() as run, pytest.raises(PathConflictError):
        run.upsert_artifact("images", "animals", distributed_id="y")


def test_a_worker_that_is_killed_leaves_the_draft_open() -> None:
    code = (
        "import artifactfs, os\n"
        "run = artifactfs.init()\n"
        "run.upsert_artifact('images/cat.png', 'animals', distributed_id='x')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with artifactfs.init() as run:
        run.upsert_artifact("images/dog.png", "animals", distributed_id="x")
        done = run.finish_artifact(artifactfs.Artifact("animals"), distributed_id="x")
    assert paths(done) == ["cat.png", "dog.png"]
    assert sorted(run.state for run in artifactfs.Api().runs()) == ["crashed", "finished"]
    assert os.listdir(".")


def test_programs_of_one_run_contribute_to_it_by_default() -> None:
    code = (
        "import artifactfs, sys\n"
        "with artifactfs.init() as run:\n"
        "    part = artifactfs.Artifact('animals')\n"
        "    part.add_file('images/cat.png', f'cats/{sys.argv[1]}.png')\n"
        "    run.upsert_artifact(part)\n"
    )
    with artifactfs.init() as run:
        environ = {**os.environ, "ARTIFACTFS_RUN": run.id}
        for number in range(2):
            subprocess.run([sys.executable, "-c", code, str(number)], env=environ, check=True)
        done = run.finish_artifact(artifactfs.Artifact("animals"))
        assert paths(done) == ["cats/0.png", "cats/1.png"]
    (recorded,) = artifactfs.Api().runs()
    assert recorded.outputs == ("animals:v0",)
