"""Which transport serves, and that the log says why, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.mount.options import MountInfo
from artifactfs.repository.repository import Repository

from .support import Mount, put

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
    mount: Mount, repository: Repository, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(repository, "animals", tree)
    monkeypatch.setenv("PYTHONPATH", str(_break_init(tree.parent)))
    info = mount(transport="auto")
    assert info.transport == "fusepy"
    (line,) = lines_of(info)
    assert "transport: fusepy, because the kernel transport cannot be used: too old" in line


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
