"""`check` from the command line: damage is named with its places, and repair lets it heal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.support import Cli


def damage(tmp_path: Path, content: bytes) -> Path:
    """Put another byte into the stored file with this content, and return its path."""
    top = tmp_path / "repository"
    found = next(
        path for folder in ("blobs", "packs") for path in top.glob(f"{folder}/*/*") if content in path.read_bytes()
    )
    found.chmod(0o644)
    found.write_bytes(found.read_bytes().replace(content, content.upper()))
    return found


def test_a_whole_repository(animals: Cli) -> None:
    result = animals("check", "--read-data")
    assert result.stdout == ""
    assert "2 versions" in result.stderr
    found = animals.json("check", "--read-data=50%")
    assert (found["ok"], found["damage"], found["versions"]) == (True, [], 2)


def test_damage_is_named_with_its_places(animals: Cli, tmp_path: Path) -> None:
    path = damage(tmp_path, b"dog\n")
    animals("check")
    result = animals("check", "--read-data", code=30)
    key = str(path.relative_to(tmp_path / "repository"))
    assert result.stdout.startswith(f"{key}: is damaged: ")
    assert {"  animals:v0 sub/dog.txt", "  animals:v1 sub/dog.txt"} <= set(result.stdout.splitlines())
    found = animals.json("check", "--read-data", code=30)
    [item] = found["damage"]
    assert (found["ok"], item["object"], item["place_count"]) == (False, key, 2)
    assert {"ref": "animals:v0", "path": "sub/dog.txt"} in item["places"]


def test_repair_and_put_heal(animals: Cli, tmp_path: Path, work: Path) -> None:
    content = b"large" * (1 << 18)
    (work / "images" / "large").write_bytes(content)
    animals("put", "large", "images/large")
    path = damage(tmp_path, content[:100])
    key = str(path.relative_to(tmp_path / "repository"))
    refused = animals("check", "--read-data", "--repair", code=2)
    assert "--yes" in refused.stderr
    assert path.exists()
    found = animals.json("check", "--read-data", "--repair", "--yes", code=30)
    assert found["repaired"]["set_aside"] == [key]
    assert os.path.exists(os.path.join(found["repaired"]["directory"], key))
    animals("put", "large", "images/large")
    animals("check", "--read-data")
    assert animals("cat", "large:v0/large").stdout == content.decode()


def test_repair_begins_a_new_index_though_nothing_is_damaged(animals: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactfs.index.index import Index

    drops: list[object] = []
    drop = Index.drop
    monkeypatch.setattr(Index, "drop", lambda index: (drops.append(index), drop(index)))
    animals("check")
    assert drops == []
    result = animals("check", "--repair")
    assert len(drops) == 1
    assert "began a new index" in result.stderr
    assert "store the same files" not in result.stderr
    repaired = animals.json("check", "--repair")["repaired"]
    lists: dict[str, list[str]] = {"set_aside": [], "left": [], "skipped": [], "rebuilt": []}
    assert repaired == {"directory": "", "versions": 0, "why": {}, **lists}
    assert "animals" in animals("ls").stdout


def test_a_share_that_is_none(animals: Cli) -> None:
    for text in ("0", "101", "x"):
        assert "percentage" in animals("check", f"--read-data={text}", code=2).stderr


def test_one_damaged_collection_does_not_hide_the_others(animals: Cli, tmp_path: Path) -> None:
    animals("put", "plants", "images/")
    repository = tmp_path / "repository"
    record = repository / "collections/animals/log/00000000000000000001"
    record.chmod(0o644)
    record.write_bytes(record.read_bytes().replace(b"dataset", b"dataSet"))
    animals("index", "rebuild")
    result = animals("ls", code=30)
    assert result.stdout.split() == ["plants"]
    assert "animals cannot be read" in result.stderr


def test_nobody_is_told_to_prune_while_something_is_damaged(animals: Cli, tmp_path: Path) -> None:
    animals("put", "plants", "images")
    animals("put", "plants", "images/sub")
    assert "artifactfs prune" not in animals("check").stderr
    animals("rm", "plants:v1", "--yes", "--force")
    assert "artifactfs prune" in animals("check").stderr
    (tmp_path / "repository/collections/plants/log/00000000000000000003").unlink()
    (tmp_path / "repository/collections/animals/log/00000000000000000002").write_bytes(b"x")
    found = animals("check", code=30)
    assert "artifactfs prune" not in found.stdout + found.stderr
    assert "keep what no version reaches" in found.stderr
    items = animals.json("check", code=30)["damage"]
    assert [item["unsure"] for item in items] == [["animals:v0"], ["plants:v0", "plants:v1"]]
    assert "  may have removed or moved animals:v0" in found.stdout.splitlines()


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("folder", ["blobs", "packs", "treepacks"])
def test_put_names_what_was_damaged_and_is_stored_anew(cli: Cli, tmp_path: Path, work: Path, folder: str) -> None:
    """Also when the version is the same, so that nothing else tells of it."""
    (work / "images" / "large").write_bytes(b"large" * (1 << 18))
    cli("put", "animals", "images/")
    assert "damaged" not in cli("put", "animals", "images/", "--if-changed").stderr
    [path] = (tmp_path / "repository").glob(f"{folder}/*/*")
    flip(path, 5)
    again = cli("put", "animals", "images/", "--if-changed")
    assert again.stdout == "animals:v0\n"
    key = path.relative_to(tmp_path / "repository")
    assert f"{key} was damaged" in again.stderr
    assert cli("cat", "animals/cat.txt").stdout == (work / "images" / "cat.txt").read_text()
    # The others are made again as they were, and take the place of what was damaged.
    cli("check", "--read-data", "--repair", "--yes", code=30 if folder == "packs" else 0)
    assert cli.json("check", "--read-data")["damage"] == []
    assert cli.json("put", "animals", "images/", "--if-changed")["damaged"] == []
