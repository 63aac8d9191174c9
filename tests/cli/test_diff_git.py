"""`diff --lines` of each kind of change: `git apply` makes the one tree out of the other."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import Cli

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
ODD = [b"tab\t", b"new\nline", b'quo"te', b"back\\slash", "näme".encode(), b"\xff\x01", b"a space", b"end ", b"b/ a"]


def _names(top: Path) -> list[bytes]:
    return [os.path.join(os.fsencode(top), name.replace(b"/", b"_")) for name in ODD]


def _write(path: bytes | Path, content: str = "text\n") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="") as file:
        file.write(content)


def _begin(top: Path) -> None:
    for name in _names(top):
        _write(name)
        _write(name + b".gone", "gone\n")
    _write(top / "file", "a file\n")
    _write(top / "kept" / "file", "one\ntwo\n")
    _write(top / "kept" / "renamed", "to be renamed\n")
    _write(top / "folder" / "a", "in a folder\n")
    _write(top / "folder" / "deep" / "b", "deeper\n")
    (top / "folder" / "link").symlink_to("a")
    (top / "link").symlink_to("file")
    _write(top / "run.sh", "#!/bin/sh\n")
    _write(top / "empty", "")
    _write(top / "long", "".join(f"line {number}\n" for number in range(30_000)))


def _names_change(top: Path) -> None:
    for name in _names(top):
        _write(name, "text\nmore")
        os.rename(name + b".gone", name + b".moved")
        _write(name + b".new", "new\n")


def _become_link(top: Path) -> None:
    (top / "file").unlink()
    (top / "file").symlink_to("kept/file")
    (top / "link").unlink()
    _write(top / "link", "a file now\n")


def _become_folder(top: Path) -> None:
    (top / "file").unlink()
    _write(top / "file" / "below" / "x", "x\n")
    (top / "link").unlink()
    _write(top / "link" / "y", "y\n")


def _become_file(top: Path) -> None:
    shutil.rmtree(top / "folder")
    _write(top / "folder", "a file now\n")


def _become_link_from_folder(top: Path) -> None:
    os.rename(top / "folder", top / "elsewhere")
    (top / "folder").symlink_to("elsewhere")


def _rename(top: Path) -> None:
    os.rename(top / "kept" / "renamed", top / "with space")
    os.rename(top / "folder", top / "other")
    (top / "other" / "a").chmod(0o755)


def _modes(top: Path) -> None:
    (top / "run.sh").chmod(0o755)
    (top / "kept" / "file").chmod(0o755)
    _write(top / "kept" / "file", "one\n2\n")
    (top / "file").chmod(0o600)
    (top / "folder").chmod(0o700)


def _empties(top: Path) -> None:
    (top / "empty").unlink()
    _write(top / "empty2", "")
    _write(top / "file", "")


def _long(top: Path) -> None:
    lines = (top / "long").read_text().splitlines(keepends=True)
    lines[100] = "other\n"
    lines[29_000:29_010] = ["less\n"]
    _write(top / "long", "".join(lines))


def _long_and_all_different(top: Path) -> None:
    _write(top / "long", "".join(f"other {number}\n" for number in range(25_000)) + "no end")


def _look(top: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for folder, directories, names in os.walk(top):
        for name in (*directories, *names):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[path[len(str(top)) :]] = ("link", os.readlink(path))
            elif not os.path.isdir(path):
                kind = "program" if os.stat(path).st_mode & 0o100 else "file"
                found[path[len(str(top)) :]] = (kind, Path(path).read_text())
    return found


@pytest.mark.parametrize(
    "change",
    [
        _names_change, _become_link, _become_folder, _become_file, _become_link_from_folder, _rename, _modes, _empties,
        _long, _long_and_all_different,
    ],
)  # fmt: skip
@pytest.mark.parametrize("backwards", [False, True])
def test_git_applies_it(animals: Cli, tmp_path: Path, change: Callable[[Path], None], backwards: bool) -> None:
    before, after = tmp_path / "trees" / "before", tmp_path / "trees" / "after"
    before.mkdir(parents=True)
    _begin(before)
    shutil.copytree(before, after, symlinks=True)
    change(after)
    if backwards:
        before, after = after, before
    animals("put", "trees", f"{before}/")
    animals("put", "trees", f"{after}/")
    patch = animals("diff", "trees:v0", "trees:v1", "--lines").stdout_bytes
    subprocess.run(["git", "init", "-q"], cwd=before, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=before, input=patch, check=True)
    shutil.rmtree(before / ".git")
    assert _look(before) == _look(after)


def test_what_is_not_shown_is_refused_by_git(animals: Cli, tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    _write(tmp_path / "trees" / "large", "x" * 100 + "\n" + "y" * (17 << 20))
    (tmp_path / "trees" / "binary").write_bytes(b"\0\1")
    animals("put", "trees", tmp_path / "trees" / "binary")
    animals("put", "trees", f"{tmp_path}/trees/")
    patch = animals("diff", "trees:v0", "trees:v1", "--lines").stdout_bytes
    assert b"diff --git a/large b/large\nnew file mode 100644\nFiles /dev/null and b/large are too large" in patch
    (tmp_path / "empty").mkdir()
    done = subprocess.run(["git", "apply", "-"], cwd=tmp_path / "empty", input=patch, capture_output=True, check=False)
    assert done.returncode
    assert not os.listdir(tmp_path / "empty")
    (tmp_path / "trees" / "binary").write_bytes(b"\0\2")
    animals("put", "trees", f"{tmp_path}/trees/")
    patch = animals("diff", "trees:v1", "trees:v2", "--lines").stdout_bytes
    assert patch == b"diff --git a/binary b/binary\nBinary files a/binary and b/binary differ\n"
