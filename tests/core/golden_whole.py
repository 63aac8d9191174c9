"""Makes a small repository that has everything that format 1 knows, and says what is in it.

`golden/whole.tar.gz` was written by this once, and is read for ever: `test_golden_whole.py` has the commands. To see
what another release writes: `python -m tests.core.golden_whole FILE`.

What lies in it: packs, tree packs, sums, a directory of three pages, references, links, odd names, an empty directory;
in the logs every kind of record, versions that were removed, a collection that was made anew, a pin, versions that a
repacking moved, and a checkpoint; runs with all that they record; and the steps of a prune, as a copy from a store
without locks has them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from pathlib import Path

from artifactfs.model import Validator
from artifactfs.reference.base import Described
from artifactfs.reference.references import make_entry
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.prune import find_garbage
from artifactfs.repository.prune_steps import Condemned, Done, Verdict, encode_step, list_objects
from artifactfs.repository.put import Source, put_plan
from artifactfs.repository.reach import ObjectSet
from artifactfs.repository.repack import repack
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.sources import Planned, add_entry, make_plan
from artifactfs.repository.usage import Repacking
from artifactfs.runs.events import Circumstances, Git, Process
from artifactfs.runs.history import RunLog
from artifactfs.runs.machine import Environment
from tests.core.golden_archives import START_NS, CountingClock, write_archive

MANY = 1_500
LARGE = bytes(range(256)) * (1 << 14) + b"the end"
"""4 MiB and 7 bytes: it has sums."""
FILES: dict[str, bytes] = {
    "README": b"tiny\n",
    "empty": b"",
    "images/cat.txt": b"cat\n",
    "images/again.txt": b"cat\n",
    "images/caf\udce9": b"not UTF-8\n",
    "large.bin": LARGE,
    "run.sh": b"#!/bin/sh\n",
    **{f"many/{number:04d}": b"%d" % (number % 7) for number in range(MANY)},
}
EXECUTABLE = "run.sh"
LINK = "link"
LINK_TARGET = "images/cat.txt"
EMPTY_DIRECTORY = "nothing"
REFERENCES = {
    b"d/modified": Validator("modified", "1700000000000000000"),
    b"d/hashed": Validator("sha256", hashlib.sha256(b"x").hexdigest()),
    b"etag": Validator("etag", '"abc"'),
}
"""In the collection `far`; nothing is at their URIs."""
CHANGED = {**FILES, "images/cat.txt": b"cat, longer\n", "new": b"new\n"}
PIN = "0123456789abcdef0123456789abcdef"
RUN_NAME = "training"
ALIASES = 256
"""So many records are made in `often`, until there is a checkpoint."""


class _Random:
    """Bytes that are always the same."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self, size: int) -> bytes:
        return hashlib.shake_128(b"%d" % next(self._numbers)).digest(size)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write what a version holds, but for references."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name == EXECUTABLE else 0o644)
    (folder / EMPTY_DIRECTORY).mkdir(exist_ok=True)
    (folder / LINK).unlink(missing_ok=True)
    os.symlink(LINK_TARGET, folder / LINK)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o755) if path.is_dir() and not path.is_symlink() else None
        os.utime(path, ns=(START_NS, START_NS), follow_symlinks=False)
    os.utime(folder, ns=(START_NS, START_NS))


def _put(repository: Repository, name: str, folder: Path, options: CommitOptions) -> None:
    put_plan(repository, name, make_plan([Source(os.fsencode(folder), b"")]), options)


def put_references(repository: Repository) -> None:
    """Put what `far` holds."""
    plan = Planned()
    for number, (path, validator) in enumerate(REFERENCES.items()):
        described = Described(f"file:///artifactfs/{number}", 10 + number, validator, START_NS)
        add_entry(plan, path, make_entry(path, described))
    put_plan(repository, "far", plan, CommitOptions(type="other"))


def _fill(repository: Repository, folder: Path) -> None:
    write_files(folder, FILES)
    options = CommitOptions(
        type="model",
        aliases=("best", "first"),
        message="the first",
        description="tiny",
        metadata={"accuracy": 0.5, "nested": {"list": [1, "two", None, True]}},
        tags=("small", "good"),
        expires_ns=START_NS + 10**18,
    )
    _put(repository, "animals", folder, options)
    write_files(folder, CHANGED)
    _put(repository, "animals", folder, CommitOptions(base=0, message="the second", inputs=("plants:v0",), run="r"))
    (folder / "gone").write_bytes(b"only here" * 1000)
    _put(repository, "animals", folder, CommitOptions())
    (folder / "gone").unlink()
    put_references(repository)
    _put(repository, "plants", folder / "images", CommitOptions())
    append = repository.append
    append("plants", changes.delete_collection)
    _put(repository, "plants", folder / "images", CommitOptions(message="made anew"))
    append("animals", lambda state: changes.pin(state, pin=PIN, version=0, purpose="staging directory @staging"))
    append("animals", lambda state: changes.pin(state, pin="f" * 32, version=1, purpose="given up"))
    append("animals", lambda state: changes.unpin(state, pin="f" * 32))
    append("animals", lambda state: changes.delete_version(state, number=2, force=True))
    append("animals", lambda state: changes.remove_aliases(state, aliases=["first"]))
    append("animals", lambda state: changes.edit(state, version=1, description="edited", tags=("late",)))
    _put(repository, "often", folder / "images", CommitOptions())
    for number in range(ALIASES):
        append("often", lambda state, n=number: changes.set_aliases(state, version=0, aliases=[f"a{n % 3}"]))  # type: ignore[misc]


def _move(repository: Repository) -> None:
    """Write packs again, as a prune does, and leave the old ones: `relocate` records say what lies elsewhere."""
    garbage = find_garbage(repository)
    packs = [pack for prefix in ("packs/", "treepacks/") for pack in garbage.usage.live_sizes(prefix)]
    repository.blobs.forget()
    assert repack(repository, Repacking(frozenset(packs)), garbage.roots).versions


def _run(repository: Repository, clock: CountingClock, random: _Random) -> None:
    runs = RunLog(repository.store, clock=clock, random=random)
    environment = runs.keep_environment(
        Environment(python="CPython 3.11.2", packages=("lmdb==1",), system="Linux", cpu_count=2, artifactfs="0.1.0")
    )
    circumstances = Circumstances(
        process=Process(host="host", user="ada", pid=7, start=8, boot="b", namespace=9),
        command=("python", "train.py"),
        directory="/work",
        git=Git(commit="0" * 40, dirty=True, branch="main", remote="https://example.com/r"),
        environment=environment,
        variables={"CUDA_VISIBLE_DEVICES": "0"},
    )
    run = runs.start(
        author="ada@host", name=RUN_NAME, job_type="train", project="p", tags=("t",), circumstances=circumstances
    ).run
    runs.configure(run, {"lr": 0.1})
    runs.use(run, "animals:v0")
    runs.keep_files(run, [("animals:v0", "images/cat.txt", 4)])
    runs.renew(run, started_ns=START_NS)
    runs.mark_crashed(run)
    runs.resume(runs.get_run(run), author="bob@host", circumstances=circumstances)
    runs.log(run, "animals:v1", is_new=True)
    runs.finish(run, exit_code=0)


def _leave_steps(repository: Repository) -> None:
    """Write what a prune of a store without locks leaves; it condemned an object that was deleted long ago."""
    gone = ObjectSet()
    gone.add("blobs/", bytes(32))
    prune = "ab" * 16
    steps = {
        "condemned": Condemned(prune, "ada@host", START_NS, list_objects(gone)),
        "verdict": Verdict(prune, "ada@host", START_NS + 1, delete=True, until_ns=START_NS + 2),
        "done": Done(prune, START_NS + 2, 1),
    }
    for name, step in steps.items():
        repository.store.create(f"prune/{prune}/{name}", encode_step(step))


def make_whole(folder: Path) -> Path:
    """Make the repository below a folder, and return where it is."""
    clock, random = CountingClock(), _Random()
    location = folder / "whole"
    with open_repository(
        str(location), state=str(folder / "state"), author="ada@host", clock=clock, random=random, use_index=False
    ) as repository:
        _fill(repository, folder / "source")
        _move(repository)
        _run(repository, clock, random)
        _leave_steps(repository)
    return location


if __name__ == "__main__":
    write_archive(sys.argv[1], make_whole)
