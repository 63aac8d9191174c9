"""`prune` from the command line: it says what it will do, asks, and says what it did."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import make_animals
from tests.cli.support import Cli


@pytest.fixture
def animals(cli: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The collection of `conftest.py` without packs: a version has objects that no other needs."""
    config = tmp_path / "config.toml"
    config.write_text("packed_below = 0\n")
    monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))
    return make_animals(cli, work)


def objects(tmp_path: Path) -> list[str]:
    top = tmp_path / "repository"
    return sorted(
        path.name for folder in ("blobs", "trees", "sums", "packs", "treepacks") for path in top.glob(f"{folder}/*/*")
    )


def test_a_dry_run_deletes_nothing(animals: Cli, tmp_path: Path) -> None:
    before = objects(tmp_path)
    animals("rm", "animals:v0", "--yes")
    found = animals.json("prune", "--dry-run")
    assert found["dry_run"] is True
    assert found["garbage"]["objects"] >= 2
    assert found["deleted"] == {"objects": 0, "size": 0}
    assert sum(folder["objects"] for folder in found["folders"].values()) == found["garbage"]["objects"]
    assert objects(tmp_path) == before


def test_it_asks_and_deletes(animals: Cli, tmp_path: Path) -> None:
    whole = objects(tmp_path)
    animals("rm", "animals:v0", "--yes")
    refused = animals("prune", code=2)
    assert "--yes" in refused.stderr
    assert objects(tmp_path) == whole
    result = animals("prune", "--yes")
    assert "deleted" in result.stderr
    assert len(objects(tmp_path)) < len(whole)
    animals("verify", "animals:v1")
    assert animals.json("prune", "--yes")["garbage"]["objects"] == 0


def test_a_staging_directory_keeps_its_base(animals: Cli, tmp_path: Path) -> None:
    before = objects(tmp_path)
    animals("stage", "animals:v0")
    animals("rm", "animals:v0", "--yes")
    assert animals.json("prune", "--yes")["kept"] == ["animals:v0"]
    assert objects(tmp_path) == before
    animals("discard", "animals", "--yes")
    assert animals.json("prune", "--yes")["deleted"]["objects"] > 0


def test_a_writer_makes_it_give_up(animals: Cli, tmp_path: Path, monkeypatch) -> None:
    from artifactfs.repository import exclusion

    monkeypatch.setattr(exclusion, "PATIENCE_SECONDS", 0.2)
    animals("rm", "animals:v0", "--yes")
    lock = tmp_path / "repository" / "lock"
    code = "import fcntl,sys; f=open(sys.argv[1]); fcntl.flock(f,fcntl.LOCK_SH); print('held',flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = animals("prune", "--yes", code=21)
        assert "writing" in refused.stderr
        holder.communicate("\n")
    animals("prune", "--yes")


def test_it_says_how_long_it_waits_where_there_are_no_locks(animals: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactfs.repository import condemning, repository

    timing = condemning.Timing(wait_seconds=0.01)
    monkeypatch.setattr(condemning, "Timing", lambda: timing)
    monkeypatch.setattr(repository, "LockExclusion", lambda *_, **__: None)
    assert "waiting" not in animals("prune", "--yes").stderr, "nothing is deleted"
    animals("rm", "animals:v0", "--yes")
    kept = "kept animals:v0, which was removed, because it is in use, or was removed less than 14 days ago"
    assert kept in animals("prune", "--yes").stderr
    timing = replace(timing, grace_seconds=0)
    lines = animals("prune", "--yes").stderr.splitlines()
    assert re.fullmatch(r"waiting until \d\d:\d\d for commits under way; .* is safe, .*", lines[-2])
    assert lines[-1].startswith("deleted")


def test_temporary_files_of_dead_writers_go(animals: Cli, tmp_path: Path) -> None:
    left = tmp_path / "repository" / "tmp" / "1-0123456789abcdef"
    left.mkdir(parents=True)
    (left / "0").write_bytes(b"half a file")
    (left.parent / f"{left.name}.lock").touch()
    animals("prune", "--yes")
    assert not left.exists()
