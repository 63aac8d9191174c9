"""Which transport serves, and that the log says why, in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from artifactfs.errors import UsageError
from artifactfs.mount.options import MountInfo
from artifactfs.repository.repository import Repository

from .support import Mount, put, slurp
from .waiting import wait_until

pytestmark = pytest.mark.mounted


def lines_of(info: MountInfo) -> list[str]:
    return [line for line in Path(info.log).read_text().splitlines() if " transport: " in line]


@pytest.mark.parametrize(
    ("transport", "served", "why"),
    [
        ("auto", "kernel", "because it works on this machine"),
        ("kernel", "kernel", "because --transport kernel was given"),
        ("fusepy", "fusepy", "because --transport fusepy was given"),
    ],
)
def test_one_line_says_which_and_why(
    mount: Mount, repository: Repository, tree: Path, *, transport: str, served: str, why: str
) -> None:
    put(repository, "animals", tree)
    info = mount(transport=transport)
    assert info.transport == served
    (line,) = lines_of(info)
    assert f"transport: {served}" in line
    assert line.endswith(why)


def test_a_fallback_says_what_was_wrong(
    mount: Mount,
    repository: Repository,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(repository, "animals", tree)
    monkeypatch.setenv("PYTHONPATH", str(_break_init(tree.parent)))
    info = mount(transport="auto", workers=2, metrics=str(tree.parent / "metrics"), passthrough=True)
    assert info.transport == "fusepy"
    (line,) = lines_of(info)
    for option in ("--workers", "--metrics", "--passthrough"):
        assert f"WARNING artifactfs.mount.kernel.daemon: {option} does nothing" in Path(info.log).read_text()
        assert f"{option} does nothing: the fusepy transport serves; {info.log} says why" in caplog.text
    assert "transport: fusepy, because the kernel transport cannot be used: too old" in line


@pytest.mark.parametrize("option", [{"workers": 2}, {"metrics": "/none"}, {"passthrough": True}])
def test_fusepy_refuses_what_it_does_not_have(mount: Mount, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"has no --{next(iter(option))}"):
        mount(transport="fusepy", **option)


def test_fusepy_logs_each_request(mount: Mount, repository: Repository, tree: Path) -> None:
    put(repository, "animals", tree)
    info = mount(transport="fusepy", debug=True, passthrough=False)
    with pytest.raises(FileNotFoundError):
        os.lstat(f"{info.mountpoint}/animals/missing")
    slurp(Path(info.mountpoint) / "animals/v0/cat.txt")
    logged = Path(info.log).read_text()
    assert re.search(r"DEBUG \S+ GETATTR path=/animals/missing error=2 \d+ us", logged)
    assert re.search(r"DEBUG \S+ READ path=/animals/v0/cat.txt error=0 \d+ us", logged)


def test_fusepy_freezes_aliases(mount: Mount, repository: Repository, tree: Path) -> None:
    put(repository, "animals", tree)
    path = Path(mount(transport="fusepy", freeze_aliases=True).mountpoint) / "animals"
    put(repository, "animals", tree)
    wait_until((path / "v1").exists)
    assert (path / "latest").readlink() == Path("v0")


def _break_init(folder: Path) -> Path:
    """Return a directory for PYTHONPATH with which servers find a kernel that is too old."""
    place = folder / "broken"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'artifactfs.mount' in ' '.join(sys.orig_argv):\n"
        "    from artifactfs.errors import MountError\n"
        "    from artifactfs.mount.kernel import mounting\n"
        "    def refuse(request):\n"
        "        raise MountError('too old')\n"
        "    mounting.open_mount = refuse\n"
    )
    return place
