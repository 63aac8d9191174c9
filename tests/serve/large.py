"""A repository with very many versions, a directory with very many entries, and a large lineage, made without files."""

from __future__ import annotations

from pathlib import Path

from artifactfs.model import DirectoryEntry, FileEntry, Root
from artifactfs.repository import changes
from artifactfs.repository.repository import Repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root, stored_directory
from artifactfs.runs.history import RunLog
from tests.serve.support import open_one

COLLECTIONS = 50


def name_entry(number: int) -> bytes:
    return b"image-%07d.png" % number


def make_large(folder: Path, *, versions: int, entries: int, runs: int) -> None:
    """Make `versions` versions in 50 collections, `big:v0` with a directory `files`, and `step-*` made by runs."""
    with open_one(folder) as repository:
        small, big = make_root_of(repository, 3), make_root_of(repository, entries)
        commit(repository, "big", big)
        for number in range(COLLECTIONS):
            for _ in range(versions // COLLECTIONS):
                commit(repository, f"collection-{number:03}", small, type_="model" if number % 3 else "dataset")
        make_runs(repository, small, runs)


def make_root_of(repository: Repository, entries: int) -> Root:
    """Store a tree with a directory of so many files, of which none has content in the store."""
    with repository.blobs.begin() as batch:
        builder = TreeBuilder(batch)
        inner = builder.begin_directory()
        for number in range(entries):
            inner.add(FileEntry(name_entry(number), 0o644, number, 1000 + number, number.to_bytes(32)))
        files = stored_directory(b"files", 0o755, 0, inner.finish())
        top = builder.begin_directory()
        assert isinstance(files.entry, DirectoryEntry)
        top.add(files.entry, files.place)
        stored = stored_directory(b"/", 0o755, 0, top.finish())
        batch.flush()
    return make_root(stored)


def commit(repository: Repository, name: str, root: Root, *, type_: str = "dataset", run: str | None = None) -> str:
    state, record = repository.append(
        name, lambda state: changes.commit(state, root=root, type=type_), message="made for a test", run=run
    )
    return f"{state.name}:v{record.body.version}"


def make_runs(repository: Repository, root: Root, count: int) -> None:
    """Make a lineage of 2 * `count` + 1 nodes: each run reads two earlier versions and makes one."""
    log = RunLog(repository.store, clock=repository.clock, random=_numbers())
    made = [commit(repository, "step-0", root)]
    for number in range(count):
        run = log.start(author="tester", name=f"job {number}", job_type="training").run
        for name in {made[number // 2], made[-1 - number % 7 if len(made) > 7 else 0]}:
            log.use(run, name)
        made.append(commit(repository, f"step-{number % 20}", root, run=run))
        log.log(run, made[-1], is_new=True)
        log.finish(run, exit_code=0)


def _numbers():
    count = [0]

    def random(size: int) -> bytes:
        count[0] += 1
        return count[0].to_bytes(size)

    return random
