"""Damage in a bucket is found, and what `check` advises mends it: nothing is set aside there, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import PROGRAM
from tests.remote.test_drafts import prune_at_once
from tests.remote.test_repositories import LARGE, Team, make_team

PREFIX = "team/one"


@pytest.fixture(params=["ceph", "azurite"])
def real_team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    yield from make_team(request.getfixturevalue(request.param), tmp_path)


def make_tree(top: Path) -> Path:
    """Return a new directory of which everything but the large file is packed."""
    (top / "data" / "sub").mkdir(parents=True)
    for number in range(20):
        (top / "data" / "sub" / f"{number}").write_bytes(b"content %d\n" % number)
    (top / "data" / "large").write_bytes(LARGE)
    return top / "data"


def damage(team: Team, prefix: str, *, offset: int | None) -> str:
    """Flip a bit of an object, or remove it, and return its key."""
    bucket = team.server.open_bucket(team.bucket, PREFIX)
    key = min(bucket.iter_keys(prefix))
    data = bytearray(bucket.read(key))
    if offset is None:
        bucket.delete([key])
    else:
        data[offset] ^= 1
        bucket._requests.put(key, bytes(data), mode="overwrite")  # the store itself refuses such bytes
    return key


def find_damage(team: Team, *arguments: str) -> list[dict[str, str]]:
    """Run check on a machine that stores nothing, and return what it found."""
    command = [*PROGRAM, "--repo", team.location, "--json", "check", "--read-data", *arguments]
    done = subprocess.run(command, env=team.environ("checker"), capture_output=True, timeout=120, check=False)
    damage = json.loads(done.stdout)["damage"]
    assert done.returncode == (30 if damage else 0), done.stderr
    return list(damage)


def mend(team: Team, data: Path) -> None:
    """Follow what check says, until nothing is damaged."""
    for _ in range(5):
        advice = {item["advice"] for item in find_damage(team)}
        if not advice:
            return
        if any(text.startswith("store the files again") for text in advice):
            team.run("put", "--rehash", "animals", str(data))
        elif any("--repair" in text for text in advice):
            find_damage(team, "--repair", "--yes")
        else:
            assert advice == {"no version needs it: `artifactfs prune` deletes it"}
            with team.machine() as repository:
                prune_at_once(repository)
    raise AssertionError(advice)


@pytest.mark.remote
@pytest.mark.parametrize("offset", [20, None], ids=["flipped", "missing"])
def test_what_is_damaged_in_a_bucket_is_mended(real_team: Team, tmp_path: Path, offset: int | None) -> None:
    data = make_tree(tmp_path)
    real_team.run("put", "animals", str(data))
    keys = {damage(real_team, prefix, offset=offset) for prefix in ("packs/", "treepacks/", "blobs/", "sums/")}
    found = {item["object"] for item in find_damage(real_team)}
    assert any(key.startswith("treepacks/") for key in found)
    assert found <= keys, "of what a lost page names nothing is known yet"
    mend(real_team, data)
    real_team.run("get", "animals:v0", str(tmp_path / "out"), name="reader")
    assert (tmp_path / "out" / "data" / "large").read_bytes() == LARGE
    assert (tmp_path / "out" / "data" / "sub" / "7").read_bytes() == b"content 7\n"
