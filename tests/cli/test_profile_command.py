"""`artifactfs fetch --from-profile`: what an earlier run read, in its order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import artifactfs
from artifactfs.blobstore.keys import blob_key
from artifactfs.digest import CHUNK_SIZE
from artifactfs.repository.prefetch import plan_fetch, plan_replay
from tests.cli.support import Cli, run

ORDER = ("c.bin", "sub/a.bin", "b.bin")
READ = f"""
import fsspec
fs = fsspec.filesystem("artifact")
for name in {(*ORDER, "c.bin")!r}: fs.cat_file("animals/" + name, 0, 10)
"""


@pytest.fixture
def recorded(cli: Cli, work: Path) -> str:
    """Return the run of a program that read three of four large files of `animals:v0`."""
    for name in ("a.bin", "b.bin", "c.bin", "sub/a.bin"):
        (work / "images" / name).write_bytes(name.encode() * (CHUNK_SIZE // 3))
    cli("put", "animals", "images/")
    assert run("run", "--", sys.executable, "-c", READ).returncode == 0
    with artifactfs.Api() as api:
        return next(api.runs()).id


def test_chunks_come_in_the_order_of_the_run(cli: Cli, recorded: str, work: Path) -> None:
    with artifactfs.Api() as api:
        found = next(api.runs())
        assert [(file.artifact, file.path) for file in found.looked_up()] == [("animals:v0", name) for name in ORDER]
        repository = found.workspace.repository
        root = repository.get_collection("animals").versions[0].root
        plan, missing = plan_replay(repository, root, [name.encode() for name in (*ORDER, "nothing", "sub")])
        entries = [found.workspace.trees.find_entry(root, name.encode()) for name in ORDER]
        whole = plan_fetch(repository, root)
    blobs = [key for key, _ in plan.chunks if key.startswith("blobs/")]
    assert list(dict.fromkeys(blobs)) == [blob_key(entry.digest.raw) for entry in entries]
    assert (plan.files, missing, len(blobs)) == (3, 2, sum(-(-entry.size // CHUNK_SIZE) for entry in entries))
    assert set(plan.chunks) < set(whole.chunks)


def test_profile_is_found_by_run_and_taken_over_to_later_versions(cli: Cli, recorded: str, work: Path) -> None:
    assert cli.json("fetch", "--from-profile", recorded)["files"] == 3
    (work / "images" / "b.bin").unlink()
    cli("put", "animals", "images/")
    again = cli("fetch", "animals", "--from-profile", recorded)
    assert "1 file of the profile" in again.stderr
    assert cli.json("fetch", "animals", "--from-profile", recorded)["ref"] == "animals:v1"
    cli("put", "plants", "images/sub/")
    cli("fetch", "plants", "--from-profile", recorded, code=13)
    cli("fetch", "--from-profile", "01890a5d-ac96-774b-bcce-b302099a8057", code=13)
    cli("fetch", "animals", "--path", "*.bin", "--from-profile", recorded, code=2)
    cli("fetch", "animals/sub", "--from-profile", recorded, code=2)
    cli("fetch", code=2)
