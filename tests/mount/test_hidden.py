"""Views by path: shards and differences, in both transports, in a run, and what they are not to be seen through."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.vfs.parts import shard_of
from tests.mount.conftest import wait_until
from tests.mount.test_run_programs import cli

pytestmark = pytest.mark.mounted
COUNT = 40


def make(folder: Path, *, first: int, last: int, changed: tuple[int, ...] = ()) -> None:
    for number in range(first, last):
        path = folder / "data" / f"class{number % 3}" / f"{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"sample {number}" + " changed" * (number in changed))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory. `data:v0` has files 0 to 39, v1 10 to 49 of which 11 and 12 differ, and a link."""
    folder = tmp_path / "work"
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    make(folder, first=0, last=COUNT)
    monkeypatch.chdir(folder)
    (folder / "data" / "gone").mkdir()
    (folder / "data" / "gone" / "x").write_text("gone")
    (folder / "data" / "kind").write_text("a file, then a directory")
    cli("put", "data", "data/", "--alias", "first")
    for path in [*(folder / "data").glob("class*/00?"), folder / "data" / "gone" / "x", folder / "data" / "kind"]:
        path.unlink()
    (folder / "data" / "gone").rmdir()
    make(folder, first=COUNT, last=COUNT + 10)
    make(folder, first=11, last=13, changed=(11, 12))
    (folder / "data" / "new" / "deep").mkdir(parents=True)
    (folder / "data" / "new" / "deep" / "y").write_text("new")
    (folder / "data" / "kind").mkdir()
    (folder / "data" / "kind" / "z").write_text("z")
    (folder / "data" / "link").symlink_to("class1/013")
    cli("put", "data", "data/")
    return folder


@pytest.fixture(params=["kernel", "fusepy"])
def mounted(request: pytest.FixtureRequest, work: Path, place: Path) -> Path:
    cli("mount", "--transport", request.param, str(place))
    return place


def files(top: Path) -> dict[str, str]:
    """Return the content of each file below a directory by its path there; links are not followed."""
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(top))] = os.readlink(path) if path.is_symlink() else path.read_text()
    return found


def is_gone(folder: Path) -> bool:
    try:
        os.listdir(folder)
    except FileNotFoundError:
        return True
    return False


def test_shards_part_a_version_by_content(mounted: Path) -> None:
    version = mounted / "data" / "v1"
    whole = {path: text for path, text in files(version).items() if path != "link"}
    parts = [files(mounted / "data" / "latest" / ".view" / f"shard-{index}-of-4") for index in range(4)]
    assert sum(len(part) for part in parts) == len(whole)
    assert {path: text for part in parts for path, text in part.items()} == whole
    for index, part in enumerate(parts):
        assert part
        for text in part.values():
            assert shard_of(hashlib.sha256(text.encode()).digest(), 4) == index
    assert files(version / ".view" / "shard-0-of-1") == whole
    classes = sorted(name for name in os.listdir(version) if name != "link")
    assert sorted(os.listdir(version / ".view" / "shard-3-of-4")) == classes


def test_what_two_versions_share_is_in_the_same_shard_and_cached_once(mounted: Path) -> None:
    for index in range(3):
        old, new = (files(mounted / "data" / name / ".view" / f"shard-{index}-of-3") for name in ("v0", "v1"))
        whole = files(mounted / "data" / "v1")
        assert {path for path in old if old[path] == whole.get(path)} <= set(new)
    name = next(iter(files(mounted / "data" / "v1" / ".view" / "shard-0-of-2")))
    assert os.stat(mounted / "data/v1/.view/shard-0-of-2" / name).st_ino == os.stat(mounted / "data/v1" / name).st_ino


def test_views_are_not_listed_and_take_only_their_own_names(mounted: Path) -> None:
    assert ".view" not in os.listdir(mounted / "data" / "v1")
    assert ".diff" not in os.listdir(mounted / "data")
    assert os.listdir(mounted / "data" / "v1" / ".view") == os.listdir(mounted / "data" / ".diff") == []
    missing = (
        ".view", "data/.view", "data/v1/class0/.view", "data/v1/.view/shard-0-of-2/.view", "data/v1/.diff",
        "data/v1/.view/shard-2-of-2", "data/v1/.view/shard-0-of-0", "data/v1/.view/shard-00-of-2", "data/v1/.view/x",
        "data/v1/.view/shard-0-of-9999999", "data/.diff/v0", "data/.diff/v0..v7", "data/.diff/v0..nothing",
        "data/.diff/..", "data/.diff/v0..v1/other",
    )  # fmt: skip
    for name in missing:
        assert not os.path.lexists(mounted / name) or name.endswith(".."), name
    for folder in ("data/v1/.view", "data/.diff", "data/v1/.view/shard-0-of-2"):
        assert os.path.isdir(mounted / folder)
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir(mounted / folder / "fresh")


def test_a_name_of_the_version_wins(work: Path, place: Path) -> None:
    (work / "own" / ".view").mkdir(parents=True)
    (work / "own" / ".view" / "mine").write_text("mine")
    cli("put", "own", "own/")
    for transport in ("kernel", "fusepy"):
        cli("mount", "--transport", transport, str(place))
        assert os.listdir(place / "own" / "v0" / ".view") == ["mine"]
        assert not os.path.lexists(place / "own" / "v0" / ".view" / "shard-0-of-2")
        cli("umount", str(place))


def test_difference_shows_what_is_new_changed_and_gone(mounted: Path) -> None:
    top = mounted / "data" / ".diff" / "v0..v1"
    assert sorted(os.listdir(top)) == ["added", "modified", "removed"]
    old, new = files(mounted / "data" / "v0"), files(mounted / "data" / "v1")
    assert files(top / "added") == {path: text for path, text in new.items() if path not in old}
    assert files(top / "removed") == {path: text for path, text in old.items() if path not in new}
    both = {path: text for path, text in new.items() if path in old}
    assert files(top / "modified") == {path: text for path, text in both.items() if old[path] != text}
    assert sorted(files(top / "modified")) == ["class0/012", "class2/011"]
    assert sorted(os.listdir(top / "modified")) == ["class0", "class2"]
    assert os.readlink(top / "added" / "link") == "class1/013"
    assert sorted(os.listdir(top / "removed")) == ["class0", "class1", "class2", "gone", "kind"]
    back = mounted / "data" / ".diff" / "v1..v0"
    assert (files(back / "added"), files(back / "removed")) == (files(top / "removed"), files(top / "added"))
    same = mounted / "data" / ".diff" / "v1..v1"
    assert [os.listdir(same / side) for side in sorted(os.listdir(same))] == [[], [], []]
    subprocess.run(["tar", "-cf", "/dev/null", "-C", top, "."], check=True)


def test_aliases_in_a_difference_are_followed_when_they_move(mounted: Path, work: Path) -> None:
    link = mounted / "data" / ".diff" / "first..latest"
    assert os.readlink(link) == "v0..v1"
    before = files(link / "modified")
    (work / "data" / "class1" / "013").write_text("changed later")
    cli("put", "data", "data/")
    wait_until(lambda: os.readlink(link) == "v0..v2")
    assert files(link / "modified") == {**before, "class1/013": "changed later"}
    cli("alias", "rm", "data", "first")
    cli("rm", "data:v1", "--yes")
    wait_until(lambda: is_gone(mounted / "data" / ".diff" / "v0..v1"))
    assert not os.path.lexists(mounted / "data" / ".diff" / "first..v0")


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_one_version_as_the_root_has_shards(work: Path, place: Path, transport: str) -> None:
    cli("mount", "--transport", transport, "--artifact", "data", str(place))
    whole = {path: text for path, text in files(place).items() if path != "link"}
    assert {**files(place / ".view" / "shard-0-of-2"), **files(place / ".view" / "shard-1-of-2")} == whole
    assert not os.path.lexists(place / ".diff")
    assert os.listdir(place / ".view") == []


def test_staging_directory_is_not_in_the_way(mounted: Path) -> None:
    cli("stage", "data")
    staging = mounted / "data" / "@staging"
    try:
        assert not os.path.lexists(staging / ".view")
        (staging / ".view").mkdir()
        (staging / ".view" / "mine").write_text("mine")
        assert os.listdir(staging / ".view") == ["mine"]
    finally:
        cli("discard", "data", "--yes")


def test_program_of_a_run_reads_its_shard_and_that_is_recorded(work: Path, place: Path) -> None:
    import artifactfs

    cli("mount", "--transport", "kernel", str(place))
    text = (
        "import os; top = os.environ['ARTIFACTFS_MOUNT'];"
        "parts = ('latest/.view/shard-1-of-4', '.diff/first..latest/removed');"
        "[open(os.path.join(folder, name)).read() for part in parts"
        " for folder, _, names in os.walk(f'{top}/data/{part}') for name in names]"
    )
    cli("run", "--", sys.executable, "-c", text)
    run = next(artifactfs.Api().runs())
    assert run.inputs == ("data:v1", "data:v0")
    found = {(file.artifact, file.path) for file in run.workspace.runs.iter_files(run.id)}
    expected = {("data:v1", path) for path in files(place / "data/v1/.view/shard-1-of-4")}
    expected |= {("data:v0", path) for path in files(place / "data/.diff/v0..v1/removed")}
    assert found == expected
