"""The tutorial: each command is run as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import prepare_shell, run

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


def read_steps() -> list[tuple[str, list[str]]]:
    """Return the blocks of commands, each with the lines that it prints."""
    blocks = re.findall(r"^```(sh|text)\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    steps: list[tuple[str, list[str]]] = []
    for kind, text in blocks:
        if kind == "sh":
            steps.append((text, []))
        else:
            steps[-1][1].extend(text.splitlines())
    return steps


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty directory, with `artifactfs` on the PATH and a repository of its own."""
    here = prepare_shell(tmp_path, monkeypatch)
    yield here
    run("umount", "--lazy", str(here / "mnt"))


@pytest.mark.mounted
def test_the_tutorial_prints_what_it_says(place: Path) -> None:
    steps = read_steps()
    assert len(steps) >= 6
    for commands, expected in steps:
        script = f"set -e\n{commands}"
        if "discard" in commands:
            script = script.replace("artifactfs discard", "artifactfs --yes discard")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, (commands, done.stderr)
        assert [line.replace(f"{place}/", "") for line in done.stdout.splitlines()] == expected, commands
