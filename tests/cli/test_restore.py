"""`restore`, `diff` with sizes and lines, and several staging directories on one collection: with real mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from artifactfs.mount.overlay.mounting import may_overlay
from tests.cli.support import Cli, run
from tests.cli.test_mounted import mounted, text

__all__ = ["mounted"]

pytestmark = pytest.mark.mounted


@pytest.fixture(params=["overlay", "union"])
def staging(request: pytest.FixtureRequest, mounted: Path) -> Path:
    """Return a staging directory over `animals:v1`, served by either driver."""
    if request.param == "overlay" and not may_overlay():
        pytest.skip("the overlay driver needs CAP_SYS_ADMIN in the initial user namespace")
    return Path(text("stage", "animals", "--driver", request.param).strip())


def restore(*paths: str, code: int = 0) -> str:
    done = run("restore", "animals", *paths)
    assert done.returncode == code, done.stderr
    return done.stderr.decode()


def test_files_and_links_come_back(staging: Path) -> None:
    before = os.stat(staging / "cat.txt")
    (staging / "cat.txt").write_text("other\n")
    (staging / "link").unlink()
    (staging / "added").write_text("added\n")
    restore("cat.txt", "link", "added")
    assert text("status", "animals") == ""
    now = os.stat(staging / "cat.txt")
    assert (now.st_mtime_ns, now.st_mode, now.st_size) == (before.st_mtime_ns, before.st_mode, before.st_size)
    assert not (staging / "added").exists()


def test_directories_come_back_with_all_that_is_in_them(staging: Path) -> None:
    for name in os.listdir(staging / "sub"):
        (staging / "sub" / name).unlink()
    (staging / "sub" / "more").mkdir()
    (staging / "sub" / "more" / "file").write_text("more\n")
    (staging / "cat.txt").write_text("stays changed\n")
    restore("sub/")
    assert text("status", "animals") == "M  cat.txt\n"
    os.rename(staging / "sub", staging / "moved")
    restore("sub", "moved")
    assert text("status", "animals") == "M  cat.txt\n"


@pytest.mark.parametrize("top", ["/", "//", ""])
def test_the_top_of_the_machine_is_none_of_a_staging_directory(staging: Path, top: str) -> None:
    (staging / "cat.txt").write_text("other\n")
    assert "write `.` for all of it" in restore(top, code=2)
    assert text("status", "animals") == "M  cat.txt\n"


def test_a_dot_is_all_of_it(staging: Path) -> None:
    (staging / "cat.txt").write_text("other\n")
    (staging / "added").write_text("added\n")
    restore(".")
    assert text("status", "animals") == ""


def test_kinds_come_back(staging: Path) -> None:
    shutil.rmtree(staging / "sub")
    (staging / "sub").write_text("a file\n")
    (staging / "cat.txt").unlink()
    (staging / "cat.txt").mkdir()
    restore("sub", "cat.txt")
    assert text("status", "animals") == ""


def test_directories_above_come_back_too(staging: Path) -> None:
    name = os.listdir(staging / "sub")[0]
    shutil.rmtree(staging / "sub")
    restore(f"sub/{name}")
    assert os.listdir(staging / "sub") == [name]


def test_what_leads_elsewhere_is_not_followed(staging: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    name = os.listdir(staging / "sub")[0]
    (outside / name).write_text("precious\n")
    shutil.rmtree(staging / "sub")
    (staging / "sub").symlink_to(outside)
    assert "restore sub instead" in restore(f"sub/{name}", code=2)
    assert (outside / name).read_text() == "precious\n"
    restore("sub")
    assert not (staging / "sub").is_symlink()


def test_what_is_nowhere_is_refused(staging: Path) -> None:
    restore("nothing", code=13)
    restore("no/thing", code=13)
    restore("..", code=15)


def test_without_a_mount_it_is_refused(animals: Cli) -> None:
    text("stage", "animals")
    assert "mount" in restore("cat.txt", code=60)


def test_after_a_commit_it_goes_back_to_that(staging: Path) -> None:
    (staging / "cat.txt").write_text("committed\n")
    text("commit", "animals")
    (staging / "cat.txt").write_text("changed again\n")
    restore("cat.txt")
    assert (staging / "cat.txt").read_text() == "committed\n"
    assert text("status", "animals") == ""


def test_sizes(staging: Path) -> None:
    (staging / "cat.txt").write_bytes(b"x" * 2048)
    (staging / "new").write_bytes(b"12345")
    (staging / "link").unlink()
    size = len("cat, longer\n")
    shown = text("diff", "animals:@staging", "--sizes").splitlines()
    assert shown == [f"M  cat.txt  ({size} B -> 2.0 KiB)", "D  link  (0 B -> -)", "A  new  (- -> 5 B)"]


def test_lines_can_be_applied(staging: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    for copy in (plain, tmp_path / "plain2"):
        shutil.copytree(staging, copy, symlinks=True)
    (staging / "cat.txt").write_bytes(b"first\ncat, longer\nno newline at the end")
    (staging / "new.txt").write_bytes(b"one\r\ntwo\x0cthree\n")
    (staging / "binary").write_bytes(b"\0\1")
    patch = run("diff", "animals:@staging", "--lines").stdout
    binary = b"diff --git a/binary b/binary\nnew file mode 100644\nBinary files /dev/null and b/binary differ\n"
    assert binary in patch
    assert b"+first\n cat, longer\n" in patch
    text_part = patch.replace(binary, b"")
    subprocess.run(["patch", "-p1", "--binary"], cwd=plain, input=text_part, check=True, capture_output=True)
    for name in ("cat.txt", "new.txt"):
        assert (plain / name).read_bytes() == (staging / name).read_bytes()
    if shutil.which("git"):
        checked = subprocess.run(
            ["git", "apply", "--stat", "--check", "-"],
            cwd=plain.parent / "plain2",
            input=text_part,
            check=False,
            capture_output=True,
        )
        assert checked.returncode == 0, checked.stderr
    text("commit", "animals")
    assert run("diff", "animals", "--lines").stdout == patch
    assert run("diff", "animals:v1", "animals:v2", "--lines").stdout == patch


def test_two_staging_directories_do_not_disturb_each_other(staging: Path) -> None:
    other = Path(text("stage", "animals", "--name", "other").strip())
    (staging / "mine").write_text("mine\n")
    (other / "yours").write_text("yours\n")
    assert text("status", "animals") == "A  mine\n"
    assert text("status", "animals:@other") == "A  yours\n"
    assert text("commit", "animals:@other", "--expect-base") == "animals:v2\n"
    text("commit", "animals", "--expect-base", code=22)
    assert text("commit", "animals") == "animals:v3\n"
    assert text("diff", "animals:v2", "animals:v3") == "A  mine\nD  yours\n"


def test_a_version_made_from_an_old_one(mounted: Path) -> None:
    staging = Path(text("stage", "animals:v0").strip())
    (staging / "cat.txt").write_text("from v0\n")
    assert text("commit", "animals") == "animals:v2\n"
    assert text("diff", "animals:v0", "animals:v2") == "M  cat.txt\n"
    assert os.readlink(mounted / "animals" / "latest") == "v2"


def change_some(staging: Path) -> str:
    """Change three paths, and return the name of a file in `sub`."""
    name = os.listdir(staging / "sub")[0]
    (staging / "cat.txt").write_text("other\n")
    (staging / "sub" / name).unlink()
    (staging / "sub" / "added").write_text("added\n")
    return name


def test_inside_paths_are_those_of_the_working_directory(staging: Path) -> None:
    name = change_some(staging)
    sub, listed = staging / "sub", {"M  cat.txt", f"D  sub/{name}", "A  sub/added"}
    assert set(text("diff", cwd=sub).splitlines()) == listed
    assert set(text("diff", ".", cwd=sub).splitlines()) == listed - {"M  cat.txt"}
    assert text("diff", name, cwd=sub) == f"D  sub/{name}\n"
    assert text("diff", "../cat.txt", "added", cwd=sub) == "M  cat.txt\nA  sub/added\n"
    assert text("diff", "sub/added", "--sizes", cwd=staging) == "A  sub/added  (- -> 6 B)\n"
    assert "+other" in text("diff", "--lines", str(staging / "cat.txt"), cwd=sub)
    assert "added" not in text("diff", "--lines", "../cat.txt", cwd=sub)
    text("diff", "--exit-code", "../link", cwd=sub)
    text("diff", "--exit-code", "added", code=1, cwd=sub)
    text("diff", "nothing", code=13, cwd=sub)
    text("diff", "../..", code=15, cwd=sub)
    text("restore", name, cwd=sub)
    assert set(text("status", "animals").splitlines()) == listed - {f"D  sub/{name}"}
    text("restore", ".", cwd=sub)
    assert text("status", "animals") == "M  cat.txt\n"
    for outside in ("../../v0", "/", str(staging) + "2"):
        text("restore", outside, code=15, cwd=sub)
    assert run("restore", "../cat.txt", cwd=sub).stderr == b"restored cat.txt\n"
    assert text("status", "animals") == ""


def test_inside_names_go_on_naming(staging: Path) -> None:
    name = change_some(staging)
    sub = staging / "sub"
    (staging / "animals").write_text("a file called like the collection\n")
    assert text("diff", "animals", cwd=sub) == text("diff", "animals:v0", "animals:v1", cwd=sub)
    assert text("diff", "animals", cwd=staging) == text("diff", "./animals", cwd=staging) == "A  animals\n"
    assert text("diff", "animals:@staging", cwd=sub) == text("diff", cwd=sub)
    text("restore", "animals", f"sub/{name}", cwd=sub)
    text("restore", "animals:@staging", "cat.txt", cwd=staging)
    (staging / "a:b").touch()
    assert text("diff", "./a:b", cwd=staging) == "A  a:b\n"
    text("restore", "a:b", "cat.txt", cwd=staging)
    assert text("status", cwd=staging) == "A  animals\nA  sub/added\n"
    text("restore", "animals", "sub", cwd=staging)  # two paths here
    assert text("status", "animals") == ""


def test_outside_names_are_needed(staging: Path, tmp_path: Path) -> None:
    for command in (["restore", "cat.txt"], ["diff"], ["diff", "a", "b", "c"]):
        done = run(*command, cwd=tmp_path)
        assert (done.returncode, b"not inside a staging directory" in done.stderr) == (2, True)


def test_another_staging_directory_is_reached_from_inside(staging: Path) -> None:
    other = Path(text("stage", "plants").strip())
    (other / "rose").write_text("rose\n")
    (staging / "cat.txt").write_text("other\n")
    text("restore", "plants", "rose", cwd=staging)
    assert text("status", "plants") == ""
    assert text("diff", "plants:@staging", cwd=staging) == ""
    assert text("status", "animals") == "M  cat.txt\n"
