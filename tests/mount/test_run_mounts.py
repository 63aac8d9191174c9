"""Mounts that a program of `artifactfs run` reads: several, those of one version, and those that cannot be recorded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.run_support import CLI, READ, make_two_versions, mounting, named_run, run_cli

pytestmark = pytest.mark.mounted


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with `data`: v0 and v1, each with the file `top`."""
    return make_two_versions(tmp_path, monkeypatch, "top")


@pytest.fixture
def mounted(work: Path, tmp_path: Path) -> Iterator[Path]:
    with mounting(tmp_path / "mnt", "--transport", "kernel") as place:
        yield place


def read(*paths: Path) -> list[str]:
    return [sys.executable, "-c", READ, *map(str, paths)]


def test_a_second_mount_and_that_of_one_version_are_recorded(mounted: Path, tmp_path: Path) -> None:
    with (
        mounting(tmp_path / "second", "--transport", "kernel") as second,
        mounting(tmp_path / "one", "--artifact", "data:v0") as one,
    ):
        done = run_cli("run", "--name", "one", "--", *read(one / "top"))
        assert (named_run("one").inputs, "recorded" in done.stderr) == (("data:v0",), False)
        assert [file.path for file in named_run("one").looked_up()] == ["top"]
        run_cli("run", "--name", "second", "--", *read(second / "data/latest/top", mounted / "data/v0/top"))
        assert named_run("second").inputs == ("data:v1", "data:v0")
        assert (one / "top").read_text() == "top"
    run_cli("run", "--name", "after", "--", "true")
    assert named_run("after").inputs == ()


def test_a_version_that_libfuse_serves_is_covered_by_a_view_of_the_whole(mounted: Path, tmp_path: Path) -> None:
    with mounting(tmp_path / "one", "--artifact", "data:v0", "--transport", "fusepy") as one:
        done = run_cli("run", "--name", "one", "--", *read(one / "top", mounted / "data/v1/top"))
        assert (named_run("one").inputs, "recorded" in done.stderr) == (("data:v0", "data:v1"), False)


def test_a_mount_of_one_version_alone_is_recorded_also_of_a_run_in_a_run(work: Path, tmp_path: Path) -> None:
    text = "import os, sys; print(sorted(os.listdir(sys.argv[1])), os.environ.get('ARTIFACTFS_MOUNT'), os.getxattr("
    text += "sys.argv[1], 'user.artifactfs.version'), os.listdir(sys.argv[1] + '/.view/shard-0-of-1'))"
    with mounting(tmp_path / "one", "--artifact", "data:v0", "--transport", "kernel") as one:
        done = run_cli("run", "--name", "outer", "--", sys.executable, "-c", text, str(one))
        assert done.stdout == "['top'] None b'data:v0' ['top']\n"
        assert (named_run("outer").inputs, "recorded" in done.stderr) == (("data:v0",), False)
        run_cli("run", "--name", "above", "--", *nested(*read(one / "top")))
        assert [file.path for file in named_run("inner").looked_up()] == ["top"]
        assert (named_run("inner").inputs, named_run("above").inputs) == (("data:v0",), ())
        run_cli("run", "--name", "missing", "--", "sh", "-c", f"cat {one}/@run-x {one}/nothing; true")
        assert not (one / f"@run-{named_run('inner').id}").exists()
        done = run_cli("run", "--no-bind", "--", "true")
        assert f"what is read below {one} is not recorded" in done.stderr


def test_what_cannot_be_recorded_is_told_before_the_program_starts(work: Path, tmp_path: Path) -> None:
    with mounting(tmp_path / "one", "--artifact", "data:v0", "--transport", "fusepy") as one:
        done = run_cli("run", "--", "sh", "-c", "echo begins >&2")
        assert done.stderr.splitlines()[:2] == [f"artifactfs: what is read below {one} is not recorded", "begins"]


def test_mounts_of_other_repositories_and_of_libfuse_are_named(mounted: Path, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    run_cli("--repo", other, "put", "plants", "data/")
    with (
        mounting(tmp_path / "a", "--transport", "kernel"),
        mounting(tmp_path / "fuse", "--transport", "fusepy") as libfuse,
    ):
        (tmp_path / "b").mkdir()
        run_cli("--repo", other, "mount", str(tmp_path / "b"))
        try:
            (line,) = [line for line in run_cli("run", "--", "true").stderr.splitlines() if "recorded" in line]
            said = run_cli("run", "--no-bind", "--", "true").stderr
        finally:
            run_cli("umount", "--lazy", str(tmp_path / "b"))
    assert (str(tmp_path / "b") in line, str(libfuse) in line, str(mounted) in line) == (True, True, False)
    assert (str(tmp_path / "a") in line, str(tmp_path / "a") in said) == (False, True)


def test_where_nothing_can_be_bound_the_mount_point_is_named(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = "import artifactfs.sdk.programs as p\ndef enter(*_, **__): raise PermissionError\np.enter = enter\n"
    done = run_text(refuse, "run", "--name", "free", "--", "sh", "-c", 'cat "$ARTIFACTFS_MOUNT/data/v0/top"')
    assert f"what is read below {mounted} is not recorded" in done
    assert named_run("free").inputs == ("data:v0",)


def run_text(text: str, *arguments: str) -> str:
    import subprocess

    call = [sys.executable, "-c", f"{text}\n{CLI[-1]}", *arguments]
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)).stderr


# Runs in runs.


def nested(*inner: str) -> list[str]:
    return [*CLI, "run", "--name", "inner", "--", *inner]


@pytest.mark.parametrize("options", [[], ["--no-bind"]])
def test_a_run_in_a_run_is_a_run_of_its_own(mounted: Path, options: list[str]) -> None:
    script = 'cat "$ARTIFACTFS_MOUNT/data/v0/top"; "$@"; "$0" put made data/'
    put = (
        "import os, sys; open(os.environ['ARTIFACTFS_MOUNT'] + '/data/v1/top');"
        f"os.execvp(sys.executable, {CLI!r} + ['put', 'deep', 'data/'])"
    )
    shim = Path("artifactfs")
    shim.write_text(f"#!{sys.executable}\n{CLI[-1]}\n")
    shim.chmod(0o755)
    call = ["sh", "-c", script, "./artifactfs", *nested(sys.executable, "-c", put)]
    run_cli("run", "--name", "outer", *options, "--", *call)
    outer, inner = named_run("outer"), named_run("inner")
    assert (outer.inputs, outer.outputs, outer.parent) == (("data:v0",), ("made:v0",), "")
    assert (inner.inputs, inner.outputs, inner.parent, inner.state) == (
        ("data:v1",),
        ("deep:v0",),
        outer.id,
        "finished",
    )
    assert [file.path for file in inner.looked_up()] == [file.path for file in outer.looked_up()] == ["top"]
    assert f"in run {outer.id}" in run_cli("lineage", "deep:v0").stdout
    assert f"  began run {inner.id}" in run_cli("lineage", "outer").stdout.splitlines()
    assert f"children:    {inner.id}" in run_cli("runs", "outer").stdout
    assert f"parent:      {outer.id}" in run_cli("runs", "inner").stdout
    assert [line.split()[0] for line in run_cli("runs", "--parent", "outer").stdout.splitlines()] == [inner.id]
    assert sorted(os.listdir(mounted)) == ["data", "deep", "made"]


def test_three_levels_at_the_same_path(mounted: Path) -> None:
    top = mounted / "data/v0/top"
    deep = [*CLI, "run", "--name", "deep", "--", *read(top)]
    run_cli("run", "--name", "outer", "--", *nested(*deep))
    assert [named_run(name).inputs for name in ("outer", "inner", "deep")] == [(), (), ("data:v0",)]
    assert named_run("deep").parent == named_run("inner").id
    run_cli("run", "--name", "again", "--", *read(top))
    assert named_run("again").inputs == ("data:v0",)


def test_a_run_in_a_locked_run_sees_no_more(mounted: Path) -> None:
    run_cli("lock", "-o", "lock.toml", "data:v0")
    script = f"ls {mounted}/data | tr '\\n' ' '"
    assert "v1" not in run_cli("run", "--lock", "lock.toml", "--", *nested("sh", "-c", script)).stdout
    assert "v1" in run_cli("run", "--", "sh", "-c", script).stdout


def test_mounting_and_unmounting_in_a_run_are_refused(mounted: Path, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    for arguments in (["mount", str(tmp_path / "inside")], ["umount", "--lazy", str(mounted)]):
        done = run_cli("run", "--", *CLI, *arguments, code=2)
        assert f"a program of `artifactfs run` cannot {arguments[0].replace('um', 'unm')}" in done.stderr
    assert (mounted / "data/v0/top").read_text() == "top"
    assert not os.path.ismount(tmp_path / "inside")


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="giving a right up needs root")
def test_who_may_not_mount_is_told_to_stage_before_the_run(mounted: Path) -> None:
    without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    done = run_cli("run", "--", *without, *CLI, "stage", "data", code=2)
    assert "cannot start or end a staging directory" in done.stderr
    assert "run `artifactfs stage` before the run" in done.stderr
    run_cli("stage", "data")
    script = f'echo new > {mounted}/data/@staging/new && "$@" commit data'
    run_cli("run", "--name", "writer", "--", *without, "sh", "-ec", script, "-", *CLI)
    assert (named_run("writer").inputs, named_run("writer").outputs) == (("data:v1",), ("data:v2",))
    done = run_cli("run", "--", *without, *CLI, "--yes", "discard", "data", code=2)
    assert "cannot start or end a staging directory" in done.stderr
    run_cli("--yes", "discard", "data")


def test_the_path_of_an_artifact_in_a_mount_without_views_is_recorded(work: Path, tmp_path: Path) -> None:
    text = "import artifactfs; print(open(artifactfs.Api().artifact('data:v0').path + '/top').read())"
    with mounting(tmp_path / "fuse", "--transport", "fusepy"):
        assert run_cli("run", "--name", "path", "--", sys.executable, "-c", text).stdout == "top\n"
    assert named_run("path").inputs == ("data:v0",)
